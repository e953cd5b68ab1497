"""Rendered parts with known defects: the embedded default for images, nothing to download."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from ipad_jax.data_builders.image_folder.layout import scan
from ipad_jax.data_builders.images import ImageBuilder, ImageConfig, ImageSet
from ipad_jax.data_builders.parts import render


@dataclasses.dataclass(eq=False)
class PartsConfig(ImageConfig):
    """Which set, drawn from which seed, how many images; what is not the default is in the name.

    on_render: called with (images rendered, images in all).
    """

    seed: int = 0
    counts: tuple[int, int, int] = render.COUNTS
    on_render: render.Progress | None = None

    def __post_init__(self) -> None:
        self.scene = self.scene or self.name
        seed = f"_seed{self.seed}" if self.seed else ""
        counts = "_n{}-{}-{}".format(*self.counts) if self.counts != render.COUNTS else ""
        self.name = self.name or f"{self.scene}{seed}{counts}"


class Builder(ImageBuilder):
    """Renders one set and stores it."""

    BUILDER_CONFIGS: ClassVar = [PartsConfig(scene=name) for name in render.SETS]

    def download_and_prepare(self, **options: Any) -> None:
        """As TFDS's own; the rendered files live as long as this call."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="parts_"))
            self._folder = Path(folder)
            super().download_and_prepare(**options)

    def read_images(self, manual_dir: Any) -> tuple[ImageSet, dict[str, Any]]:
        config = self.builder_config
        render.write_set(
            self._folder, config.scene, config.seed, config.counts, progress=config.on_render
        )
        layout, _ = scan(self._folder)
        images = ImageSet(self._folder, layout.train, layout.test, layout.kinds)
        return images, {"source": "parts", "notes": []}
