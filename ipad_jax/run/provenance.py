"""What a derived file was made with: dataset, checkpoint and the config's leaves that matter.

Every file that a run derives (arrays that were fitted, scores, a calibration) holds such a dict, and is used
only where the one in force is the same; one function compares, so a new leaf is named in one place.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipad_jax.run.config import leaves

MadeWith = dict[str, Any]


def made_with(config: ConfigDict, names: Sequence[str], step: int | None = None) -> MadeWith:
    """What a file depends on.

    Args:
      config: of the run, with the leaves in force.
      names: its leaves, or sections of it, that change the file.
      step: of the checkpoint, where the model's weights count.

    Returns:
      `dataset` (its fingerprint; "" where it is unknown), `checkpoint_step` and the leaves by dotted name, as
      JSON gives them back.
    """
    chosen = {
        leaf: value
        for leaf, value in leaves(config).items()
        if any(leaf == name or leaf.startswith(f"{name}.") for name in names)
    }
    found = {"dataset": config.data.get("fingerprint", ""), **chosen}
    if step is not None:
        found["checkpoint_step"] = step
    return json.loads(json.dumps(found))


def mismatch(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Where two differ: "eval.stride is 4, not 1; ..."; "" where they are the same."""
    names = sorted(made.keys() | wanted.keys())
    return "; ".join(
        f"{name} is {made.get(name)!r}, not {wanted.get(name)!r}"
        for name in names
        if made.get(name) != wanted.get(name)
    )
