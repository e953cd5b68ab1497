"""From clips to frames: one row a frame, as a stream, in constant memory (IPAD paper eq. 7-8).

The same `FrameAggregator` serves `evaluate` and `detect`, so both give the same rows. What a row
holds:

* A frame is seen by up to `clip_len / stride` clips; `*_mean` is the mean over them, `*_centre`
  the value from the clip whose middle frame it is (the published code's choice: frame 8 of 16),
  NaN where there is none.
* A method that predicts frames from those before has no values for the first of a clip, the same
  number in every clip: NaN. They count as not seen, and the middle is that of the others.
* Period error of a clip, eq. 7-8: `window` clips around it, `spacing` frames apart, must advance
  through the cycle at the normal speed. Reference ramp: 200 * distance / cycle_frames; its offset
  is the circular median of the residuals; the error is their mean circular distance from it, in
  1/200 of a cycle; beside it the same with a fitted slope (period_error.py). At the ends of a video
  the window is cut, 3 clips at least, else NaN. A frame's is the mean over the clips that saw it.
* Regular clips start at 0, stride, 2 stride... When the video's length is not a whole number of
  strides, one last clip ends with the video (the tail clip). A row is final, and handed out, as
  soon as no later regular clip can see the frame and the period windows of all clips that saw it
  are complete; the tail clip only adds to frames that were not handed out before. So a row never
  changes, and the future beyond `delay_frames` never touches it.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from ipad_jax.video.scores.period_error import MIN_WINDOW_CLIPS, fitted_period_error, period_error

MSE_FLOOR = 1e-10  # a perfect frame reads 100 dB, not infinity

COMPONENTS = (
    "psnr_centre",
    "psnr_mean",
    "pooled_centre",
    "pooled_mean",
    "period_error",
    "fitted_period_error",
    "phase",
    "deformation",
)
# Those of them that need the clip rebuilt.
RECONSTRUCTED = ("psnr_centre", "psnr_mean", "pooled_centre", "pooled_mean", "deformation")
# Those that are made beside the model, of the frames and at most the phase (detector/stream.py).
BESIDE = ("nearest", "features", "motion", "diff_mean", "diff_pooled", "fastest")
_SUMS = ("clips", "psnr", "pooled", "deformation", "error", "fitted", "errors", "cos", "sin")


@dataclass(frozen=True)
class FrameRows:
    """Finished rows of one video, in frame order.

    Attributes:
      frame: int32 [n] frame index in the video.
      position: int16 [n] smallest place inside a clip over the clips that saw the frame; -1 if
        none did.
      components: float32 [n] each, NaN where unscored; names in `COMPONENTS`. PSNR in dB, pooled
        error in [0, 1], period error in 1/200 cycle, phase in [0, 1), deformation in pixels.
    """

    frame: np.ndarray
    position: np.ndarray
    components: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.frame)

    @staticmethod
    def concat(parts: "list[FrameRows]") -> "FrameRows":
        """Rows of several calls one after the other."""
        parts = parts or [empty_rows()]
        return FrameRows(
            frame=np.concatenate([p.frame for p in parts]),
            position=np.concatenate([p.position for p in parts]),
            components={
                name: np.concatenate([p.components[name] for p in parts])
                for name in parts[0].components
            },
        )


def empty_rows() -> FrameRows:
    """No rows, with the right columns and types."""
    return FrameRows(
        np.zeros(0, np.int32),
        np.zeros(0, np.int16),
        {name: np.zeros(0, np.float32) for name in COMPONENTS},
    )


def psnr(mse: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of a mean squared error of values in [0, 1]."""
    return -10.0 * np.log10(np.maximum(np.asarray(mse, np.float64), MSE_FLOOR))


