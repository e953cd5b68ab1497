"""Rendered brick animals with known defects: the embedded default for objects, nothing to download."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from ipad_jax.data_builders.images import ImageConfig, ImageSet
from ipad_jax.data_builders.objects import ObjectBuilder, read_object
from ipad_jax.data_builders.toys import write
from ipad_jax.data_builders.toys.animals import ANIMALS
from ipad_jax.data_builders.toys.switches import SWITCHES

HARDER = ("duck", "cat")  # animals whose test views come with switches too: tuned on, reported


@dataclasses.dataclass(eq=False)
class ToysConfig(ImageConfig):
    """Which animal, drawn from which seed, how large, how many views; what is not the default is in the name.

    scene: an animal, or with a switch such as `cat_roll`: its training views are those of `cat`.
    on_render: called with (images rendered, images in all).
    """

    seed: int = 0
    size: int = write.SIZE
    counts: tuple[int, int, int] = write.COUNTS
    on_render: write.Progress | None = None

    def __post_init__(self) -> None:
        self.scene = self.scene or self.name
        size = f"_{self.size}px" if self.size != write.SIZE else ""
        seed = f"_seed{self.seed}" if self.seed else ""
        counts = "_n{}-{}-{}".format(*self.counts) if self.counts != write.COUNTS else ""
        self.name = self.name or f"{self.scene}{size}{seed}{counts}"
        self.animal, _, self.switch = self.scene.partition("_")
        # the same dataset but for its test views
        self.trained_as = f"{self.animal}{self.name.removeprefix(self.scene)}"


class Builder(ObjectBuilder):
    """Renders one animal and stores it."""

    BUILDER_CONFIGS: ClassVar = [
        ToysConfig(scene=scene)
        for animal in ANIMALS
        for scene in (animal, *(f"{animal}_{s}" for s in SWITCHES if animal in HARDER))
    ]

    def download_and_prepare(self, **options: Any) -> None:
        """As TFDS's own; the rendered files live as long as this call."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="toys_"))
            self._folder = Path(folder)
            super().download_and_prepare(**options)

    def read_images(self, manual_dir: Any) -> tuple[ImageSet, dict[str, Any]]:
        config = self.builder_config
        folder = self._folder / config.animal
        write.write_toy(
            folder,
            config.animal,
            config.seed,
            config.counts,
            config.size,
            config.on_render,
            config.switch,
        )
        images, metadata = read_object(folder, config.size)
        return images, metadata | {"trained_as": config.trained_as}
