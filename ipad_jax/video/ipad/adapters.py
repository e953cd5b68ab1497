"""Which weights train when a pretrained model is adapted to a new machine (IPAD paper, sec. 4.4, Table 3).

"We initially freeze most pretraining parameters of the encoder, retaining only the Embedding and LayerNorm
components", with low-rank adapters on q and v. That alone and the decoder would be 8.62M; the 10.3M that
Table 3 prints are met where the patch merging (1.55M) and the relative position bias (0.07M) train too, and
the rank is 16: 10.25M. So what is frozen are the large matrices of the blocks: qkv, the projection after the
attention, and the MLP. Memory and period head train as well; the paper counts them in neither of its
figures (its 35.9M for the whole model are encoder and decoder).
"""

from typing import Any

import jax
import numpy as np
from flax import nnx

from ipad_jax.nn.attention import WindowAttention
from ipad_jax.run.table import Table, screen_width

PAPER_TRAINABLE = 10.3e6  # Table 3: rank 16 gives 10.25M


def add_adapters(model: nnx.Module, rank: int, key: jax.Array) -> None:
    """Puts adapters on q and v of every attention of a model.

    Args:
      model: changed in place; its outputs stay what they are until the adapters are trained.
      rank: of the adapters, at least 1.
      key: of the adapters alone, so that the other weights are those of the model without them.

    Raises:
      ValueError: a rank below 1.
    """
    rngs = nnx.Rngs(key)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, WindowAttention):
            module.add_adapter(rank, rngs=rngs)


def is_adapted(path: tuple[Any, ...]) -> bool:
    """Whether a parameter is one of the encoder's large matrices, which adapters leave as they are."""
    if path[0] != "encoder" or "adapter" in path:
        return False
    return "mlp" in path or ("attn" in path and ("qkv" in path or "proj" in path))


def describe_trainable(model: nnx.Module, trainable: Any) -> str:
    """Table of what trains and what stays as it is, as `ipad-jax train --describe` prints it.

    Args:
      model: real, or abstract from nnx.eval_shape; with an encoder and a decoder.
      trainable: the task's filter.
    """
    counts: dict[str, list[int]] = {}
    for filtered, column in ((trainable, 0), (nnx.All(nnx.Param, nnx.Not(trainable)), 1)):
        for path, leaf in nnx.to_flat_state(nnx.state(model, filtered)):
            row = counts.setdefault(_group(path), [0, 0])
            row[column] += int(np.prod(leaf.shape))
    paper = [name for name in counts if name.split(" ")[0] in ("encoder:", "decoder")]
    both = [sum(counts[name][column] for name in paper) for column in (0, 1)]
    note = "paper, Table 3: 10.3M" if round(both[0] / PAPER_TRAINABLE, 1) == 1.0 else ""
    total = [sum(row[column] for row in counts.values()) for column in (0, 1)]
    rows = [*sorted(counts.items()), ("encoder + decoder", both), ("total", total)]
    cells = []
    for name, (trained, frozen) in rows:
        beside = note if name == "encoder + decoder" else ""
        cells.append((name, f"{trained:,}", f"{trained / 1e6:.2f}M", f"{frozen:,}", beside))
    heads = ("what trains", "trained", "", "frozen", "")
    return Table("", heads, tuple(cells), left=(0, 4)).text(screen_width())


def _group(path: tuple[Any, ...]) -> str:
    """The row of the table that a parameter belongs to."""
    part = str(path[0])
    if part != "encoder":
        return part.replace("_", " ")
    if "adapter" in path:
        return "encoder: low-rank adapters of q, v"
    if is_adapted(path):
        return "encoder: qkv, projections, MLPs"
    if "relative_position_bias_table" in path:
        return "encoder: relative position bias"
    if any(str(name).startswith("norm") for name in path):
        return "encoder: norms"
    return "encoder: patch merging" if "reduction" in path else "encoder: patch embedding"