def clip_spacing(cycle_frames: float | None, stride: int, spacing: int = 0) -> int:
    """Frames between the clips of a period window, a multiple of `stride`.

    Args:
      cycle_frames: length of a normal cycle, None or NaN if there is none.
      stride: frames between clips.
      spacing: the config's wish in frames; 0 = a twentieth of a cycle (at stride 1 a frozen
        machine is indistinguishable from a running one), rounded to whole strides.
    """
    if spacing < 0:
        raise ValueError(
            f"eval.spacing={spacing} must be 0 (a twentieth of a cycle) or a positive number."
        )
    if spacing == 0:
        if cycle_frames is None or not math.isfinite(cycle_frames):
            return stride
        return max(1, round(cycle_frames / 20 / stride)) * stride
    if spacing % stride:
        raise ValueError(
            f"eval.spacing={spacing} frames must be a multiple of eval.stride={stride}; "
            f"the nearest are {spacing // stride * stride} and {(spacing // stride + 1) * stride}."
        )
    return spacing


class FrameAggregator:
    """Turns the predictions of a video's clips, in order, into one row a frame.

    Memory is constant: sums are kept only for frames that are not final yet.
    """

    def __init__(
        self,
        clip_len: int,
        stride: int = 1,
        cycle_frames: float | None = None,
        window: int = 5,
        spacing: int = 0,
        start: int = 0,
    ) -> None:
        """Prepare for one video (or one segment of it).

        Args:
          clip_len: frames a clip.
          stride: frames between the starts of regular clips, at most clip_len.
          cycle_frames: frames of a normal cycle; None or NaN switches the period error off.
          window: clips of the period window, odd, at least 3.
          spacing: frames between them, a multiple of stride; 0 = a twentieth of a cycle.
          start: index of the first frame; clips start at start, start + stride...

        Raises:
          ValueError: a number is out of its range.
        """
        if not 1 <= stride <= clip_len:
            raise ValueError(
                f"eval.stride={stride} must lie in 1..data.clip_len={clip_len}: "
                "with a longer one no clip would see the frames between."
            )
        if window < MIN_WINDOW_CLIPS or window % 2 == 0:
            raise ValueError(
                f"eval.window={window} must be odd and at least {MIN_WINDOW_CLIPS} clips."
            )
        if cycle_frames is not None and cycle_frames <= 0:
            raise ValueError(f"cycle_frames={cycle_frames} must be positive, or None for no cycle.")
        known = cycle_frames is not None and math.isfinite(cycle_frames)
        self.clip_len, self.stride, self.start = clip_len, stride, start
        self.cycle_frames = cycle_frames if known else None
        self.spacing = clip_spacing(cycle_frames, stride, spacing)
        self._half = window // 2 if known else 0  # clips on either side of the window's middle
        self._step = self.spacing // stride  # clips between two of the window
        self._reach = self._half * self._step
        self._num_clips = 0
        self._next_frame = 0  # first frame not handed out yet, counted from `start`
        self._next_period = 0  # first clip whose period error is not final yet
        self._tail: int | None = None
        self._tail_phase = math.nan
        self._closed = False
        # phases of the clips that a window may still need, the newest last
        self._phases: deque[float] = deque(maxlen=2 * self._reach + 1)
        self._size = self._reach * stride + stride + 2 * clip_len
        self._sums = {name: np.zeros(self._size) for name in _SUMS}
        self._centre = {name: np.full(self._size, np.nan) for name in ("psnr", "pooled")}
        self._position = np.full(self._size, np.iinfo(np.int16).max, np.int16)
        self._unscored = -1  # frames at a clip's start without values; -1: no clip yet

    @property
    def delay_frames(self) -> int:
        """Frames that must follow a frame before its row is handed out, at most."""
        return self.clip_len - 1 + self._reach * self.stride

    def add(
        self,
        first_frame: int,
        mse: np.ndarray | None,
        pooled: np.ndarray | None,
        phase: float = math.nan,
        deformation: np.ndarray | None = None,
    ) -> FrameRows:
        """Take the next clip's predictions.

        Args:
          first_frame: the clip's first frame. Regular clips come in order and without gaps; a clip
            that starts between the last regular one and its successor is the tail clip, and the
            last.
          mse: [clip_len] mean squared error of each frame, values scaled to [0, 1]; NaN where the
            method has none; None: nothing was rebuilt, of every clip.
          pooled: [clip_len] maximum of the locally pooled absolute error, in [0, 1]; NaN or None there too.
          phase: predicted phase of the clip's first frame in [0, 1); NaN without a period head.
          deformation: [clip_len] largest locally pooled deformation in pixels; None without.

        Returns:
          The rows that became final, often none.

        Raises:
          ValueError: a clip out of order or of the wrong length, or a prediction that is not
            finite.
        """
        phase = float(phase)
        if self._closed or self._tail is not None:
            raise ValueError(
                f"Clip at frame {first_frame} came after the end of the video; start a new "
                "FrameAggregator for each video."
            )
        missing = np.full(self.clip_len, np.nan)
        if mse is None or pooled is None:
            self._unscored = 0
            mse = pooled = missing
        else:
            mse, pooled = np.asarray(mse), np.asarray(pooled)
            self._check(first_frame, mse=mse, pooled=pooled)
        first = int(first_frame) - self.start
        expected = self._num_clips * self.stride
        is_tail = self._num_clips > 0 and expected - self.stride < first < expected
        if first != expected and not is_tail:
            raise ValueError(
                f"Got a clip at frame {first_frame}, expected {expected + self.start} "
                f"(stride {self.stride}), or an earlier one that ends with the video."
            )
        if deformation is None:
            deformation = missing
        sums = {"psnr": psnr(mse), "pooled": pooled, "deformation": deformation}
        if is_tail:
            self._tail = first
            self._accumulate(first, sums, phase)
            self._tail_phase = phase
            return empty_rows()
        self._accumulate(first, sums, phase)
        self._phases.append(phase)
        self._num_clips += 1
        final = self._num_clips - 1 - self._reach  # the clip whose window this one completes
        if final < 0:
            return empty_rows()
        self._finish_period(final)
        return self._hand_out((final + 1) * self.stride)

    def close(self, num_frames: int) -> FrameRows:
        """End of the video: the rows that are left.

        Args:
          num_frames: index after the video's last frame. Frames that no clip saw (a video shorter
            than a clip, or no tail clip given) come out unscored.

        Raises:
          ValueError: called twice, or the clips reach beyond the video's end.
        """
        if self._closed:
            raise ValueError("close() was called twice on one FrameAggregator.")
        covered = (self._num_clips - 1) * self.stride if self._tail is None else self._tail
        covered = covered + self.clip_len if self._num_clips else 0
        if num_frames - self.start < covered:
            raise ValueError(
                f"The video ends at frame {num_frames}, but clips were given up to "
                f"{covered + self.start}."
            )
        self._closed = True
        for clip in range(self._next_period, self._num_clips):
            self._finish_period(clip)
        if self._tail is not None and self._half:
            # The tail clip's window: itself as if it were the next regular clip, and those before
            # it.
            places = [self._num_clips - k * self._step for k in range(self._half, 0, -1)]
            places = [p for p in places if p >= 0]
            phases = [self._phase_of(p) for p in places] + [self._tail_phase]
            starts = [p * self.stride for p in places] + [self._tail]
            self._add_period(self._tail, np.array(phases), np.array(starts))
        parts = [self._hand_out(covered)]
        unseen = max(0, num_frames - self.start - self._next_frame)
        if unseen:
            frame = np.arange(unseen, dtype=np.int32) + np.int32(self._next_frame + self.start)
            blank = {name: np.full(unseen, np.nan, np.float32) for name in COMPONENTS}
            parts.append(FrameRows(frame, np.full(unseen, -1, np.int16), blank))
            self._next_frame += unseen
        return FrameRows.concat(parts)

    def _check(self, first_frame: int, **predictions: np.ndarray) -> None:
        """Raises ValueError for a clip's predictions of the wrong length, or not finite."""
        for name, value in predictions.items():
            if value.shape != (self.clip_len,):
                raise ValueError(
                    f"{name} of the clip at frame {first_frame} has shape {value.shape}, "
                    f"expected ({self.clip_len},)."
                )
            leading = int(np.isnan(value).cumprod().sum())
            if self._unscored < 0:
                self._unscored = leading % self.clip_len  # all of them: broken
            if leading != self._unscored or not np.isfinite(value[leading:]).all():
                raise ValueError(
                    f"{name} of the clip at frame {first_frame} is not finite: {value}. "
                    "The model's output is broken; restore an earlier checkpoint."
                )

    def _accumulate(self, first: int, values: dict[str, np.ndarray], phase: float) -> None:
        """Add one clip to the sums of the frames that are still open."""
        position = np.arange(max(self._unscored, self._next_frame - first), self.clip_len)
        slot = (first + position) % self._size
        self._sums["clips"][slot] += 1
        for name, value in values.items():
            self._sums[name][slot] += value[position]
        self._position[slot] = np.minimum(self._position[slot], position)
        centre = (self._unscored + self.clip_len) // 2
        if centre >= position[0]:
            slot_centre = (first + centre) % self._size
            for name, column in self._centre.items():
                column[slot_centre] = values[name][centre]
        if self.cycle_frames is not None and math.isfinite(phase):
            angle = 2 * np.pi * (phase + position / self.cycle_frames)
            self._sums["cos"][slot] += np.cos(angle)
            self._sums["sin"][slot] += np.sin(angle)

    def _phase_of(self, clip: int) -> float:
        """Phase of a regular clip that is still remembered."""
        return self._phases[clip - self._num_clips]

    def _finish_period(self, clip: int) -> None:
        """Period error of a regular clip from the part of its window that exists."""
        self._next_period = clip + 1
        if not self._half:
            return
        places = clip + self._step * np.arange(-self._half, self._half + 1)
        places = places[(places >= 0) & (places < self._num_clips)]
        phases = np.array([self._phase_of(int(p)) for p in places])
        self._add_period(clip * self.stride, phases, places * self.stride)

    def _add_period(self, first: int, phases: np.ndarray, starts: np.ndarray) -> None:
        """Give a clip's period error to its frames that are still open."""
        cycle = self.cycle_frames or math.nan
        error = period_error(phases, starts, cycle)
        if math.isfinite(error):
            slot = np.arange(max(first, self._next_frame), first + self.clip_len) % self._size
            self._sums["error"][slot] += error
            self._sums["fitted"][slot] += fitted_period_error(phases, starts, cycle)
            self._sums["errors"][slot] += 1

    def _hand_out(self, end: int) -> FrameRows:
        """Rows of the frames up to `end`, whose places in the ring are then free."""
        frame = np.arange(self._next_frame, end)
        slot = frame % self._size
        sums = {name: values[slot] for name, values in self._sums.items()}
        with np.errstate(invalid="ignore"):
            columns = {
                "psnr_centre": self._centre["psnr"][slot],
                "psnr_mean": sums["psnr"] / sums["clips"],
                "pooled_centre": self._centre["pooled"][slot],
                "pooled_mean": sums["pooled"] / sums["clips"],
                "period_error": sums["error"] / sums["errors"],
                "fitted_period_error": sums["fitted"] / sums["errors"],
                "deformation": sums["deformation"] / sums["clips"],
            }
        turn = np.arctan2(sums["sin"], sums["cos"]) / (2 * np.pi)
        known = np.hypot(sums["sin"], sums["cos"]) > 0
        # in float32 before the modulo, or -1e-9 would become 1.0, outside [0, 1)
        columns["phase"] = np.where(known, np.float32(turn) % np.float32(1), np.nan)
        rows = FrameRows(
            frame=(frame + self.start).astype(np.int32),
            position=np.where(sums["clips"] > 0, self._position[slot], -1).astype(np.int16),
            components={name: columns[name].astype(np.float32) for name in COMPONENTS},
        )
        for values in self._sums.values():
            values[slot] = 0
        for values in self._centre.values():
            values[slot] = np.nan
        self._position[slot] = np.iinfo(np.int16).max
        self._next_frame = max(self._next_frame, end)
        return rows
