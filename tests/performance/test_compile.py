"""`ipad-jax compile`: on virtual CPU devices for real, for TPU slices where libtpu is installed."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import jax
import pytest

from ipad_jax.commands.compile import DOES_NOT_FIT
from ipad_jax.main import main
from ipad_jax.performance import compile_ahead as command
from ipad_jax.performance.compile_ahead import (
    DoesNotFitError,
    cpu_devices,
    report_slice,
    report_step,
    tpu_devices,
)
from ipad_jax.performance.compile_report import format_report
from ipad_jax.performance.hlo import KINDS
from ipad_jax.performance.roofline import CHIPS, GIB, Product
from ipad_jax.pose.pictures import CHUNK
from ipad_jax.run.config import load_config
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import make_mesh
from ipad_jax.training.task import make_task

SMALL = str(Path(__file__).with_name("small.py"))
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu: the extra `compile`"
)


@pytest.fixture(scope="module", autouse=True)
def four_devices():
    """JAX has looked, so that no test makes another number of devices."""
    assert len(jax.devices()) == 4


@pytest.fixture(scope="module")
def report():
    """Train and predict of the tiny paper config, compiled for four virtual devices."""
    return report_slice(load_config(SMALL), cpu_devices(4), "cpu:4")


@pytest.mark.slow
def test_memory_is_told_by_kind(report):
    train, predict = report.steps
    kinds = ["arguments", "outputs", "aliased", "temporaries", "program"]
    assert list(train.memory) == list(predict.memory) == kinds
    # every device holds the weights and both slots of Adam, which the step gives back in their place
    config = load_config(SMALL)
    setup = TrainSetup.make(config, make_task(config), make_mesh(1, 1), 2)
    state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(setup.shapes))
    clip = 4 * 32 * 32 * 3
    assert train.memory["arguments"] == pytest.approx(state + clip, rel=0.01)
    assert -train.memory["aliased"] == pytest.approx(state, rel=0.01)
    assert train.used_bytes == sum(train.memory.values()) > state
    assert predict.memory["arguments"] < state / 2
    assert predict.memory["aliased"] == 0


def test_flops_are_near_the_models_own_count(report):
    for step in report.steps:
        # tiny layers: what no matrix unit does (norms, softmax, Adam) is as much again, nothing is more
        assert 1.0 < step.flops_compiled / step.flops_needed < 2.5


def test_gradients_are_reduced_and_activations_never_gathered(report):
    train, predict = report.steps
    assert {c.kind for c in train.collectives} == {"all-reduce"}
    gradients = train.memory["arguments"] / 3  # weights, and two slots of Adam, in float32
    assert train.payload("all-reduce")[1] == pytest.approx(gradients, rel=0.1)
    assert train.link_bytes == pytest.approx(2 * 3 / 4 * train.payload("all-reduce")[1])
    assert predict.collectives == ()


def test_the_table_has_a_column_a_step(report):
    table = format_report(report)
    lines = rows(table)
    assert lines["one device"] == ["train", "predict"]
    assert lines["clips"] == ["1", "8"]
    assert "Compiles; the CPU has no limit" in table
    assert "estimate" not in table  # a CPU has no peaks
    assert set(KINDS) <= {name.removesuffix(" (operations)") for name in lines}
    json.dumps(report.to_dict())


@pytest.mark.parametrize("name", ["omnipose:tiny", "omnipose:paper,tiny"])
def test_an_objects_training_and_rendering_compile(name, tmp_path):
    config = load_config(name, {"data.data_dir": str(tmp_path)})  # no data is needed
    report = report_slice(config, cpu_devices(4), "cpu:4")
    train, render = report.steps
    assert (train.devices, train.clips) == (4, config.batch_size / 4)
    assert (render.name, render.devices, render.clips) == ("render", 1, CHUNK)
    inputs = 4 * (8 * CHUNK + 3)  # bytes of the rays and the background
    weights = render.memory["arguments"] - inputs
    assert {c.kind for c in train.collectives} == {"all-reduce"}
    assert train.payload("all-reduce")[1] > 0.99 * weights  # each gradient, some of them in parts
    assert render.collectives == ()
    lines = rows(format_report(report))
    assert lines["rays"] == [f"{train.clips:g}", str(CHUNK)]
    assert "clips" not in lines


def test_of_images_the_training_step_is_compiled_and_this_is_said(monkeypatch):
    config = load_config("autoencoder:tiny")
    fake_steps(monkeypatch, lambda clips: GIB)
    report = report_slice(config, cpu_devices(4), "cpu:4")
    assert [step.name for step in report.steps] == ["train"]
    assert "how this method judges is not compiled" in format_report(report)
    with pytest.raises(ValueError, match="take --only train"):
        report_slice(config, cpu_devices(4), "cpu:4", only="predict")
    with pytest.raises(ValueError, match="has no steps to compile: it is fitted once"):
        report_slice(load_config("bank:tiny"), cpu_devices(4), "cpu:4")


def rows(table: str) -> dict[str, list[str]]:
    """Cells of a printed table by their row's name."""
    cells = [re.split(r" {2,}", line.strip()) for line in table.splitlines()]
    return {name: values for name, *values in cells}


