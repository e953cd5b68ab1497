"""Side-by-side videos: frame | reconstruction | heat map, with the score's timeline below, as VP9
`.webm`.

Streaming: one composed picture a frame, constant memory, any length.
"""

import math
import os
from collections import deque
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ipad_jax.evaluation.report.heatmap import overlay
from ipad_jax.evaluation.report.webm import WebmWriter

GAP = 8
HEADER = 30
STRIP = 84
PICTURES_PER_S = 12.5
TITLES = ("camera", "reconstruction", "where it differs")
BACK = (22, 25, 29)
LINE = (58, 64, 71)
TEXT = (206, 212, 218)
QUIET = (134, 142, 150)
SCORE = (240, 243, 245)
ALARM = (255, 107, 87)
FAULT = (120, 62, 42)
UNKNOWN = (40, 44, 50)


@lru_cache(maxsize=512)
def text_mask(text: str, size: int) -> np.ndarray:
    """Coverage of a line of text, float32 [h, w, 1] in [0, 1], in the font that matplotlib carries."""
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(path), size)
    left, _, right, _ = font.getbbox(text)
    ascent, descent = font.getmetrics()
    picture = Image.new("L", (max(1, math.ceil(right - left)), ascent + descent))
    ImageDraw.Draw(picture).text((-left, 0), text, fill=255, font=font)
    return np.asarray(picture, np.float32)[..., None] / 255


def put_text(
    canvas: np.ndarray,
    text: str,
    x: int,
    y: int,
    colour: tuple[int, int, int] = TEXT,
    size: int = 13,
    right: bool = False,
) -> None:
    """Draw text into `canvas` (uint8 [h, w, 3]) with its top at y, starting or ending at x."""
    mask = text_mask(text, size)
    x = x - mask.shape[1] if right else x
    x = max(0, x)
    area = canvas[y : y + mask.shape[0], x : x + mask.shape[1]]
    mask = mask[: area.shape[0], : area.shape[1]]
    area[:] = (area * (1 - mask) + np.array(colour, np.float32) * mask).round().astype(np.uint8)


class Composer:
    """Puts a frame, its reconstruction, heat map and the score's last seconds into one picture."""

    def __init__(
        self,
        image_size: tuple[int, int],
        fps: float,
        heat_range: tuple[float, float],
        *,
        threshold: float | None = None,
        score_range: tuple[float, float] = (0.0, 1.0),
        panel_px: int = 224,
        seconds: float = 10.0,
        title: str = "",
    ) -> None:
        """Prepare.

        Args:
          image_size: (h, w) of the frames.
          fps: frames a second.
          heat_range: (low, high) of the colour scale, the same for the whole video.
          threshold: drawn as a line; alarms are scores above it. None = no line.
          score_range: (low, high) of the timeline; what lies beyond is cut. Fixed, since a scale
            that follows the data makes every video look alarming somewhere.
          panel_px: width of a panel.
          seconds: how much of the past the timeline shows.
          title: small text at the lower left, e.g. the video's name.
        """
        low, high = score_range
        if threshold is not None and math.isfinite(threshold):
            high = max(high, low + (threshold - low) * 1.6)
        if not high > low:
            raise ValueError(f"score_range={score_range} needs low < high.")
        height, width = image_size
        self.fps, self.heat_range, self.threshold = fps, heat_range, threshold
        self.low, self.high, self.title = low, high, title
        self.panel = (panel_px, max(2, round(panel_px * height / width)))
        rows = HEADER + self.panel[1] + STRIP + 2 * GAP
        columns = 3 * panel_px + 4 * GAP
        self.size = (columns + columns % 2, rows + rows % 2)  # VP9 takes even sides only
        self._background = self._draw_background()
        self._past: deque[tuple[float, int, bool]] = deque(maxlen=max(2, round(seconds * fps)))

    def compose(
        self,
        frame: np.ndarray,
        reconstruction: np.ndarray | None,
        error: np.ndarray | None,
        *,
        time_s: float,
        score: float,
        label: int = -1,
        alarm: bool | None = None,
    ) -> np.ndarray:
        """The picture of the next frame.

        Args:
          frame: uint8 [h, w, 3] RGB.
          reconstruction: the same, or None where there is none.
          error: float [h, w] locally pooled error in [0, 1], or None.
          time_s: when, in seconds.
          score: anomaly score, NaN unscored.
          label: 1 anomalous, 0 normal, -1 unknown.
          alarm: whether an event is on; None = score above the threshold.

        Returns:
          uint8 [h, w, 3] RGB, always of `size`.
        """
        alarm = self.see(score, label, alarm)
        canvas = self._background.copy()
        heat = None if error is None else overlay(frame, error, *self.heat_range)
        for place, picture in enumerate((frame, reconstruction, heat)):
            left, top = self._corner(place)
            if picture is not None:
                area = canvas[top : top + self.panel[1], left : left + self.panel[0]]
                area[:] = enlarge(picture, self.panel)
            if place == 2 and alarm:
                right, bottom = left + self.panel[0] - 1, top + self.panel[1] - 1
                cv2.rectangle(canvas, (left, top), (right, bottom), ALARM, 2)
        self._draw_timeline(canvas)
        right, top = self.size[0] - GAP, self.size[1] - 20
        number = f"score {score:.1f}" if math.isfinite(score) else "not scored"
        if alarm:
            number = f"ALARM  {number}"
        put_text(canvas, f"{time_s:.1f} s", right, top, QUIET, 11, right=True)
        # a fixed place, since text that moves with the clock's width flickers
        put_text(canvas, number, right - 62, top, ALARM if alarm else TEXT, 11, right=True)
        return canvas

    def see(self, score: float, label: int = -1, alarm: bool | None = None) -> bool:
        """Notes the next frame for the timeline, without a picture of it; whether an alarm is on.

        Args as of `compose`.
        """
        if alarm is None:
            alarm = self.threshold is not None and score > self.threshold
        self._past.append((score, label, bool(alarm)))
        return bool(alarm)

    def _corner(self, place: int) -> tuple[int, int]:
        """Left and top of a panel."""
        return GAP + place * (self.panel[0] + GAP), HEADER

    def _draw_background(self) -> np.ndarray:
        """What never changes."""
        canvas = np.full((self.size[1], self.size[0], 3), BACK, np.uint8)
        for place, title in enumerate(TITLES):
            left, top = self._corner(place)
            put_text(canvas, title, left, 8, QUIET)
            canvas[top : top + self.panel[1], left : left + self.panel[0]] = UNKNOWN
        put_text(canvas, self.title, GAP, self.size[1] - 20, QUIET, 11)
        return canvas

    def _draw_timeline(self, canvas: np.ndarray) -> None:
        """The last seconds: true intervals as a ground, threshold dashed, alarms in red; now = right."""
        left, width = GAP, self.size[0] - 2 * GAP
        top = HEADER + self.panel[1] + GAP
        bottom = self.size[1] - 24
        past = list(self._past)
        step = width / (self._past.maxlen or 1)
        x_of = [left + width - (len(past) - i) * step for i in range(len(past))]
        for x, (_, label, _) in zip(x_of, past):
            if label == 1:
                canvas[top:bottom, round(x) : max(round(x) + 1, round(x + step))] = FAULT
        canvas[bottom, left : left + width] = LINE

        def y_of(score: float) -> int:
            share = (min(max(score, self.low), self.high) - self.low) / (self.high - self.low)
            return round(bottom - 2 - share * (bottom - top - 4))

        if self.threshold is not None and math.isfinite(self.threshold):
            y = y_of(self.threshold)
            for x in range(left, left + width, 9):
                canvas[y, x : min(x + 5, left + width)] = ALARM
        for i in range(1, len(past)):
            before, now = past[i - 1], past[i]
            if math.isfinite(before[0]) and math.isfinite(now[0]):
                start = (round(x_of[i - 1] + step / 2), y_of(before[0]))
                stop = (round(x_of[i] + step / 2), y_of(now[0]))
                cv2.line(canvas, start, stop, ALARM if now[2] else SCORE, 1, cv2.LINE_AA)


