"""A printed ChArUco board: its name, its geometry, and the page to print."""

import dataclasses
import re
from pathlib import Path
from typing import Self

import cv2
import numpy as np

# 5x5 bits and a border of one: a marker is 7 modules wide, a square 9, so that edges lie on one grid.
DICTIONARY = cv2.aruco.DICT_5X5_100
MODULES, MARKER_MODULES = 9, 7
MOST_MARKERS = 100  # in the dictionary
PAPER = {"A4": (210, 297), "A3": (297, 420), "A2": (420, 594), "A1": (594, 841), "A0": (841, 1189)}
MARGIN_MM = 8
BELOW_MM = 14  # for the bar and the text
BAR_MM = 100
DPI = 300  # of a page written as PNG


@dataclasses.dataclass(frozen=True)
class Board:
    """A chessboard with a marker in each white square.

    Attributes:
      columns, rows: squares along x and y.
      square_mm: side of a square.
    """

    columns: int
    rows: int
    square_mm: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """'charuco:7x5:30mm' -> 7 squares across, 5 down, 30 mm each.

        Raises: ValueError: another form, or a board that cannot be made.
        """
        found = re.fullmatch(r"charuco:(\d{1,3})x(\d{1,3}):(\d+(?:\.\d+)?)mm", text)
        if not found:
            raise ValueError(
                f"board {text!r}: expected charuco:COLUMNSxROWS:SQUAREmm, such as charuco:7x5:30mm."
            )
        board = cls(int(found[1]), int(found[2]), float(found[3]))
        if min(board.columns, board.rows) < 3 or board.columns * board.rows // 2 > MOST_MARKERS:
            raise ValueError(
                f"board {text!r}: expected 3 squares a side or more, and {2 * MOST_MARKERS} in all at most."
            )
        if not 4 <= board.square_mm <= 500:
            raise ValueError(f"board {text!r}: squares of 4 to 500 mm are expected.")
        return board

    def __str__(self) -> str:
        return f"charuco:{self.columns}x{self.rows}:{self.square_mm:g}mm"

    @property
    def charuco(self) -> cv2.aruco.CharucoBoard:
        """OpenCV's board, in metres."""
        side = self.square_mm / 1000
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows),
            side,
            side * MARKER_MODULES / MODULES,
            cv2.aruco.getPredefinedDictionary(DICTIONARY),
        )

    def modules(self) -> np.ndarray:
        """The board as drawn, one pixel a module: uint8 [rows * 9, columns * 9], 0 is black."""
        size = (self.columns * MODULES, self.rows * MODULES)
        return self.charuco.generateImage(size, marginSize=0)


def paper_of(board: Board) -> tuple[str, float, float]:
    """Name, width and height in mm of the smallest sheet that holds the board.

    Raises: ValueError: none does.
    """
    wide = board.columns * board.square_mm + 2 * MARGIN_MM
    high = board.rows * board.square_mm + 2 * MARGIN_MM + BELOW_MM
    for name, (short, long) in PAPER.items():
        for width, height in ((short, long), (long, short)):
            if wide <= width and high <= height:
                return name, width, height
    raise ValueError(f"board {board}: {wide:g} x {high:g} mm fit on no sheet up to A0.")


def print_page(board: Board, path: Path) -> str:
    """Writes the page, a PDF or PNG by its suffix, in true size; the name of its paper.

    Raises:
      ValueError: another suffix, or no paper is large enough.
      FileNotFoundError: its folder is not there.
    """
    from matplotlib.figure import Figure  # slow to import
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    if path.suffix not in (".pdf", ".png"):
        raise ValueError(f"{path}: expected a name that ends with .pdf or .png.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder to write {path.name} into.")
    name, width, height = paper_of(board)
    figure = Figure(figsize=(width / 25.4, height / 25.4))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    side = board.square_mm / MODULES
    left = (width - board.columns * board.square_mm) / 2
    top = (
        height - MARGIN_MM - (height - 2 * MARGIN_MM - BELOW_MM - board.rows * board.square_mm) / 2
    )
    corners = []
    for row, line in enumerate(board.modules()):
        edges = np.flatnonzero(np.diff(np.concatenate([[255], line, [255]]).astype(int)))
        for start, stop in edges.reshape(-1, 2):  # a run of black modules
            x0, x1 = left + start * side, left + stop * side
            y0, y1 = top - row * side, top - (row + 1) * side
            corners += [(x0, y0), (x0, y1), (x1, y1), (x1, y0), (x0, y0)]
    codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY] * (len(corners) // 5)
    # one outline, filled at once: black next to black shows no seam
    axes.add_patch(PathPatch(Outline(corners, codes), facecolor="black", linewidth=0))
    bar = min(BAR_MM, board.columns * board.square_mm)
    axes.plot([left, left + bar], [MARGIN_MM + 8] * 2, color="black", linewidth=0.8)
    for x in (left, left + bar):
        axes.plot([x, x], [MARGIN_MM + 6.5, MARGIN_MM + 9.5], color="black", linewidth=0.8)
    text = f"{board}, {name}. Print at 100 %, not fitted to the page: the bar is {bar:g} mm long."
    axes.text(left, MARGIN_MM, text, fontsize=8)
    figure.savefig(path, dpi=DPI)
    return name
