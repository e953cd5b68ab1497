"""A person's own object: photos from all around with their camera poses, and test photos without."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from ipad_jax.data_builders.images import ImageConfig, ImageSet
from ipad_jax.data_builders.objects import TREE, ObjectBuilder, read_object

SIZE = 400  # pixels of the longer side, at most


@dataclasses.dataclass(eq=False)
class ObjectFolderConfig(ImageConfig):
    """Where the photos are: `source`, TFDS's manual_dir where empty; `size` that they are stored at."""

    source: str = ""
    size: int = SIZE


class Builder(ObjectBuilder):
    """Builds one object from one folder."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the photos into a folder DIR. Expected:" + TREE
    BUILDER_CONFIGS: ClassVar = [ObjectFolderConfig(name="object")]

    def read_images(self, manual_dir: Any) -> tuple[ImageSet, dict[str, Any]]:
        config = self.builder_config
        return read_object(Path(config.source or manual_dir()).expanduser(), config.size)

    def request(self) -> dict[str, Any]:
        config = self.builder_config
        if not config.source:  # TFDS's manual_dir, which no one says here
            return {}
        sizes = [p.stat().st_size for p in Path(config.source).rglob("[!.]*") if p.is_file()]
        return {
            "source": config.source,
            "size": config.size,
            "files": len(sizes),
            "bytes": sum(sizes),
        }
