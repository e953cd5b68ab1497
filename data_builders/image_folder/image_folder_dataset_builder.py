"""A person's own images, or a category of an archive in MVTec AD's layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from ipad_jax.data_builders.bit_depth import describe_bit_depth, find_bit_depth
from ipad_jax.data_builders.files import DataError
from ipad_jax.data_builders.image_folder.layout import TREE, category_folder, scan
from ipad_jax.data_builders.images import ImageBuilder, ImageConfig, ImageSet


@dataclasses.dataclass(eq=False)
class ImageFolderConfig(ImageConfig):
    """Where the images are: `source`, TFDS's manual_dir where empty; `category` of an archive of many."""

    source: str = ""
    category: str = ""


class Builder(ImageBuilder):
    """Builds one dataset from one folder of images."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put your images into a folder DIR. Expected:" + TREE
    BUILDER_CONFIGS: ClassVar = [ImageFolderConfig(name="images")]

    def read_images(self, manual_dir: Any) -> tuple[ImageSet, dict[str, Any]]:
        config = self.builder_config
        source = Path(config.source or manual_dir()).expanduser()
        folder = category_folder(source, config.category)
        layout, problems = scan(folder)
        if problems:
            raise DataError(problems)
        photos = (*layout.train, *layout.test)
        bit_depth = find_bit_depth([photo.path for photo in photos])
        notes = [describe_bit_depth(bit_depth)] if bit_depth else []
        if layout.unpaired:
            names = ", ".join(str(path.relative_to(folder)) for path in layout.unpaired[:5])
            notes.append(f"{len(layout.unpaired)} masks belong to no image, not used: {names}")
        images = ImageSet(folder, layout.train, layout.test, layout.kinds, bit_depth)
        return images, {"source": folder.name, "notes": notes}

    def request(self) -> dict[str, Any]:
        config = self.builder_config
        if not config.source:  # TFDS's manual_dir, which no one says here
            return {}
        folder = Path(config.source) / config.category
        sizes = [p.stat().st_size for p in folder.rglob("[!.]*") if p.is_file()]
        return {
            "source": config.source,
            "category": config.category,
            "files": len(sizes),
            "bytes": sum(sizes),
        }
