"""Starting from weights somebody else trained: `init_from`, a weights file or another run folder."""

from pathlib import Path
from typing import Any

from flax import nnx

from ipad_jax.checkpoints import check_same, load_model_arrays
from ipad_jax.convert import load_swin
from ipad_jax.convert.swin import SUFFIXES
from ipad_jax.task import Task
from ipad_jax.train_state import named_leaves


def load_pretrained(
    init_from: str, task: Task, model: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Arrays to start from, by their name in the model.

    Args:
      init_from: a weights file of a published encoder (.npz, .safetensors, .pth), a run folder (the whole
        model; local or gs://), or `RUN_FOLDER:encoder` (only arrays whose name starts with `encoder.`).
      task: knows the encoder's configuration.
      model: the model's arrays or shapes by name.

    Returns:
      (name -> array, a sentence that says what was loaded).

    Raises:
      FileNotFoundError: there is nothing at that path.
      ValueError: names or shapes do not fit, all of them are named; a file of another kind.
    """
    path = Path(init_from)
    if path.suffix in SUFFIXES or path.is_file():  # load_swin names the suffixes it can read
        encoder_config = getattr(task, "encoder_config", None)
        if encoder_config is None:
            raise ValueError(
                f"init_from={init_from}: this task has no encoder a weights file could fill."
            )
        encoder = load_swin(init_from, encoder_config)
        arrays = {f"encoder.{n}": x for n, x in named_leaves(nnx.state(encoder)).items()}
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
    check_same(model, arrays, f"init_from={init_from}")
    size = sum(x.size for x in arrays.values()) / 1e6
    return (
        arrays,
        f"loaded {part or 'the whole model'} from {source}: {len(arrays)} arrays, {size:.2f} M values",
    )
