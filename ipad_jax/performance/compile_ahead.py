"""The real train and predict steps, compiled for devices that need not exist, and what they need there."""

import contextlib
import dataclasses
import functools
import importlib.util
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ipad_jax.performance.compile_report import SliceReport, StepReport
from ipad_jax.performance.hlo import collectives, hbm_bytes
from ipad_jax.performance.products import predict_products, train_products
from ipad_jax.performance.roofline import CHIPS, GIB, Chip, Product, largest_batch
from ipad_jax.pose.pictures import CHUNK, LARGE_CHUNK, compile_chunk
from ipad_jax.pose.task import OmniposeTask
from ipad_jax.run.config import leaves
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import make_mesh
from ipad_jax.training.state import inference_view
from ipad_jax.training.task import Task, make_task
from ipad_jax.video.clip_task import ClipTask
from ipad_jax.video.detector.predictor import Predictor

# Names that libtpu knows and Google rents out; others of the same form work too.
TOPOLOGIES = (
    *("v5e:1x1", "v5e:2x2", "v5e:2x4", "v5e:4x4", "v5e:4x8", "v5e:8x8", "v5e:8x16", "v5e:16x16"),
    *("v5p:2x2x1", "v5p:2x2x2", "v5p:2x2x4", "v5p:2x4x4", "v5p:4x4x4"),
    *("v6e:1x1", "v6e:2x2", "v6e:2x4", "v6e:4x4", "v6e:4x8", "v6e:8x8", "v6e:8x16", "v6e:16x16"),
)

# "... total memory required for HLO temporaries (18.20G) exceeds available HBM (15.75G)", and an older
# "Used 18.20G of 15.75G hbm"
_REFUSALS = tuple(
    re.compile(pattern.replace("NUMBER", r"([\d.]+)([KMGT]?)"))
    for pattern in (
        r"required for [^(]*\(NUMBER\) exceeds available HBM \(NUMBER\)",
        r"Used NUMBER of NUMBER hbm",
    )
)


class DoesNotFitError(Exception):
    """The compiler found that a program needs more memory than a chip has; bytes of both."""

    def __init__(self, used: float, limit: float):
        super().__init__(f"needs {used:.3g} bytes of {limit:.3g}")
        self.used, self.limit = used, limit


def tpu_devices(topology: str) -> list[Any]:
    """The devices of a TPU slice that need not exist, for compiling only.

    Args:
      topology: such as "v5e:4x4"; see TOPOLOGIES.

    Raises:
      ValueError: a slice that libtpu does not know, a chip whose peaks are not in `roofline.CHIPS`, or
        no libtpu.
    """
    chip, _, shape = topology.partition(":")
    if chip not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        raise ValueError(_unknown(topology))
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "compiling for a TPU needs libtpu, which is not installed: "
            "uv pip install -e '.[compile]' (or --devices N for this CPU)."
        )
    from jax.experimental import topologies

    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",  # no metadata server is asked: this is no TPU machine
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": f"{chip}-1",  # silences a search; the topology's name decides
        "TPU_MIN_LOG_LEVEL": "3",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is taken, so others may have it
    }.items():
        os.environ.setdefault(name, value)
    try:
        return list(topologies.get_topology_desc(topology, platform="tpu").devices)
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{_unknown(topology)} libtpu says: {error}") from error


def _unknown(topology: str) -> str:
    """What is said of a slice that cannot be had."""
    return (
        f"topology={topology!r}: no such slice is known. Known are {', '.join(TOPOLOGIES)}; other "
        f"shapes of {', '.join(CHIPS)} work if whole hosts fill them."
    )


def cpu_devices(count: int) -> list[Any]:
    """So many devices of this CPU; made virtual ones if JAX has not yet looked.

    Raises:
      ValueError: there are fewer, and it is too late to ask for more.
    """
    if count < 1:
        raise ValueError(f"devices={count} must be at least 1.")
    with contextlib.suppress(RuntimeError):  # this process uses JAX already, as a test does
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise ValueError(f"devices={count}: this process has {len(devices)} CPU devices already.")
    return devices[:count]


