"""Starting from weights somebody else trained: `init_from`, a weights file or another run folder."""

from pathlib import Path
from typing import Any, NamedTuple

from ipad_jax.nn.lora import ADAPTER
from ipad_jax.nn.weight_files import SUFFIXES
from ipad_jax.training.checkpoints import check_same, load_model_arrays
from ipad_jax.training.task import Task


class Pretrained(NamedTuple):
    """What a run starts from.

    Attributes:
      arrays: by their name in the model.
      note: a sentence that says what was loaded.
      folder: the run folder it is from; "" for a weights file.
      step: of that run's checkpoint.
    """

    arrays: dict[str, Any]
    note: str
    folder: str = ""
    step: int = 0


def load_pretrained(init_from: str, task: Task, model: dict[str, Any]) -> Pretrained:
    """Arrays to start from, by their name in the model.

    Adapters (nn/lora.py) that the model has and the run does not are left out: they start as they are.

    Args:
      init_from: a weights file of a published encoder (.npz, .safetensors, .pth), a run folder (the whole
        model; local or gs://), or `RUN_FOLDER:encoder` (only arrays whose name starts with `encoder.`).
      task: reads a weights file.
      model: the model's arrays or shapes by name.

    Raises:
      FileNotFoundError: there is nothing at that path.
      ValueError: names or shapes do not fit, all of them are named; a file of another kind; a run with
        adapters for a model without.
    """
    path, folder, step = Path(init_from), "", 0
    if path.suffix.lower() in SUFFIXES or path.is_file():  # `read_weights` names those it can read
        arrays = task.read_weights(init_from)
        part, source = "encoder", init_from
    else:
        folder, colon, part = init_from.rpartition(":")
        if not colon or "/" in part:  # no part: the colon, if any, is that of gs://
            folder, colon, part = init_from, "", ""
        if colon and not part:
            raise ValueError(
                f"init_from={init_from!r}: name a part after the colon, such as `encoder`."
            )
        arrays, step = load_model_arrays(folder)
        source = f"{folder}, step {step}"
    if part:
        arrays = {n: x for n, x in arrays.items() if n.startswith(part + ".")}
        model = {n: x for n, x in model.items() if n.startswith(part + ".")}
        if not model:
            raise ValueError(f"init_from={init_from!r}: the model has no part {part!r}.")
    adapted = any(ADAPTER in name for name in arrays)
    if adapted and not any(ADAPTER in name for name in model):
        raise ValueError(
            f"init_from={init_from} is a run with adapters, the model has none: make an ordinary run of it, "
            f"`ipad-jax merge --workdir {folder} --out FOLDER`, and start from that."
        )
    if not adapted:
        model = {name: x for name, x in model.items() if ADAPTER not in name}
    check_same(model, arrays, f"init_from={init_from}")
    size = sum(x.size for x in arrays.values()) / 1e6
    note = f"loaded {part or 'the whole model'} from {source}: {len(arrays)} arrays, {size:.2f} M values"
    return Pretrained(arrays, note, folder, step)
