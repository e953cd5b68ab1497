"""A detector run over image files: results.csv, a line an image, and overlays of map and alarm.

Lines are written as they come, so a killed process leaves a readable file.
"""

import csv
import dataclasses
import io
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.data_builders.image_folder.layout import MASKS
from ipad_jax.data_builders.photos import SUFFIXES, is_photo
from ipad_jax.evaluation.report.heatmap import overlay
from ipad_jax.image.inspection import Inspection, Inspector
from ipad_jax.run.files import LineFile

COLUMNS = ("image", "score", "alarm", "threshold", "x", "y", "seconds", "problem", "note")
RESULTS, OVERLAYS = "results.csv", "overlays"
REBUILT = ".rebuilt.jpg"  # ends the name of what an image was compared with

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Result:
    """One line of results.csv.

    Attributes:
      image: path as it was found below the folder that was asked for.
      score: NaN where the image was not judged.
      alarm: whether the score is above the threshold.
      x, y: pixel of the map's maximum; -1 where the image was not judged.
      seconds: for the map, without reading the file.
      problem: why the file was not judged: it could not be read, or is no image of the method's; "".
      note: what speaks against trusting score and alarm, such as an uncertain pose, or what was not
        judged; "".
      inspected: whether the image was judged; False where there is a problem too.
      doubtful: whether score and alarm cannot be trusted, as the note says.
    """

    image: str
    score: float
    alarm: bool
    x: int = -1
    y: int = -1
    seconds: float = 0.0
    problem: str = ""
    note: str = ""
    inspected: bool = True
    doubtful: bool = False


def images_in(place: Path) -> list[tuple[str, Path]]:
    """Names and paths of an image file, or of all below a folder, in order of their names.

    Masks of an archive in MVTec AD's layout, below ground_truth/, are no images of parts: they are left out,
    and their number is logged.

    Raises:
      FileNotFoundError: there is none.
    """
    if place.is_file():
        return [(place.name, place)]
    if not place.is_dir():
        raise FileNotFoundError(f"--images {place}: no such file or folder.")
    files = sorted(p for p in place.rglob("*") if p.is_file() and is_photo(p))
    found = [p for p in files if MASKS not in p.relative_to(place).parts[:-1]]
    if masks := len(files) - len(found):
        logger.info("left out: %d masks in %s/ of %s", masks, MASKS, place)
    if not found:
        raise FileNotFoundError(f"--images {place}: holds no image ({', '.join(SUFFIXES)}).")
    return [(p.relative_to(place).as_posix(), p) for p in found]


def inspect_files(
    detector: Inspector,
    files: Sequence[tuple[str, Path]],
    folder: Path,
    *,
    overlays: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result]:
    """Judges image files one by one and writes what is found into `folder`.

    A file that cannot be read, or that the detector refuses, has a line that says so, and so has an image
    that is not inspected; in both score and alarm are empty. The others are judged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = LineFile(folder / RESULTS, _line(COLUMNS))
    results = []
    try:
        for name, path in files:
            try:
                image = detector.read(path)
                start = time.perf_counter()
                found = detector.inspect(image)
            except ValueError as error:
                problem = f"{path}: {str(error).removeprefix(f'{path}: ')}"
                result = Result(name, float("nan"), False, problem=problem, inspected=False)
            else:
                seconds = time.perf_counter() - start
                result = _result(name, found, seconds)
                if overlays:
                    write_overlay(folder / OVERLAYS / f"{name}.jpg", image, found, detector)
                    if (reference := detector.reference(image, found)) is not None:
                        _write_jpeg(folder / OVERLAYS / f"{name}{REBUILT}", reference)
            threshold = "" if detector.threshold is None else f"{detector.threshold:.6g}"
            score = f"{result.score:.6g}" if result.inspected else ""
            alarm = int(result.alarm) if result.inspected else ""
            row = (name, score, alarm, threshold, result.x, result.y)
            table.add(_line((*row, f"{result.seconds:.4f}", result.problem, result.note)))
            results.append(result)
            progress(len(results), len(files))
    finally:
        table.close()
    return results


def _result(name: str, found: Inspection, seconds: float) -> Result:
    if not found.inspected:
        return Result(name, found.score, False, -1, -1, seconds, "", found.remark, inspected=False)
    y, x = np.unravel_index(int(found.map.argmax()), found.map.shape)
    doubtful = bool(found.note)
    return Result(
        name, found.score, found.alarm, int(x), int(y), seconds, "", found.remark, doubtful=doubtful
    )


def write_overlay(path: Path, image: np.ndarray, found: Inspection, detector: Inspector) -> None:
    """The image in grey with the map over it, framed in red where there is an alarm.

    Grey alone where it was not inspected.
    """
    score = found.score if found.inspected else 0.0
    own = (0.5 * score, max(score, 0.5 * score + 1e-6))
    low, high = detector.heat or own
    picture = overlay(image, found.map, low, high)
    if found.alarm:
        border = max(2, min(picture.shape[:2]) // 100)
        right, below = picture.shape[1] - 1, picture.shape[0] - 1
        cv2.rectangle(picture, (0, 0), (right, below), (230, 30, 30), border)
    _write_jpeg(path, picture)


def _write_jpeg(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path} could not be encoded.")
    path.write_bytes(data.tobytes())


def summary(results: Sequence[Result], folder: Path) -> str:
    """What was found, for a person."""
    judged = [r for r in results if r.inspected]
    read = [r for r in results if not r.problem]
    alarms = [r for r in judged if r.alarm]
    doubtful = sum(r.doubtful for r in alarms)
    lines = [
        f"{len(judged)} images judged, {len(alarms)} with an alarm"
        + (f" ({doubtful} of them doubtful)" if doubtful else "")
        + (f"; {len(read) - len(judged)} NOT INSPECTED" if len(read) > len(judged) else "")
        + (f"; {len(results) - len(read)} not judged" if len(results) > len(read) else "")
    ]
    for result in sorted(alarms, key=lambda r: -r.score)[:20]:
        doubt = ", doubtful" if result.doubtful else ""
        lines.append(f"  {result.image}: {result.score:.3g}, at x {result.x}, y {result.y}{doubt}")
    if len(alarms) > 20:
        lines.append(f"  ... and {len(alarms) - 20} more in {RESULTS}")
    lines += [f"  not judged: {r.problem}" for r in results if r.problem]
    for note in dict.fromkeys(r.note for r in read if r.note):
        images = [r.image for r in read if r.note == note]
        rest = f" and {len(images) - 5} more" if len(images) > 5 else ""
        lines.append(f"  {', '.join(images[:5])}{rest}: {note}")
    if read:
        each = 1000 * float(np.median([r.seconds for r in read]))
        lines.append(f"{each:.0f} ms an image, median; written to {folder}")
    return "\n".join(lines)


def _line(values: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