def compile_train(config: ConfigDict, task: Task, mesh: Mesh, batch_size: int) -> Any:
    """The training loop's step for a mesh that need not exist.

    Args:
      config: of the run.
      task: its task.
      mesh: of real or compile-only devices.
      batch_size: examples of a global batch.

    Returns:
      jax.stages.Compiled.

    Raises:
      DoesNotFitError: the compiler refused it for its size.
    """
    length = config.total_steps or config.optim.warmup_steps + 2  # changes no shape
    setup = TrainSetup.make(config, task, mesh, length)
    return _compile(lambda: setup.compile_step(task.batch_shapes(batch_size)))


def compile_predict(task: ClipTask, devices: Sequence[Any], batch_size: int) -> Any:
    """`Predictor.scores` for the devices of one host, over which it spreads a batch.

    Raises:
      DoesNotFitError: the compiler refused it for its size.
    """
    model = inference_view(nnx.eval_shape(lambda: task.init_model(jax.random.key(0))))
    predictor = Predictor(task, model, devices=devices)
    clip = task.batch_shapes(batch_size)["clip"]
    return _compile(lambda: predictor.compile_scores(clip))


def compile_render(task: OmniposeTask, device: Any, rays: int) -> Any:
    """The rays of a query's rendering that one device follows at once.

    Raises:
      DoesNotFitError: the compiler refused it for its size.
    """
    field = inference_view(nnx.eval_shape(lambda: task.init_model(jax.random.key(0))))
    return _compile(lambda: compile_chunk(field, device, rays, task.rendered))


def _compile(make: Callable[[], Any]) -> Any:
    """Runs a compilation; the compiler's own refusal becomes a DoesNotFitError."""
    try:
        return make()
    except jax.errors.JaxRuntimeError as error:
        for refusal in _REFUSALS:
            if found := refusal.search(str(error)):
                used, used_unit, limit, limit_unit = found.groups()
                raise DoesNotFitError(_bytes(used, used_unit), _bytes(limit, limit_unit)) from error
        raise ValueError(f"the compiler failed: {error}") from error


def _bytes(number: str, unit: str) -> float:
    """`15.75`, `G` as bytes: the compiler counts in powers of 1024."""
    return float(number) * 1024 ** " KMGT".index(unit or " ")


def report_step(
    name: str,
    products: Sequence[Product],
    compile_fn: Callable[[], Any],
    *,
    batch_size: int,
    devices: int,
    unit: str = "clips",
) -> StepReport:
    """Compiles one step and reads off what it needs.

    Args:
      name: of the step.
      products: of one example.
      compile_fn: gives the jax.stages.Compiled.
      batch_size: examples of a step, over all its devices.
      devices: of it.
      unit: what an example is, in the plural.
    """
    clips = batch_size / devices
    report = StepReport(
        name=name,
        unit=unit,
        devices=devices,
        clips=clips,
        flops_needed=sum(product.flops for product in products) * clips,
        flops_tiled={
            tile: sum(product.tiled_flops(tile) for product in products) * clips
            for tile in (128, 256)
        },
    )
    start = time.perf_counter()
    try:
        compiled = compile_fn()
    except DoesNotFitError as error:
        seconds = time.perf_counter() - start
        return dataclasses.replace(
            report, compile_s=seconds, refused_bytes=error.used, limit_bytes=error.limit
        )
    seconds = time.perf_counter() - start
    memory, cost, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    return dataclasses.replace(
        report,
        compile_s=seconds,
        memory={
            "arguments": memory.argument_size_in_bytes,
            "outputs": memory.output_size_in_bytes,
            "aliased": -memory.alias_size_in_bytes,  # outputs that take the place of arguments
            "temporaries": memory.temp_size_in_bytes,
            "program": memory.generated_code_size_in_bytes,
        },
        flops_compiled=cost["flops"],
        bytes_accessed=cost["bytes accessed"],
        bytes_moved=hbm_bytes(text),
        collectives=tuple(collectives(text)),
    )


