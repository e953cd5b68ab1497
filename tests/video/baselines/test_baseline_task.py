"""The compared methods as tasks: the same protocol, data and scoring as ours."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx
from moving import CYCLE, write_moving

from ipad_jax.performance.compile_ahead import cpu_devices, report_slice
from ipad_jax.performance.products import predict_products, train_products
from ipad_jax.run.config import load_config
from ipad_jax.training.state import inference_view
from ipad_jax.training.task import compiler_options, make_task
from ipad_jax.video.baselines.dmad import DmadOutput
from ipad_jax.video.baselines.task import BASELINES, BaselineTask
from ipad_jax.video.clip_task import normalise
from ipad_jax.video.ipad.task import VideoTask
from ipad_jax.video.methods import METHODS

CONFIGS = (*BASELINES, "vswint")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_moving(root, "factory", "arm_synthetic")
    return str(root)


def make(name, arg="factory,tiny", **overrides):
    return make_task(load_config(f"{name}:{arg}", overrides))


def test_every_method_is_a_task_and_a_config():
    assert BASELINES.keys() < METHODS.keys()
    for name in BASELINES:
        assert isinstance(make(name), BaselineTask)
    assert isinstance(make("vswint"), VideoTask)


def test_astnet_alone_leaves_tritons_products_out_and_on_a_gpu_alone():
    tasks = {name: make(name) for name in CONFIGS} | {"ipad": make_task(load_config("ipad:tiny"))}
    found = {
        (name, platform): options
        for name, task in tasks.items()
        for platform in ("cpu", "gpu", "tpu")
        if (options := compiler_options(task, platform))
    }
    assert found == {("astnet", "gpu"): {"xla_gpu_enable_triton_gemm": False}}
    # XLA knows names and types of all platforms' options and refuses others
    (options,) = found.values()
    assert jax.jit(jnp.negative, compiler_options=options)(1.0) == -1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_the_method_on_any_scene(name):
    """By name and option alone; the widths are ours on small pictures and the published ones on IPAD."""
    scenes = {"": ("ipad", 256), "factory": ("factory", 64), "video_folder": ("video_folder", 128)}
    for arg, scene in scenes.items():
        config = load_config(f"{name}:{arg}")
        assert (config.data.builder, config.data.size) == scene
        assert config.batch_size == 8
        assert "nearest" not in config.eval.components
    full, small = (load_config(f"{name}:{arg}") for arg in ("factory,full", "factory"))
    assert full.model == load_config(name).model != small.model
    paper = load_config(f"{name}:paper")
    assert (paper.eval.protocol, paper.eval.stride, paper.data.holdout_share) == ("paper", 1, 0)
    assert predict_products(make_task(small))
    for options in ("factory,video_folder", "paper,factory"):
        with pytest.raises(ValueError, match="take one"):
            make(name, options)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_predictions_of_every_method_have_the_same_shape_and_meaning(name):
    """Squared error and pooled error of the reconstruction; NaN for what is only predicted from."""
    task = make(name)
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (2, task.clip_len, 32, 32, 3), dtype=np.uint8)

    model = inference_view(drawn(lambda: task.init_model(jax.random.key(0))))

    @jax.jit
    def run(clip):
        made = task.predict(model, normalise(clip))
        task.predict = lambda *_: made  # the model once in this program, not three times
        batch = {"clip": clip}
        return task.predict_fn(model, batch) | task.reconstruct_fn(model, batch), made.frames

    found, made = run(clip)
    assert np.isnan(found["phase"]).all()
    assert found["phase"].shape == (2,)
    assert ("deformation" in found) == (name == "dmad")
    unscored = 4 if name in ("astnet", "dmad") else 0
    assert task.unscored == unscored
    for key in {"mse", "pooled", "deformation"} & found.keys():
        assert found[key].shape == (2, task.clip_len)
        assert np.isnan(found[key][:, :unscored]).all()
        assert np.isfinite(found[key][:, unscored:]).all()
    error = (np.asarray(made) - np.asarray(normalise(clip))[:, unscored:]) / 2
    np.testing.assert_allclose(
        found["mse"][:, unscored:], np.square(error).mean(axis=(2, 3, 4)), rtol=1e-4
    )
    assert found["reconstruction"].shape == clip.shape
    np.testing.assert_array_equal(found["reconstruction"][:, :unscored], clip[:, :unscored])
    assert float(found["error"][:, :unscored].sum()) == 0
    if name != "astnet":  # whose frames have no bound, pictures have
        np.testing.assert_allclose(
            found["error"].max(axis=(2, 3))[:, unscored:], found["pooled"][:, unscored:], rtol=1e-4
        )


@pytest.mark.slow
def test_loss_takes_the_configs_weights(data_dir):
    weights = {"loss.gradient_weight": 0.0, "loss.quantisation_weight": 0.0}
    weights |= {"loss.commitment_weight": 0.0, "loss.deformation_weight": 0.0}
    task = make("dmad", **weights, **{"data.data_dir": data_dir})
    batch = next(task.train_data(1, 0, 1))
    assert batch["clip"].shape == (4, 5, 32, 32, 3)

    def model(clip, rngs):
        offset = jnp.ones((4, 32, 32, 2))
        return DmadOutput(clip[:, 4:] + 0.1, clip[:, 4:] - 0.2, offset, offset, 1.0, 1.0)

    loss, terms = jax.jit(partial(task.loss_fn, model))(batch, jax.random.key(0))
    assert all(float(term) > 0 for term in terms.values())
    assert float(loss) == pytest.approx(float(terms["mse"] + terms["coarse_mse"]), rel=1e-5)
    assert task.num_examples == 5 * (CYCLE - 5 + 1)
    assert "conae" not in task.describe()
    assert f"{5 * (CYCLE - 5 + 1)} clips of 5 frames" in task.describe()


def test_describe_counts_parameters():
    text = make("conae", "").describe()
    line = next(line for line in text.splitlines() if line.startswith("total"))
    assert line.split() == ["total", "5,991,171", "5.99M"]  # see test_conv_autoencoder


def test_a_training_step_is_three_times_as_much_but_for_the_gradient_of_the_pictures():
    task = make("conae")
    first, *others = (p.flops for p in predict_products(task))
    assert sum(p.flops for p in train_products(task)) == 2 * first + 3 * sum(others)


def test_work_of_the_autoencoder_is_the_layers():
    """Outputs by taps by channels, on the way down; inputs by taps by channels, on the way up."""
    task = make("conae", "factory")
    sizes, places = (3, 48, 64, 128, 128), [16 * 32**2, 8 * 16**2, 4 * 8**2, 2 * 4**2]
    pairs = zip(sizes[:-1], sizes[1:], places)
    expected = sum(2 * 2 * 27 * a * b * n for a, b, n in pairs)  # once down, once up
    assert sum(p.flops for p in predict_products(task)) == expected


def test_compile_takes_a_compared_method():
    config = load_config("convlstm:factory,tiny")
    report = report_slice(config, cpu_devices(1), "cpu:1", only="predict")
    step = report.steps[0]
    assert 0.9 < step.flops_compiled / step.flops_needed < 3  # gates, norms and errors count too


def test_parts_can_be_frozen():
    task = make("memae", **{"freeze": ("memory", "encoder")})
    state = nnx.state(nnx.eval_shape(lambda: task.init_model(jax.random.key(0))), task.trainable)
    assert set(state) == {"decoder"}


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        (
            "astnet",
            {"eval.stride": 2},
            "eval.stride=2 leaves frames without a score: of a clip of 5",
        ),
        ("conae", {"data.clip_len": 3}, "clip_len=3 must be a multiple of 2"),
        ("dmad", {"freeze": ("head",)}, "choose from decoder, encoder, offsets, quantizer"),
        ("convlstm", {"data.size": 36}, "must be a multiple of 8"),
        ("memae", {"model.dtype": "float8"}, "must be 'float32' or 'bfloat16'"),
    ],
)
def test_impossible_configs_say_what_is_wrong(name, override, message):
    with pytest.raises(ValueError, match=message):
        make(name, **override)


def test_unknown_leaves_are_named():
    config = load_config("memae:factory,tiny")
    with config.unlocked():
        config.model.slots = 5
    with pytest.raises(ValueError, match=r"unknown keys \['slots'\]; choices: .*'num_slots'"):
        make_task(config)


@pytest.mark.slow
def test_bfloat16_is_the_convolutions_only():
    task = make("dmad", **{"model.dtype": "bfloat16"})
    model = nnx.eval_shape(lambda: task.init_model(jax.random.key(0)))
    clip = jax.ShapeDtypeStruct((1, 5, 32, 32, 3), jnp.uint8)
    found = nnx.eval_shape(
        lambda m, x: task.predict_fn(m, {"clip": x}), inference_view(model), clip
    )
    assert found["mse"].dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(nnx.state(model, nnx.Param))} == {jnp.dtype("float32")}