class SideBySideWriter(Composer):
    """Composes and writes; a context manager, so that the file is whole when the block ends.

    The file grows under another name beside `path`, and gets its name at the end; an error inside
    the block leaves nothing behind.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        image_size: tuple[int, int],
        fps: float,
        *args,
        every: int | None = None,
        **kwargs,
    ):
        """Prepare; the rest as in `Composer`.

        Args:
          path: ends in .webm.
          image_size, fps: of the source.
          every: only each so many-th frame gets a picture, at fps / every, which plays as fast as
            the source and saves as much time; the timeline still shows every score. None = about
            12 pictures a second, enough to follow a machine.
        """
        super().__init__(image_size, fps, *args, **kwargs)
        every = max(1, round(fps / PICTURES_PER_S)) if every is None else every
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 frame.")
        self.every = every
        self.num_frames = 0
        self._file = WebmWriter(path, self.size, fps / every)
        self.path = self._file.path
        self._is_open = False

    def __enter__(self) -> "SideBySideWriter":
        self._file.__enter__()
        self._is_open = True
        return self

    def write(
        self,
        frame: np.ndarray,
        reconstruction: np.ndarray | None,
        error: np.ndarray | None,
        *,
        time_s: float,
        **said,
    ) -> None:
        """Add the next frame; arguments as in `Composer.compose`."""
        if not self._is_open:
            raise RuntimeError("Use SideBySideWriter in a `with` block.")
        if self.num_frames % self.every:
            self.see(**said)
        else:
            self._file.write(self.compose(frame, reconstruction, error, time_s=time_s, **said))
        self.num_frames += 1

    def __exit__(self, kind, error, trace) -> None:
        self._is_open = False
        self._file.__exit__(kind, error, trace)


def enlarge(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Picture at (width, height); small frames are enlarged smoothly."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    shrinks = size[0] < picture.shape[1]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def strip_picture(
    frames: np.ndarray,
    reconstructions: np.ndarray,
    errors: np.ndarray,
    heat_range: tuple[float, float],
    panel_px: int = 160,
) -> np.ndarray:
    """A moment as one picture: a column a frame; rows frame, reconstruction, heat map.

    Args:
      frames, reconstructions: uint8 [k, h, w, 3] RGB.
      errors: float [k, h, w] locally pooled error in [0, 1].
      heat_range: (low, high) of the colour scale.
      panel_px: width of a panel.

    Returns:
      uint8 [rows, columns, 3], panels 4 px apart on transparent-looking grey.
    """
    if not len(frames) == len(reconstructions) == len(errors) or not len(frames):
        raise ValueError(
            f"Got {len(frames)} frames, {len(reconstructions)} reconstructions and {len(errors)} "
            "error maps; expected the same number, at least one."
        )
    size = (panel_px, round(panel_px * frames.shape[1] / frames.shape[2]))
    heat = [overlay(frame, error, *heat_range) for frame, error in zip(frames, errors)]
    rows = []
    for pictures in (frames, reconstructions, heat):
        panels = [enlarge(np.asarray(picture), size) for picture in pictures]
        spaced = [np.pad(p, ((0, 4), (0, 4), (0, 0)), constant_values=128) for p in panels]
        rows.append(np.concatenate(spaced, axis=1))
    return np.concatenate(rows, axis=0)[:-4, :-4]
