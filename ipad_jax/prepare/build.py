"""`ipad-jax prepare NAME`: builds a TFDS dataset with a progress bar, all of it or nothing."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from ipad_jax.prepare.narrate import BarProgress, new_bar
from ipad_jax.run.files import check_name


def load_builder_class(name: str) -> Any:
    """Builder class of a dataset; imported here, since TFDS takes a second to import."""
    return importlib.import_module(f"ipad_jax.data_builders.{name}.{name}_dataset_builder").Builder


def make_configs(builder_class: Any, args: argparse.Namespace) -> list[Any]:
    """Builder configs the arguments ask for.

    Raises: ValueError naming the choices where a scene is unknown.
    """
    changes: dict[str, Any] = {
        "name": "",  # made anew from scene, size and quality
        "width": args.size[0],
        "height": args.size[1],
        "quality": args.quality,
    }
    known = {config.scene: config for config in builder_class.BUILDER_CONFIGS}
    if args.builder == "video_folder":
        check_name(args.name, "--name")
        changes |= {"scene": args.name, "source": str(args.source.expanduser().absolute())}
        changes |= {"fps": args.fps or 0.0, "cycle": args.cycle}
        known = {args.name: next(iter(known.values()))}
        scenes = [args.name]
    else:
        scenes = list(known) if args.scene == ["all"] else args.scene
    if getattr(args, "seed", None) is not None:
        changes["seed"] = args.seed
    unknown = [scene for scene in scenes if scene not in known]
    if unknown:
        raise ValueError(
            f"{args.builder} has no scene {', '.join(unknown)}; choose from {', '.join(known)}."
        )
    configs = [dataclasses.replace(known[scene], **changes) for scene in scenes]
    # TFDS wants its own object for a predefined name.
    predefined = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    if args.builder == "video_folder" and configs[0].name in predefined:
        raise ValueError(f"--name {args.name} is taken by the builder itself; choose another.")
    return [predefined.get(config.name, config) for config in configs]


def build(builder: Any, manual_dir: Path | None, workers: int, console: Console) -> None:
    """Builds one dataset into a temporary folder beside its place, and renames it when complete.

    Args: manual_dir, of datasets downloaded by hand; workers, processes at most.
    Raises: ValueError or OSError saying what is wrong; nothing is left behind then.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()  # and its prints: ours say the same and more
    try:
        with (
            new_bar(console) as bar,
            contextlib.redirect_stdout(io.StringIO()),
            _terminate_as_interrupt(),
            tempfile.TemporaryDirectory() as downloads,
        ):
            builder.progress = BarProgress(bar, builder.builder_config.name)
            builder.workers = workers
            if hasattr(builder.builder_config, "on_render"):  # factory
                builder.builder_config.on_render = builder.progress.render
            builder.download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=None if manual_dir is None else str(manual_dir),
                    try_download_gcs=False,
                ),
            )
    finally:
        _remove_empty(Path(builder.data_dir))


def rebuild(
    builder_class: Any,
    config: Any,
    data_dir: str,
    manual_dir: Path | None,
    workers: int,
    console: Console,
) -> None:
    """Builds a dataset that is there once more, beside it, and puts it in its place when complete.

    Raises: as `build`; the old dataset is then as it was.
    """
    place = builder_class(config=config, data_dir=data_dir).data_path
    beside = place.parent / f"incomplete.{os.getpid()}"
    new = builder_class(config=config, data_dir=beside)
    try:
        build(new, manual_dir, workers, console)
    except BaseException:
        beside.rmtree(missing_ok=True)
        raise
    # Whatever stops us between the two, both are still on the disk.
    place.rename(beside / "replaced")
    new.data_path.rename(place)
    beside.rmtree()


def differences(builder: Any) -> str:
    """In what the dataset that is there differs from what is asked for now; "" where in nothing.

    What an older version did not say of a dataset is not compared.
    """
    stored = builder.info.metadata.get("request", {})
    return ", ".join(
        f"{name}={stored.get(name)!r} (now {asked!r})"
        for name, asked in builder.request().items()
        if stored.get(name) != asked and (name in stored or not stored)
    )


def _remove_empty(version_dir: Path) -> None:
    """Removes the folders of a dataset that was not built, as far as they hold nothing.

    TFDS itself removes its temporary folder, but leaves <data_dir>/<builder>/<config>/ and a
    .config beside it.
    """
    if version_dir.is_dir():
        return
    config_dir = version_dir.parent
    builder_dir = config_dir.parent
    with contextlib.suppress(OSError):
        config_dir.rmdir()
    if builder_dir.is_dir() and [p.name for p in builder_dir.iterdir()] == [".config"]:
        shutil.rmtree(builder_dir / ".config")
    with contextlib.suppress(OSError):
        builder_dir.rmdir()
        builder_dir.parent.rmdir()


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def no_archive(manual_dir: Path, builder_class: Any) -> str:
    """What is wrong with --manual-dir as a whole, and where its content comes from; "" if nothing."""
    if manual_dir.is_dir() and any(manual_dir.iterdir()):
        return ""
    state = "is empty" if manual_dir.is_dir() else "no such folder"
    return f"--manual-dir {manual_dir}: {state}.\n{builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS}"
