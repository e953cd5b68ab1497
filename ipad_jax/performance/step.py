"""Forward pass and training step against the same model in PyTorch, in one process and in turn."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.performance.timing import Timing, alternate, number
from ipad_jax.performance.torch_twin import TorchTwin, import_torch, train_steps
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.config import load_config
from ipad_jax.run.table import Table
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import batch_sharding, make_mesh, to_global
from ipad_jax.training.state import inference_view
from ipad_jax.training.task import make_task
from ipad_jax.video.clip_task import ClipTask
from ipad_jax.video.ipad.task import VideoTask, normalise


def compare_model(
    *,
    config: str,
    size: int,
    batches: Sequence[int],
    dtypes: Sequence[str],
    torch_compile: bool,
    repeats: int,
) -> Table:
    """Times our model and PyTorch's for every batch and dtype; without PyTorch ours alone.

    Args:
      config: name of a config of IPAD's model; its encoder and decoder are compared.
      size: of the frames, pixels.
      batches: clips.
      dtypes: "float32", "bfloat16".
      torch_compile: also beside PyTorch's as `torch.compile` makes it.
      repeats: counted rounds.

    Raises:
      ValueError: `torch_compile` without PyTorch.
    """
    with_torch = importlib.util.find_spec("torch") is not None
    if torch_compile and not with_torch:
        raise ValueError(
            "--torch-compile needs PyTorch, which is not installed: uv pip install -e '.[bench]'."
        )
    theirs = ["PyTorch", *(["torch.compile"] if torch_compile else [])]
    rows, notes = [], []
    for batch in batches:
        for dtype in dtypes:
            task = make_video_task(config, size, batch, dtype)
            model = inference_view(task.init_model(jax.random.key(0)))
            clip = random_clips(task, batch)
            calls = our_calls(task, model, clip)
            if with_torch:
                twin = TorchTwin(model, torch_device())  # type: ignore[arg-type]
                calls |= torch_calls(twin, clip, dtype)
                if torch_compile:
                    calls |= torch_calls(twin, clip, dtype, "torch.compile")
                notes.append(
                    f"batch {batch}, {dtype}: outputs differ by at most "
                    f"{_difference(model, twin, clip):.1g} of a range of 2"
                )
            timings = alternate(calls, repeats)
            for work in ("forward", "train step"):
                for name in theirs:
                    label = work if name == "PyTorch" else f"{work}, {name}"
                    rows.append((label, str(batch), dtype, *_compare(timings, work, name)))
    shape = f"{task.model_config.clip_len}x{size}x{size}"
    notes.append("PyTorch in bfloat16 is autocast; s: median wall, CPU-s: of all threads")
    if not with_torch:
        notes.append("PyTorch is not installed (extra `bench`): ours alone")
    return Table(
        f"Model ({config}, {shape}, {describe_machine()})",
        ("work", "batch", "dtype", "ours s", "PyTorch s", "ratio", "ours CPU-s", "PyTorch CPU-s"),
        tuple(rows),
        tuple(notes),
    )


def make_video_task(config: str, size: int, batch: int, dtype: str) -> VideoTask:
    """The task of encoder and decoder alone: what PyTorch's twin has."""
    leaves = {
        "data.size": size,
        "batch_size": batch,
        "model.dtype": dtype,
        "model.use_memory": False,
        "model.period_head": "none",
        "model.encoder.drop_path": 0.0,  # no chance: the twin draws other numbers
    }
    task = make_task(load_config(config, leaves))
    if not isinstance(task, VideoTask):
        raise ValueError(
            f"config={config!r} is no video model, which the twin is of; take one such as video_folder."
        )
    return task


def drawn_model(task: ClipTask) -> nnx.Module:
    """The inference view with small random weights: its own start would be compiled for seconds."""
    rng = np.random.default_rng(0)
    model = nnx.eval_shape(lambda: task.init_model(jax.random.key(0)))
    graphdef, shapes = nnx.split(inference_view(model))
    # positive: variances are among them
    arrays = jax.tree.map(
        lambda x: jnp.asarray((0.02 * rng.random(x.shape)).astype(x.dtype)), shapes
    )
    return nnx.merge(graphdef, arrays)


