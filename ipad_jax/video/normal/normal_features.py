"""The prototypes a run compares with (video/prototypes.py), kept in the run folder.

The network's weights are not kept: they come from the package that holds them.
"""

import os

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.nn.efficientnet import SHAPES
from ipad_jax.nn.efficientnet_weights import load_efficientnet_lite0
from ipad_jax.video.normal.features import NETWORKS, Extractor, Prototypes
from ipad_jax.video.normal.stored import Arrays, fitted_frames, kept_arrays


def prototypes_of(workdir: str | os.PathLike[str], config: ConfigDict) -> Prototypes | None:
    """A run's prototypes, from normal_features_<...>.npz or, the first time, from its dataset.

    Args:
      workdir: run folder.
      config: of the run; `data` and the leaves of `eval` that begin with `features` count.

    Returns:
      None where `eval.features` is "".

    Raises:
      ModuleNotFoundError: the weights are not installed; says what to install.
      FileNotFoundError: neither the file nor the dataset is there.
      ValueError: a leaf is out of its range, or the file is damaged.
    """
    section = config.eval
    if not section.get("features"):
        return None
    if section.features not in NETWORKS:
        raise ValueError(
            f'eval.features={section.features!r}; take {" or ".join(NETWORKS)}, or "" for none.'
        )
    if section.features_frames < 1:
        raise ValueError(f"eval.features_frames={section.features_frames} must be at least 1.")
    blocks = parse_blocks(section.features_blocks)
    extractor = Extractor(load_efficientnet_lite0(blocks[-1] + 1), blocks, section.features_px)

    def make(source: FrameSource) -> Arrays:
        limit = section.features_frames
        places, phase = fitted_frames(config, source, limit, limit)
        pictures = (extractor.picture(source.frames(v, [f])[0]) for v, f in places)
        return {"features": np.stack([extractor.cells(p) for p in pictures]), "phase": phase}

    made_with = f"{section.features_px}px_{section.features_blocks}_{section.features_frames}"
    path = epath.Path(workdir) / f"normal_features_{made_with}.npz"
    lacking = "there are no features to compare with"
    found = kept_arrays(path, config, ("features", "phase"), make, lacking)
    assert found is not None  # a run was fitted on something
    return Prototypes(extractor, found["features"], found["phase"], section.features_share)


def parse_blocks(text: str) -> tuple[int, ...]:
    """'4+10' as numbers.

    Raises:
      ValueError: something else, or blocks that the network has not or out of order.
    """
    try:
        blocks = tuple(int(part) for part in text.split("+"))
    except ValueError:
        blocks = ()
    if (
        not blocks
        or list(blocks) != sorted(set(blocks))
        or not 0 <= blocks[0] <= blocks[-1] < len(SHAPES)
    ):
        raise ValueError(
            f"eval.features_blocks={text!r}: expected ascending numbers from 0 to {len(SHAPES) - 1} with + "
            "between them, such as 4+10."
        )
    return blocks
