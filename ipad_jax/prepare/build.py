"""TFDS datasets built all or not at all, and what is there already."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ipad_jax.prepare.narrate import BuildProgress
from ipad_jax.run.files import check_name
from ipad_jax.run.progress import Bars


def load_builder_class(name: str) -> Any:
    """Builder class of a dataset; imported here, since TFDS takes a second to import."""
    return importlib.import_module(f"ipad_jax.data_builders.{name}.{name}_dataset_builder").Builder


def scene_configs(
    builder_class: Any, name: str, scenes: Sequence[str], **changes: Any
) -> list[Any]:
    """Builder configs of scenes (classes of mad), with fields such as width changed; ["all"] means all.

    Raises: ValueError naming the choices where a scene is unknown.
    """
    known = {config.scene: config for config in builder_class.BUILDER_CONFIGS}
    if "all" in scenes:
        if len(scenes) > 1:
            others = ", ".join(scene for scene in scenes if scene != "all")
            raise ValueError(
                f"--scene all means every scene: leave out {others}, or leave out all."
            )
        scenes = list(known)
    if unknown := [scene for scene in scenes if scene not in known]:
        named = ", ".join(scene or "''" for scene in unknown)
        raise ValueError(f"{name} has no scene {named}; choose from {', '.join(known)}.")
    # The name is made anew from scene, size and quality.
    configs = [dataclasses.replace(known[scene], **changes, name="") for scene in scenes]
    # TFDS wants its own object for a predefined name.
    predefined = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    return [predefined.get(config.name, config) for config in configs]


def footage_config(
    builder_class: Any,
    name: str,
    source: Path,
    *,
    fps: float | None = None,
    cycle: float | str | None = None,
    **changes: Any,
) -> Any:
    """Builder config of a person's own footage in the folder `source`; raises ValueError on its name."""
    check_name(name, "--name")
    template = builder_class.BUILDER_CONFIGS[0]
    place = str(source.expanduser().absolute())
    config = dataclasses.replace(
        template, **changes, name="", scene=name, source=place, fps=fps or 0.0, cycle=cycle
    )
    if config.name in {config.name for config in builder_class.BUILDER_CONFIGS}:
        raise ValueError(f"--name {name} is taken by the builder itself; choose another.")
    return config


def image_configs(source: Path, name: str | None, categories: Sequence[str]) -> list[Any]:
    """Builder configs of a folder of images, or of categories of an archive; ["all"] means all.

    Raises: ValueError on a name that no folder can have; FileNotFoundError where there is no archive.
    """
    from ipad_jax.data_builders.image_folder import layout
    from ipad_jax.data_builders.image_folder.image_folder_dataset_builder import ImageFolderConfig

    place = source.expanduser().absolute()
    if name:
        return [ImageFolderConfig(name=check_name(name, "--name"), source=str(place))]
    if "all" in categories:
        categories = layout.categories(place) if place.is_dir() else ()
    for category in categories:
        check_name(category, "--category")
        layout.category_folder(place, category)
    if not categories:
        raise FileNotFoundError(f"{place} holds no categories. Expected:{layout.TREE}")
    return [ImageFolderConfig(name=c, source=str(place), category=c) for c in categories]


def object_config(source: Path, name: str, size: int) -> Any:
    """Builder config of an object in the folder `source`; raises ValueError on its name."""
    from ipad_jax.data_builders.object_folder.object_folder_dataset_builder import (
        ObjectFolderConfig,
    )

    place = str(source.expanduser().absolute())
    return ObjectFolderConfig(name=check_name(name, "--name"), source=place, size=size)


def prepare(
    builder_class: Any,
    config: Any,
    data_dir: str,
    *,
    manual_dir: Path | None = None,
    workers: int = 1,
    overwrite: bool = False,
    bars: Bars | None = None,
) -> tuple[Any, bool]:
    """Builds a dataset that is not there, or again with `overwrite`.

    Args: manual_dir, of datasets downloaded by hand; workers, processes at most.
    Returns: its builder, and whether it was built.
    Raises: ValueError or OSError saying what is wrong; what was there is then as it was.
    """
    builder = builder_class(config=config, data_dir=data_dir)
    is_there = builder.data_path.exists()
    if is_there and not overwrite:
        if changed := differences(builder):
            raise ValueError(
                f"{builder.data_dir} was prepared with {changed}. Use --overwrite to build it "
                "again, or another --name."
            )
        return builder, False
    if str(getattr(config, "cycle", None)).startswith("auto"):
        from ipad_jax.prepare.cycle import measure_cycle  # imports TFDS

        bars = bars or Bars(io.StringIO())
        config.measured = measure_cycle(Path(config.source), config.fps or None, config.cycle, bars)
    if is_there:
        rebuild(builder_class, config, data_dir, manual_dir, workers, bars)
        return builder_class(config=config, data_dir=data_dir), True
    build(builder, manual_dir, workers, bars)
    return builder, True


def build(builder: Any, manual_dir: Path | None, workers: int, bars: Bars | None = None) -> None:
    """Builds one dataset into a temporary folder beside its place, and renames it when complete.

    Args: manual_dir, of datasets downloaded by hand; workers, processes at most.
    Raises: ValueError or OSError saying what is wrong; nothing is left behind then.
    """
    import tensorflow_datasets as tfds

    bars = bars or Bars(io.StringIO())
    tfds.disable_progress_bar()  # and its prints: ours say the same and more
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            _terminate_as_interrupt(),
            tempfile.TemporaryDirectory() as downloads,
        ):
            builder.progress = BuildProgress(
                bars, builder.builder_config.name, getattr(builder, "unit", "frames")
            )
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
    bars: Bars | None,
) -> None:
    """Builds a dataset that is there once more, beside it, and puts it in its place when complete.

    Raises: as `build`; the old dataset is then as it was.
    """
    place = builder_class(config=config, data_dir=data_dir).data_path
    beside = place.parent / f"incomplete.{os.getpid()}"
    new = builder_class(config=config, data_dir=beside)
    try:
        build(new, manual_dir, workers, bars)
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


def leftovers(place: Any) -> list[str]:
    """What a killed run left beside a dataset's place, and what to do with it."""
    lines = []
    for left in sorted(place.parent.glob("incomplete.*")):
        line = f"{left} was left by a run that was killed, or is being written"
        if (left / "replaced").exists() and not place.exists():  # killed between two renames
            line += (
                f"; it holds the dataset that was here: move {left / 'replaced'} to {place} first"
            )
        lines.append(f"{line}; delete it if no `ipad-jax prepare` runs (nothing reads it)")
    return lines


def check_archive(manual_dir: Path, builder_class: Any) -> None:
    """Raises FileNotFoundError where a folder holds no archive, saying where its content comes from."""
    if manual_dir.is_dir() and any(manual_dir.iterdir()):
        return
    state = "is empty" if manual_dir.is_dir() else "no such folder"
    raise FileNotFoundError(
        f"--manual-dir {manual_dir}: {state}.\n{builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )
