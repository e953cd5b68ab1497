"""Side-by-side videos of an evaluation: which test videos, which part of each, and the files."""

import math
from collections.abc import Iterator

import numpy as np
from etils import epath

from ipad_jax.evaluation.ranking import rightness_by_video
from ipad_jax.evaluation.report.data import Clip
from ipad_jax.evaluation.report.side_by_side import SideBySideWriter
from ipad_jax.run.progress import Report
from ipad_jax.video.evaluation.pictures import Pictures, kinds_of, source_video
from ipad_jax.video.scores.protocols import Judged

CHOICES = ("few", "all", "none")
FEW = 2  # of the worst, and as many of the best
MAX_FRAMES = 300  # of a video; `detect --side-by-side` shows all of one
PANEL_PX = 192


def choose(judged: Judged, videos: str) -> dict[int, str]:
    """Test videos to show, worst first, each with "worst", "best" or "".

    Args:
      judged: the frames that count.
      videos: one of `CHOICES`; "few" are those that take most from the frame AUC, and that give it most.
    """
    if videos == "none":
        return {}
    scores = judged.scores
    rightness = rightness_by_video(judged.score, scores.label, scores.video)
    ordered = sorted(rightness, key=lambda video: rightness[video])
    if videos == "all":
        return dict.fromkeys(ordered, "")
    worst, best = ordered[:FEW], ordered[FEW:][-FEW:]
    return dict.fromkeys(worst, "worst") | dict.fromkeys(best, "best")


def stretch_of(judged: Judged, video: int, length: int, clip_len: int) -> tuple[int, int]:
    """First frame and the one after the last: all, or those about the first fault, else the highest score."""
    scores = judged.scores
    at = np.flatnonzero(scores.video == video)
    faulty = at[scores.label[at] == 1]
    centre = scores.frame[faulty[0] if len(faulty) else at[np.argmax(judged.score[at])]]
    count = min(length, max(MAX_FRAMES, clip_len))
    start = min(max(int(centre) - count // 3, 0), length - count)
    return start, start + count


def side_by_side_clips(
    folder: epath.Path,
    judged: Judged,
    chosen: dict[int, str],
    pictures: Pictures,
    heat: tuple[float, float],
    threshold: float | None,
    progress: Report | None = None,
) -> Iterator[Clip]:
    """Writes NAME.webm of each chosen video, and yields it when its file is there.

    Args:
      folder: of the evaluation.
      judged: the frames that count.
      chosen: see `choose`.
      pictures: of the test split.
      heat, threshold: as in `Composer`.
      progress: called with the frames done, and all there are.
    """
    scores = judged.scores
    lengths = {
        video: pictures.source.videos[
            source_video(pictures.source, scores.video_names[video])
        ].length
        for video in chosen
    }
    stretches = {
        video: stretch_of(judged, video, length, pictures.clip_len)
        for video, length in lengths.items()
    }
    done, total = 0, sum(stop - start for start, stop in stretches.values())
    finite = judged.score[np.isfinite(judged.score)]
    low, high = np.quantile(finite, [0.01, 0.99])  # one scale for all videos
    for video, why in chosen.items():
        name, fps = scores.video_names[video], scores.fps[video]
        start, stop = stretches[video]
        index = source_video(pictures.source, name)
        frames, reconstructions, errors = pictures.stretch(index, start, stop)
        at = np.flatnonzero(scores.video == video)
        row_of = dict(zip(scores.frame[at].tolist(), at.tolist()))
        events = judged.events.get(video, [])
        faulty = at[scores.label[at] == 1]
        kind = ", ".join(kinds_of(scores, at)) or ("fault" if len(faulty) else "normal")
        path = folder / f"{name}.webm"
        with SideBySideWriter(
            path,
            (frames.shape[1], frames.shape[2]),
            fps,
            heat,
            threshold=threshold,
            score_range=(float(low), float(high) + 1e-6),
            panel_px=PANEL_PX,
            title=f"{name} ({kind})",
        ) as writer:
            for place, frame in enumerate(range(start, stop)):
                row = row_of.get(frame)
                writer.write(
                    frames[place],
                    reconstructions[place],
                    errors[place],
                    time_s=frame / fps,
                    score=math.nan if row is None else float(judged.score[row]),
                    label=-1 if row is None else int(scores.label[row]),
                    alarm=any(e.start <= frame < e.stop for e in events),
                )
                done += 1
                if progress:
                    progress(done, total)
        cut = ""
        if lengths[video] > stop - start:
            cut = f", {start / fps:.1f} to {stop / fps:.1f} s of {lengths[video] / fps:.1f} s"
        rank = f" One of the {why} in the frame AUC." if why else ""
        yield Clip(f"{name}: {kind}", path, f"Test video {name}{cut}.{rank}")