def random_clips(task: VideoTask, batch: int) -> np.ndarray:
    """Noise, uint8 [b, t, h, w, 3]."""
    shape = (batch, task.model_config.clip_len, *task.model_config.image_size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def our_calls(task: VideoTask, model: Any, clip: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Forward and training step, compiled as the commands do."""
    graphdef, state = nnx.split(model)
    forward = jax.jit(
        lambda state, clip: nnx.merge(graphdef, state)(normalise(clip)).reconstruction
    )
    steps = our_steps(task, clip)
    return {
        "ours forward": lambda: jax.block_until_ready(forward(state, clip)),
        "ours train step": lambda: next(steps),
    }


def our_steps(task: VideoTask, clip: np.ndarray) -> Iterator[float]:
    """Endless steps of the trainer on one batch, on one device; yields each step's loss."""
    step, state, *rest = compiled_step(task, clip)
    while True:
        state, metrics = step(state, *rest)
        yield float(metrics["loss"])


def compiled_step(task: VideoTask, clip: np.ndarray) -> tuple[Any, Any, Any, Any]:
    """The trainer's step on one device, compiled: the step, and its state, batch and key."""
    setup = TrainSetup.make(task.config, task, make_mesh(1, 1), 1000)
    key, init_key = setup.make_keys(0)
    count = len(clip)
    batch = to_global(
        {
            "clip": clip,
            "video": np.zeros(count, np.int32),
            "first_frame": np.zeros(count, np.int32),
            "phase": np.zeros(count, np.float32),
        },
        batch_sharding(setup.mesh),
    )
    return setup.compile_step(batch), setup.create_state(init_key), batch, key


def torch_calls(
    twin: TorchTwin, clip: np.ndarray, dtype: str, name: str = "PyTorch"
) -> dict[str, Callable[[], Any]]:
    """The same two of the twin, as it is or, named "torch.compile", compiled."""
    torch = import_torch()
    torch.set_num_threads(num_cores())
    tensor = torch.from_numpy(clip).to(twin.device)
    compiled = torch.compile if name == "torch.compile" else lambda function: function
    call = compiled(twin.__call__)
    steps = train_steps(twin, tensor, dtype, loss_fn=compiled(twin.loss))

    def forward() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(twin.device, torch.bfloat16, enabled=dtype == "bfloat16"),
        ):
            call(tensor, train=False)
        if twin.device != "cpu":
            torch.cuda.synchronize()

    return {f"{name} forward": forward, f"{name} train step": lambda: next(steps)}


def torch_device() -> str:
    """Where PyTorch computes: on the GPU if JAX does and PyTorch can, else on the CPU."""
    on_gpu = jax.default_backend() == "gpu" and import_torch().cuda.is_available()
    return "cuda" if on_gpu else "cpu"


def describe_machine() -> str:
    """How many threads of what."""
    device = jax.devices()[0]
    return f"{num_cores()} threads, {device.platform}" + (
        f" ({device.device_kind})" if device.platform != "cpu" else ""
    )


def _difference(model: Any, twin: TorchTwin, clip: np.ndarray) -> float:
    """Largest difference of the two outputs, both in inference mode."""
    torch = import_torch()
    with torch.inference_mode():
        out = twin(torch.from_numpy(clip).to(twin.device), train=False)
        theirs = out.permute(0, 2, 3, 4, 1).cpu().numpy()
    ours = nnx.jit(lambda m, c: m(normalise(c)).reconstruction)(model, clip)
    return float(np.abs(np.asarray(ours) - theirs).max())


def _compare(timings: dict[str, Timing], work: str, name: str) -> tuple[str, ...]:
    """ours, theirs of a name, ratio, CPU seconds of both."""
    ours, theirs = timings[f"ours {work}"], timings.get(f"{name} {work}")
    if theirs is None:
        return number(ours.seconds), "-", "-", number(ours.cpu_seconds), "-"
    return (
        number(ours.seconds),
        number(theirs.seconds),
        f"{ours.seconds / theirs.seconds:.2f}",
        number(ours.cpu_seconds),
        number(theirs.cpu_seconds),
    )
