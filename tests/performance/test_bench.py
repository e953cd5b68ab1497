"""`ipad-jax bench`: the twin is the model, each table has its shape, bad arguments are named. No times."""

import contextlib
import dataclasses
import gzip
import importlib
import importlib.util
import inspect
import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from ipad_jax.commands import bench
from ipad_jax.input.frames import Video
from ipad_jax.main import main
from ipad_jax.performance import detection, growth, profile, reconstruction, startup, timing
from ipad_jax.performance import input as input_bench
from ipad_jax.performance.step import make_video_task, our_steps, random_clips

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


@pytest.fixture(autouse=True)
def no_compile_cache(monkeypatch):
    """The cache is switched on for a whole process, tests that come later included."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


SMALL = str(Path(__file__).with_name("small.py"))


def rows(text: str) -> list[list[str]]:
    """The cells of a printed table, heads first."""
    title, empty, *lines = text.rstrip().splitlines()
    assert title
    assert not empty
    lines = lines[: lines.index("")] if "" in lines else lines
    lines = [line for line in lines if not line.startswith("next: ")]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def cell(text: str) -> float:
    return float(text.replace(",", ""))


def test_calls_alternate_and_the_first_round_is_not_counted():
    called = []
    clock = iter([9.0, 1.0, 3.0, 2.0])
    calls = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    timings = timing.alternate(calls, 3)
    assert called == ["a", "b"] * 4
    assert timings.keys() == calls.keys()
    # the median of three counted rounds, by a clock that the calls move
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing.time, "perf_counter", lambda: now[0])
        moved = timing.alternate({"a": lambda: now.__setitem__(0, now[0] + next(clock))}, 3)
    assert moved["a"].seconds == 2.0
    with pytest.raises(ValueError, match="repeats=0 must be at least 1"):
        timing.alternate(calls, 0)


def test_the_exponent_of_a_power_law():
    assert timing.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert timing.exponent([1, 4], [5, 5]) == pytest.approx(0)


@needs_torch
def test_the_twin_is_the_model():
    import jax
    import torch

    from ipad_jax.performance.torch_twin import TorchTwin, train_steps
    from ipad_jax.training.state import inference_view
    from ipad_jax.video.ipad.task import normalise

    # 40 pixels: 10 tokens a side pad a window of 4; two stages, shifted windows, one merging
    task = make_video_task("video_folder:tiny", 40, 2, "float32")
    model = task.init_model(jax.random.split(jax.random.key(0))[1])  # the trainer's own start
    clip = random_clips(task, 2)
    twin = TorchTwin(model)
    ours = inference_view(model)(normalise(clip)).reconstruction
    with torch.inference_mode():
        theirs = twin(torch.from_numpy(clip), train=False).permute(0, 2, 3, 4, 1).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)  # the bound of weight conversion
    our_losses = our_steps(task, clip)
    lr = task.config.optim.lr
    their_losses = train_steps(twin, torch.from_numpy(clip), "float32", lr)
    for _ in range(3):  # losses, not weights: biases before BatchNorm have no gradient but noise
        assert next(our_losses) == pytest.approx(next(their_losses), rel=1e-3)


@needs_torch
def test_the_twin_refuses_what_it_lacks():
    from flax import nnx

    from ipad_jax.performance.torch_twin import TorchTwin
    from ipad_jax.video.ipad.model import VideoModel, VideoModelConfig

    cfg = dataclasses.replace(VideoModelConfig.debug(), period_head="published")
    model = nnx.eval_shape(lambda: VideoModel(cfg, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="period_head='published'"):
        TorchTwin(model)


@pytest.mark.slow
def test_model_prints_both_works(capsys):
    argv = f"model --config {SMALL} --size 16 --batch 1 --dtype float32 --repeats 1"
    assert bench.main(argv.split()) == 0
    head, *found = rows(capsys.readouterr().out)
    assert [row[:3] for row in found] == [
        ["forward", "1", "float32"],
        ["train step", "1", "float32"],
    ]
    assert len(head) == 8
    assert all(cell(row[3]) > 0 for row in found)


def test_torch_compile_without_pytorch_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "model", "--config", SMALL, "--torch-compile"]) == 1
    assert "--torch-compile needs PyTorch, which is not installed" in capsys.readouterr().err


@needs_torch
def test_the_compiled_twin_is_timed_beside_ours_and_plain_pytorch(capsys, monkeypatch):
    import torch

    compiled = []

    def noted(function):  # inductor would compile for a minute
        compiled.append(function.__name__)
        return torch._dynamo.optimize("eager")(function)

    monkeypatch.setattr(torch, "compile", noted)
    argv = f"model --config {SMALL} --size 16 --batch 1 --dtype float32 --repeats 1 --torch-compile"
    assert bench.main(argv.split()) == 0
    _, *found = rows(capsys.readouterr().out)
    works = ["forward", "forward, torch.compile", "train step", "train step, torch.compile"]
    assert [row[0] for row in found] == works
    assert compiled == ["__call__", "loss"]
    for plain, other in (found[:2], found[2:]):
        assert plain[3] == other[3]  # ours is timed once
        assert all(cell(x) > 0 for x in (*plain[3:5], other[4]))  # seconds


def test_input_reads_the_same_pictures_both_ways(capsys):
    # as large as they are read: noise this small would not survive two ways to resize alike
    argv = "input --width 64 --height 64 --frames 6 --size 64 --clip-len 4 --clips 2 --repeats 1"
    assert bench.main(argv.split()) == 0
    _, prepared, full = rows(capsys.readouterr().out)
    assert prepared[0] == "prepared dataset"
    assert full[0].startswith("64x64 JPEGs of ")
    assert full[-1] == "1"
    assert cell(prepared[-1]) == pytest.approx(
        cell(prepared[1]) / cell(full[1]), rel=0.02
    )  # 3 figures


def test_by_place_what_is_usual_and_light_do_not_count_and_a_fault_does():
    rng = np.random.default_rng(0)
    edge = np.zeros((24, 24, 3), np.float32)
    edge[:, 12] = 0.5  # rebuilt badly in every frame

    def error():
        return edge + rng.normal(0, 0.02, edge.shape).astype(np.float32)

    usual = reconstruction.Usual()
    for _ in range(40):
        usual.add(error())
    normal, fault = error(), error()
    fault[2:6, 2:6] += 0.1  # far smaller than the edge
    assert usual.largest(fault) > 2 * usual.largest(normal)
    light = np.float32([0.3, 0.2, -0.1])
    assert usual.largest(normal + light) == pytest.approx(usual.largest(normal), rel=1e-4)
    assert usual.mean_square == pytest.approx(np.mean(edge**2) + 0.02**2, rel=0.02)


def test_other_pictures_are_told():
    black = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(RuntimeError, match=r"mean difference 2\.000"):
        input_bench.check_alike([black], [np.ones((4, 8, 8, 3), np.float32)])


@pytest.mark.slow
def test_growth_prints_an_exponent_an_axis(capsys):
    argv = "growth --config video_folder:tiny --clip-len 4 --size 32 --doublings 1 --repeats 1"
    assert bench.main([*argv.split(), "--only", "batch", "clip_len"]) == 0
    _, *found = rows(capsys.readouterr().out)
    assert [row[0] for row in found] == [
        "batch",
        "2 x 4 x 32 x 32",
        "clip_len",
        "1 x 8 x 32 x 32",
    ]
    for last in found[1::2]:
        assert float(last[-1]) <= 1.05, "memory is not to grow faster than the work"


def test_detection_times_each_way(capsys):
    argv = f"detection --config {SMALL} --frames 16 --stride 2 4 --batch 2 --repeats 1"
    assert bench.main(argv.split()) == 0
    _, *found = rows(capsys.readouterr().out)
    assert [row[:3] for row in found] == [
        ["one pass a frame", "1", "1"],
        ["clips overlap", "2", "2"],
        ["clips overlap", "4", "2"],
    ]
    assert cell(found[0][4]) == 1


def test_short_faults_are_those_under_the_length_and_found_above_the_threshold():
    # 10 frames a second: faults of 4 and of 20 frames in one video, of 3 in another
    label = np.zeros(80, np.int8)
    label[14:18] = label[20:40] = label[60:63] = 1
    score = np.where(label == 1, 2.0, 0.0)
    score[60:63] = 0.5
    scores = SimpleNamespace(
        video=np.repeat([0, 1], 40), frame=np.tile(np.arange(40), 2), label=label, fps=(10.0, 10.0)
    )
    found = SimpleNamespace(
        judged=SimpleNamespace(scores=scores, score=score),
        calibration=SimpleNamespace(threshold=1.0),
    )
    assert detection.short_faults(found, 0.5) == (1, 2)  # type: ignore[arg-type]
    assert detection.short_faults(found, 5.0) == (2, 3)  # type: ignore[arg-type]


def test_what_is_timed_has_as_many_frames_as_asked_for():
    source = SimpleNamespace(videos=tuple(Video(f"{n}", 0, n, 10.0, None) for n in (30, 5, 40)))
    found = detection.some_segments(source, 50)  # type: ignore[arg-type]
    assert [(s.video, s.start, s.stop) for s in found] == [(0, 0, 30), (1, 0, 5), (2, 0, 15)]


DETECTION = {"workdir": None, "config": "video_folder:tiny", "batch": 1, "repeats": 1}
INPUT = {"width": 8, "height": 8, "size": 8, "clips": 1, "repeats": 1}
GROWTH = {"config": "video_folder:tiny", "clip_len": 4, "size": 32, "repeats": 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            partial(detection.compare_strides, **DETECTION, strides=[5], frames=16, short_s=1.0),
            r"strides=\[5\] must be in 1..4",
        ),
        (
            partial(detection.compare_strides, **DETECTION, strides=[2], frames=3, short_s=1.0),
            "frames=3 must be at least 4",
        ),
        (
            partial(input_bench.compare_input, **INPUT, frames=8, clip_len=16),
            "frames=8 must be at least clip_len=16",
        ),
        (
            partial(growth.measure_growth, **GROWTH, doublings=0, axes=["batch"]),
            "doublings=0 must be at least 1",
        ),
        (
            partial(growth.measure_growth, **GROWTH, doublings=1, axes=["time"]),
            r"axes=\['time'\]: choose from clip_len, pixels, batch",
        ),
        (
            partial(
                profile.profile_step, config="conae:tiny", size=0, batch=1, dtype="float32", steps=1
            ),
            "no video model of ours",
        ),
        (
            partial(
                profile.profile_step, config="ipad:tiny", size=0, batch=1, dtype="float32", steps=0
            ),
            "steps=0 must be at least 1",
        ),
    ],
)
def test_arguments_that_cannot_be_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_usage(capsys):
    assert main(["bench"]) == 2
    assert main(["bench", "speed"]) == 2
    assert "invalid choice: 'speed'" in capsys.readouterr().err
    assert main(["bench", "startup", "--config", "nothing_such"]) == 1
    assert "nothing_such" in capsys.readouterr().err
    assert main(["bench", "growth", "--doublings", "0"]) == 2


@pytest.mark.parametrize(
    "what",
    [
        "model", "profile", "input", "prepare", "detection", "file --workdir RUN --video FILE",
        "evaluate --workdir RUN", "reconstruction --workdir RUN", "learning --workdir RUN",
        "startup", "page", "cycle",
        "pose --workdir RUN", "growth",
    ],
)  # fmt: skip
def test_options_are_the_arguments_of_a_benchmarks_function(what):
    options = vars(bench.make_parser().parse_args(what.split()))
    module, name = options["function"].split(":")
    function = getattr(importlib.import_module(f"ipad_jax.performance.{module}"), name)
    assert options.keys() - {"what", "function"} == inspect.signature(function).parameters.keys()


@pytest.mark.slow  # eight processes, most of which import and two compile
def test_startup_counts_a_cold_and_a_warm_start(capsys):
    argv = "startup --config video_folder:tiny --size 32 --warm 1"
    assert bench.main(argv.split()) == 0
    _, cold, warm, *others = rows(capsys.readouterr().out)
    assert cold[::2] == ["cold", "1.00"]
    assert warm[0] == "with the cache"
    assert [row[0] for row in others] == [*startup.FIRST_OUTPUT, *startup.ANSWERED_AT_ONCE]
    assert all(cell(row[2]) > 0 for row in others)  # CPU s


def test_the_first_output_of_a_command_is_no_error(monkeypatch):
    monkeypatch.setattr(startup, "COMMAND", (sys.executable, "-c"))
    startup.wait_for_output(["print('loading'); import time; time.sleep(60)"])
    with pytest.raises(ChildProcessError, match="showed: ipad-jax detect: no run"):
        startup.wait_for_output(["print('ipad-jax detect: no run')"])
    with pytest.raises(ChildProcessError, match="showed: nothing"):
        startup.wait_for_output(["pass"])


@pytest.mark.slow
def test_pages_are_timed_alone_and_in_a_crowd(capsys):
    pytest.importorskip("starlette", reason="the extra `web` is not installed")
    assert bench.main(["page", "--clients", "3", "--seconds", "2", "--runs", "2"]) == 0
    _, alone, crowd = rows(capsys.readouterr().out)
    assert (alone[0], crowd[0]) == ("1, without a rest", "3, 2 s between pages")
    for row in (alone, crowd):
        assert 0 < cell(row[2]) <= cell(row[3])
        assert row[-1] == "0"  # failed


def test_profile_places_each_operation():
    text = """ENTRY %main (p: f32[2,3]) -> f32[2,3] {
  %p = f32[2,3]{1,0} parameter(0)
  %a.1 = f32[2,3]{1,0} fusion(%p), kind=kLoop, metadata={op_name="jit(step)/jvp(encoder)/dot_general"}
  %b = (f32[2]{0}, f32[3]{0}) fusion(%a.1), metadata={op_name="jit(step)/transpose(jvp(decoder))/slice"}
  %w = f32[2,3]{1,0} while(%a.1), body=%c, metadata={op_name="jit(step)/memory/while"}
  %d.2 = f32[2,2]{1,0} dot(%p, %p), metadata={op_name="jit(step)/jvp()/weird"}
  ROOT %e = f32[2,3]{1,0} add(%p, %p), metadata={op_name="jit(step)/transpose(jvp(memory))/reduce_sum"}
}
"""
    found = profile.places(text)
    assert found["a_1"] == ("encoder", "products")
    assert found["b"] == ("decoder", "moving")
    assert found["d_2"] == (profile.REST, "products")
    assert found["e"] == ("memory", "reductions")
    assert "w" not in found  # its body counts itself


def test_profile_takes_a_kernel_of_a_graph_by_its_own_name(monkeypatch):
    @contextlib.contextmanager
    def trace(folder):  # three events as an H100 gave them
        yield
        event = {"ph": "X", "name": "loop_add_fusion_93", "dur": 1.5}
        in_graph = event | {"args": {"hlo_op": "command_buffer_1", "tf_op": "XlaModule:"}}
        by_itself = event | {"name": "k", "args": {"hlo_op": "gemm_fusion_dot.4"}}
        on_host = event | {"args": {}}
        path = Path(folder) / "plugins" / "gpu.trace.json.gz"
        path.parent.mkdir()
        text = json.dumps({"traceEvents": [in_graph, by_itself, in_graph, on_host]})
        path.write_bytes(gzip.compress(text.encode()))

    monkeypatch.setattr(jax.profiler, "trace", trace)
    found = profile.times_of(lambda: None)
    assert found == pytest.approx({"loop_add_fusion_93": 3e-6, "gemm_fusion_dot.4": 1.5e-6})
    assert profile.plain("loop_add_fusion.93") == "loop_add_fusion_93"


@pytest.mark.slow
def test_profile_shares_add_up_and_every_part_of_the_model_is_seen(capsys, monkeypatch):
    monkeypatch.setattr(profile, "PEAK_SIDE", 256)
    assert bench.main(["profile", "--config", SMALL, "--size", "16", "--steps", "2"]) == 0
    head, *found = rows(capsys.readouterr().out)
    parts = [row[0] for row in found]
    assert parts == ["encoder", "period head", "memory", "decoder", profile.REST, "all"]
    assert head[0] == "part"
    shares = [float(row[1].rstrip("%")) for row in found[:-1]]
    assert all(share > 0 for share in shares)
    assert sum(shares) == pytest.approx(100, abs=3)  # five figures, each rounded by half a percent
