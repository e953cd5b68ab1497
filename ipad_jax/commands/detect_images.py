"""Images judged by a run or by an exported file: the half of `ipad-jax detect` without footage."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipad_jax.image.inspection import Inspector
    from ipad_jax.image.record import Result

ALARM = 3  # exit status
# Options that need the run folder.
OF_RUNS = ("false_alarms", "calibration", "seek_focal", "step")


def detect_images(args: argparse.Namespace) -> int:
    """Judges image files; the exit status is that of `status`."""
    from ipad_jax.image.detector import load
    from ipad_jax.image.record import images_in
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.progress import frame_progress

    files = images_in(args.images)
    folder = args.out or Path(args.workdir) / "detect" / (args.images.stem or "images")
    check_can_be_folder(folder, "--out" if args.out else "--workdir")
    enable_compile_cache()
    with frame_progress("calibrating", "images") as progress:
        detector = load(
            args.workdir,
            step=args.step,
            threshold=args.threshold,
            false_alarms=args.false_alarms,
            batch_size=1,
            calibration=args.calibration,
            seek_focal=args.seek_focal,
            progress=progress,
        )
    check_threshold(args, detector.threshold)
    detector.scorer.warm_up()
    results = _judge(args, detector, files, folder)
    if any(result.alarm for result in results):
        print_next("review", "--workdir", args.workdir, "--events", folder)
    elif detector.threshold is None:
        print_next("calibrate", "--workdir", args.workdir, "--images", "FOLDER")
    else:
        print_next(*detection(args.workdir, "image"))
    return status(args, results)


def detect_by_file(args: argparse.Namespace) -> int:
    """As `detect_images`, by an exported file; imports JAX for StableHLO alone."""
    if args.images is None:
        raise UsageError("--model is for --images.")
    for option in OF_RUNS:
        if getattr(args, option):
            raise UsageError(
                f"--{option.replace('_', '-')} is for --workdir: an exported file has one way."
            )
    from ipad_jax.image.exported import ExportedDetector
    from ipad_jax.image.record import images_in

    files = images_in(args.images)
    folder = args.out or args.model.parent / "detect" / (args.images.stem or "images")
    check_can_be_folder(folder, "--out" if args.out else "--model")
    detector = ExportedDetector(args.model, args.threshold)
    check_threshold(args, detector.threshold)
    results = _judge(args, detector, files, folder)
    return status(args, results)


def _judge(
    args: argparse.Namespace,
    detector: "Inspector",
    files: "Sequence[tuple[str, Path]]",
    folder: Path,
) -> "list[Result]":
    """Inspects the files, and prints and writes what was found."""
    from ipad_jax.image.marks import write_source
    from ipad_jax.image.record import inspect_files, summary
    from ipad_jax.run.progress import frame_progress

    if detector.threshold is None:
        print("no alarms: the run held out no good images; pass --threshold to mark them")
    else:
        print(detector.threshold_statement())
    overlays = args.side_by_side is not False
    with frame_progress("inspecting", "images") as progress:
        results = inspect_files(detector, files, folder, overlays=overlays, progress=progress)
    write_source(folder, args.images)
    print(summary(results, folder))
    return results


def status(args: argparse.Namespace, results: "list[Result]") -> int:
    """Exit status: 3 on an alarm with --fail-on-alarm, 1 where an image was not judged.

    That is no pass: a file that the method cannot judge, or an object from a side that nobody has seen.
    """
    if args.fail_on_alarm and any(result.alarm for result in results):
        return ALARM
    return 0 if all(result.inspected for result in results) else 1


def check_threshold(args: argparse.Namespace, threshold: float | None) -> None:
    """Raises UsageError where --fail-on-alarm could never come true."""
    if not args.fail_on_alarm or threshold is not None:
        return
    of_images = args.images is not None
    source = ("good images", "--images FOLDER") if of_images else ("normal footage", "--video FILE")
    run = args.workdir or "RUN"
    again = "" if args.workdir else ", then export it again"
    raise UsageError(
        f"--fail-on-alarm: there is no threshold, so nothing could raise an alarm. Give --threshold X, or "
        f"set one on {source[0]}: `ipad-jax calibrate --workdir {run} {source[1]}`{again}."
    )


def check_can_be_folder(path: Path, option: str) -> None:
    """Raises ValueError where a file stands in the way of a folder."""
    for place in (path, *path.parents):
        if place.is_dir():
            return
        if place.exists():
            raise ValueError(
                f"{option}: results go to the folder {path}, but {place} is a file; give another folder."
            )
