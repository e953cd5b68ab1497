"""Several prepared scenes as one source: what a model for many machines is trained on.

Records of the scenes follow one another, so everything that reads a `FrameSource` reads this too. Each
video keeps its own phases, counted in its own machine's cycle: the classes of the period head mean "so
far through the cycle" whatever the machine. Every clip of every scene is equally likely, so a scene with
more footage weighs more (the paper is silent).
"""

import dataclasses
import os
from collections.abc import Mapping

from ipad_jax.input.frames import FrameSource, open_source
from ipad_jax.run.files import check_name


def scene_names(scene: str) -> list[str]:
    """The scenes of `data.name`: "S01", or several as "S01+S02".

    Raises:
      ValueError: a name that is empty, stands there twice or cannot name a folder.
    """
    names = scene.split("+")
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"data.name={scene!r}: name each scene once, such as S01+S02.")
    return [check_name(name, "data.name") for name in names]


def open_scenes(
    paths: Mapping[str, str | os.PathLike[str]], split: str, *, cache_mb: float = 0
) -> FrameSource:
    """Opens one split of several prepared datasets as one.

    Args:
      paths: scene -> folder as given by `dataset_dir`; videos come in this order, named SCENE/VIDEO.
      split: "train" or "test".
      cache_mb: keep all frames decoded if they need at most so many megabytes together.

    Raises:
      FileNotFoundError: one of them is not prepared; names it.
      OSError: a file is missing, cut short or changed; names it.
      ValueError: frames of different sizes or fault kinds.
    """
    sources = {scene: open_source(path, split) for scene, path in paths.items()}
    for what in ("image_size", "kinds"):
        found = {scene: getattr(source, what) for scene, source in sources.items()}
        if len(set(found.values())) > 1:
            raise ValueError(
                f"scenes that are read together must have the same {what}; got "
                + ", ".join(f"{scene}: {value}" for scene, value in found.items())
                + ". Prepare them alike."
            )
    videos, shards, first_record = [], [], 0
    for scene, source in sources.items():
        for video in source.videos:
            videos.append(
                dataclasses.replace(
                    video,
                    name=f"{scene}/{video.name}",
                    first_record=first_record + video.first_record,
                    scene=scene,
                )
            )
        first_record += source.num_frames
        shards += source.shards
    first = next(iter(sources.values()))
    metadata = {
        "kinds": first.kinds,
        "mislabelled": [
            f"{scene}/{name}" for scene, source in sources.items() for name in source.mislabelled
        ],
    }
    path = " + ".join(source.path for source in sources.values())
    combined = FrameSource(path, split, tuple(videos), first.image_size, metadata, shards)
    combined.fill_cache(cache_mb)
    return combined
