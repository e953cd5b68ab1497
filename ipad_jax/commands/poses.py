"""Camera poses of photos of an object from a printed ChArUco board that lies under it; prints the board too.

Writes SOURCE/transforms.json, which `ipad-jax prepare object_folder` reads. The board must move with the
object: turn both, or walk around them. Exit status 1: too few photos show the board.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ipad_jax.commands.next_step import print_next
from ipad_jax.commands.parsing import UsageError, new_parser

if TYPE_CHECKING:
    from ipad_jax.prepare.board import Board

BOARD = "charuco:7x5:30mm"
MASKS = "masks"  # beside the photos' folder, as the builder looks for them


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax poses`."""
    parser = new_parser(
        "poses",
        __doc__,
        "--source DIR [--board NAME] [--overwrite] | --print-board [FILE] [--board NAME]",
        f"ipad-jax poses --source valve --board {BOARD}",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="DIR",
        help="folder of the photos: in it, in its images/ or in its train/good/",
    )
    parser.add_argument(
        "--board",
        default=BOARD,
        metavar="NAME",
        help=f"charuco:COLUMNSxROWS:SQUAREmm, in squares (default: {BOARD})",
    )
    parser.add_argument(
        "--print-board",
        nargs="?",
        type=Path,
        const=Path("board.pdf"),
        metavar="FILE",
        help="write the page to print in true size, .pdf or .png at 300 dpi (default: board.pdf)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a transforms.json or page that is there"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Finds the poses, or writes the page."""
    if (args.source is None) == (args.print_board is None):
        raise UsageError("give either --source DIR, photos to pose, or --print-board.")
    from ipad_jax.prepare.board import Board

    try:
        board = Board.parse(args.board)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return _print_board(args, board) if args.source is None else _find(args, board)


def _print_board(args: argparse.Namespace, board: "Board") -> int:
    from ipad_jax.prepare.board import print_page

    path = args.print_board
    _refuse(path, args.overwrite)
    paper = print_page(board, path)
    print(f"written to {path}: {board} on {paper}, in true size")
    print(
        "Print it at 100 % on matt paper, glue it to something flat, and measure the bar below it."
    )
    print_next("poses", "--source", "DIR", "--board", board, note="when the photos are taken")
    return 0


def _find(args: argparse.Namespace, board: "Board") -> int:
    from ipad_jax.prepare.board_poses import FILE, photos_of, poses_of, write_transforms
    from ipad_jax.run.progress import frame_progress

    source = args.source.absolute()
    photos = photos_of(source)
    _refuse(source / FILE, args.overwrite)
    with frame_progress("looking for the board", "photos") as progress:
        found = poses_of(photos, board, progress)
    print(found.summary())
    print(f"\nwritten to {write_transforms(source, found, board)}")
    masks = args.source / MASKS
    if not masks.is_dir():
        own = args.source / photos[0].relative_to(source).parent
        print(
            "The photos show the board, so the object must be cut out: put a mask of each photo, white on "
            f"the object, into {masks}, as PNG with the photo's name. Programs that remove backgrounds "
            f"write them, such as `rembg p -om {own} {masks}`."
        )
    note = "" if masks.is_dir() else "when the masks are there"
    print_next("validate", "object_folder", "--source", args.source, note=note)
    return 0


def _refuse(path: Path, overwrite: bool) -> None:
    if path.exists() and not (overwrite and path.is_file()):
        raise FileExistsError(f"{path} is there already; --overwrite replaces it.")


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax poses --help`."""
    return run(make_parser().parse_args(argv))