def report_slice(
    config: ConfigDict,
    devices: Sequence[Any],
    name: str,
    *,
    only: str = "",
    largest: bool = False,
) -> SliceReport:
    """Compiles the train and the predict step for some devices and says what they need.

    Of objects the rays are compiled that a query's rendering follows at once; of image methods the training
    step alone.

    Args:
      config: of the run; its batch size, mesh and dtype count.
      devices: of `tpu_devices` or `cpu_devices`.
      name: of the slice, for the report.
      only: "train" or "predict"; "" both.
      largest: also look for the largest batch to train on.

    Raises:
      ValueError: a config that cannot be, a method without the step that is asked for, or a batch that the
        devices cannot share.
    """
    task = make_task(config)
    if not hasattr(task, "loss_fn"):
        raise ValueError(f"config.task={config.task!r} has no steps to compile: it is fitted once.")
    predicts = isinstance(task, (ClipTask, OmniposeTask))
    if only == "predict" and not predicts:
        raise ValueError(
            f"config.task={config.task!r}: of this method the training step alone is compiled; take "
            "--only train."
        )
    mesh = make_mesh(config.fsdp, config.num_devices, devices)
    count = mesh.size
    if config.batch_size < 1 or config.batch_size % count:
        raise ValueError(
            f"config.batch_size={config.batch_size} cannot be shared by the {count} devices of {name}: "
            f"take a multiple, such as --config.batch_size={8 * count} (8 {task.unit} each)."
        )

    @functools.cache  # the same for every batch size
    def products_of(step: str) -> list[Product]:
        with jax.set_mesh(mesh):  # convolutions are computed as on its devices
            return train_products(task) if step == "train" else predict_products(task)

    def train(batch_size: int) -> StepReport:
        def compile_fn() -> Any:
            return compile_train(config, task, mesh, batch_size)

        return report_step(
            "train",
            products_of("train"),
            compile_fn,
            batch_size=batch_size,
            devices=count,
            unit=task.unit,
        )

    def predict() -> StepReport | None:
        if isinstance(task, OmniposeTask):
            rays = CHUNK if devices[0].platform == "cpu" else LARGE_CHUNK  # as Renderer does
            return report_step(
                "render",
                products_of("predict"),
                functools.partial(compile_render, task, devices[0], rays),
                batch_size=rays,
                devices=1,
                unit=task.unit,
            )
        if not isinstance(task, ClipTask):
            return None
        host = [d for d in devices if d.process_index == devices[0].process_index]
        host = host[: 1 if host[0].platform == "cpu" else None]  # as Predictor does
        clips = config.eval.batch_size
        return report_step(
            "predict",
            products_of("predict"),
            functools.partial(compile_predict, task, host, clips),
            batch_size=clips,
            devices=math.gcd(clips, len(host)),
        )

    steps = []
    if only != "predict":
        steps.append(train(config.batch_size))
    if only != "train" and (predicted := predict()):
        steps.append(predicted)
    chip = CHIPS.get(name.partition(":")[0])
    report = SliceReport(
        name=name,
        chip=chip,
        devices=count,
        mesh=dict(mesh.shape),
        batch_size=config.batch_size,
        settings=_settings(config),
        steps=tuple(steps),
        note="" if predicts else "Training alone: how this method judges is not compiled here.",
    )
    if largest and chip and only != "predict":
        report = dataclasses.replace(report, **_largest(steps[0], chip, count, train))
    return report


def _largest(
    first: StepReport, chip: Chip, devices: int, train: Callable[[int], StepReport]
) -> dict[str, Any]:
    """The largest batch, by the line through the first size that fits and half of it."""
    clips = int(first.clips)
    while not first.fits and clips > 1:
        clips //= 2
        first = train(clips * devices)
    if not first.fits:
        return {"largest_batch": 0}
    other = clips // 2 or 2
    second = train(other * devices)
    if not second.fits:  # then one clip a device is all there is room for
        return {"largest_batch": devices, "largest_from": ((clips, first.used_bytes),)}
    used = (first.used_bytes, second.used_bytes)
    return {
        "largest_batch": devices * largest_batch((clips, other), used, chip.hbm_gib * GIB),
        "largest_from": ((clips, used[0]), (other, used[1])),
    }


def _settings(config: ConfigDict) -> dict[str, Any]:
    """The leaves that decide about memory and time."""
    names = (
        "model.dtype",
        "model.remat",
        "model.encoder.window_size",
        "data.size",
        "data.clip_len",
        "model.samples",
    )
    found = leaves(config)
    return {name.split(".")[-1]: found[name] for name in names if name in found}