def compiled_for(chip: str, step, **changes):
    """The report as if the step had been compiled for a slice of this chip."""
    return command.SliceReport(
        name=f"{chip}:2x2",
        chip=CHIPS[chip],
        devices=4,
        mesh={"data": 4, "fsdp": 1},
        batch_size=4,
        settings={},
        steps=(step,),
        **changes,
    )


def test_a_chip_adds_the_roofline_and_the_verdict(report):
    step = dataclasses.replace(report.steps[0], flops_compiled=197e12, bytes_moved=819e9 / 2)
    table = format_report(compiled_for("v5e", step))
    lines = rows(table)
    assert lines["compute"] == ["1000.0 ms"]
    assert lines["memory"] == ["500.0 ms"]
    assert lines["bound by"] == ["compute"]
    assert lines["most clips/s, all devices (estimate)"] == ["4"]
    assert "none was timed" in table
    assert table.endswith("Fits.")


def test_a_refused_step_does_not_fit(report):
    def refuse():
        raise DoesNotFitError(20 * GIB, 15.75 * GIB)

    step = report_step("train", [Product("model", 1, 2, 2, 2)], refuse, batch_size=8, devices=4)
    assert (step.fits, step.used_bytes, step.clips) == (False, 20 * GIB, 2)
    refused = compiled_for("v5e", step)
    assert not refused.fits
    assert "DOES NOT FIT: train" in format_report(refused)
    assert refused.to_dict()["fits"] is False


@pytest.mark.parametrize(
    "message",
    [
        # libtpu 0.0.52, asked for an array of 120 GiB; then an older one
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required "
        "for HLO temporaries (18.52G) exceeds available HBM (15.75G). HLO module: jit_train_step.",
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 18.52G of 15.75G hbm.",
    ],
)
def test_the_compilers_refusal_is_read(message):
    def refuse():
        raise jax.errors.JaxRuntimeError(message)

    with pytest.raises(DoesNotFitError) as caught:
        command._compile(refuse)
    assert caught.value.used == pytest.approx(18.52 * GIB)
    assert caught.value.limit == pytest.approx(15.75 * GIB)


def test_another_failure_of_the_compiler_is_told():
    def fail():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(ValueError, match="the compiler failed: INTERNAL: something else"):
        command._compile(fail)


def fake_steps(monkeypatch, bytes_of):
    """Steps that need what `bytes_of(clips a device)` says, and compile nothing."""
    asked = []

    def fake(name, products, compile_fn, *, batch_size, devices, **_):
        clips = batch_size // devices
        asked.append(clips)
        used, limit = bytes_of(clips), CHIPS["v5e"].hbm_gib * GIB
        memory = {"temporaries": used} if used <= limit else {}
        return command.StepReport(
            name=name,
            devices=devices,
            clips=clips,
            flops_needed=1.0,
            flops_tiled={128: 1.0, 256: 1.0},
            memory=memory,
            flops_compiled=1.0,
            bytes_moved=1.0,
            refused_bytes=0 if memory else used,
            limit_bytes=0 if memory else limit,
        )

    monkeypatch.setattr(command, "report_step", fake)
    monkeypatch.setattr(command, "train_products", lambda task: [])
    monkeypatch.setattr(command, "tpu_devices", lambda name: cpu_devices(4))
    return asked


@pytest.mark.parametrize(
    ("batch_size", "status", "compiled"),
    [(8, 0, [2, 1]), (4, 0, [1, 2]), (64, DOES_NOT_FIT, [16, 8, 4])],
)
def test_the_largest_batch_is_found_from_two_compilations(
    monkeypatch, tmp_path, capsys, batch_size, status, compiled
):
    asked = fake_steps(monkeypatch, lambda clips: (2 + clips) * GIB)
    argv = ["compile", "--config", SMALL, "--topology", "v5e:2x2", "--only", "train"]
    argv += [f"--config.batch_size={batch_size}", "--largest-batch"]
    argv += ["--json", str(tmp_path / "report.json")]
    assert main(argv) == status
    assert asked == compiled
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["largest_batch"] == 4 * 13  # 2 + 13.75 = 15.75 GiB
    assert found["fits"] is (status == 0)
    assert "Largest global batch: 52 (13 a device)" in capsys.readouterr().out


@pytest.mark.parametrize(("most", "largest"), [(0, 0), (1, 4)])
def test_where_hardly_anything_fits(monkeypatch, capsys, most, largest):
    fake_steps(monkeypatch, lambda clips: GIB if clips <= most else 20 * GIB)
    argv = ["compile", "--config", SMALL, "--topology", "v5e:2x2", "--only", "train"]
    assert main([*argv, "--largest-batch"]) == (0 if most else DOES_NOT_FIT)
    assert f"Largest global batch: {largest} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology", "v5e:3x3x3x3"], r"no such slice is known\. Known are v5e:1x1.*v6e:16x16"),
        (["--topology", "v5litepod-16"], "no such slice is known"),
        (["--topology", "h100:8"], "no such slice is known"),
        (["--devices", "400"], "this process has 4 CPU devices already"),
        (["--devices", "3"], r"config.batch_size=4 cannot be shared by the 3 devices.*=24"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(["compile", "--config", SMALL, *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ipad-jax compile: ")
    assert re.search(message, line)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--topology", "v5e:4x4", "--devices", "4"], ["--devices", "4", "--largest-batch"], ["x"]],
)
def test_usage_is_exit_status_2(arguments, capsys):
    assert main(["compile", "--config", SMALL, *arguments]) == 2
    assert "\nipad-jax compile: " in f"\n{capsys.readouterr().err}"


def test_missing_libtpu_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs libtpu.*uv pip install -e '\.\[compile\]'"):
        tpu_devices("v5e:4x4")


@needs_libtpu
@pytest.mark.slow
def test_a_tiny_step_compiles_for_a_slice_that_is_not_here():
    config = load_config("ipad:tiny", {"batch_size": 16, "model.dtype": "bfloat16"})
    report = report_slice(config, tpu_devices("v5e:4x4"), "v5e:4x4")
    train, predict = report.steps
    assert report.fits
    assert (report.devices, predict.devices) == (16, 4)
    assert {c.kind for c in train.collectives} == {"all-reduce"}
    assert {c.group for c in train.collectives} == {16}
    assert 0 < train.bytes_moved < train.bytes_accessed
    assert train.roofline(CHIPS["v5e"]).seconds > 0


@needs_libtpu
@pytest.mark.parametrize("name", ["v5e:3x3", "v5p:3x3x3"])
def test_libtpu_says_what_is_wrong_with_a_slice(name):
    with pytest.raises(ValueError, match=f"topology='{name}': no such slice is known.*libtpu says"):
        tpu_devices(name)
