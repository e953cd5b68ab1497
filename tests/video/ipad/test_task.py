"""The video task: what is trained on, and what a prediction is made of."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from moving import CYCLE, write_moving

from ipad_jax.run.config import load_config
from ipad_jax.video.ipad.model import VideoOutput
from ipad_jax.video.ipad.task import VideoTask, box_mean, normalise


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_moving(root, "factory", "arm_synthetic")
    write_moving(root, "factory", "no_cycle", known_phase=False)
    return str(root)


def make(data_dir="", **overrides):
    return VideoTask(load_config("factory:tiny", {"data.data_dir": data_dir, **overrides}))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_box_mean_against_a_loop(size):
    maps = np.random.default_rng(0).random((2, 3, 7, 6)).astype(np.float32)
    expected = np.empty_like(maps)
    reach = size // 2
    for y in range(7):
        for x in range(6):
            box = maps[..., max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            expected[..., y, x] = box.mean(axis=(-1, -2))
    found = jax.jit(box_mean, static_argnums=1)(maps, size)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_normalised_values_span_minus_one_to_one():
    clip = np.array([0, 255], np.uint8).reshape(1, 1, 1, 1, 2)
    assert normalise(clip).ravel().tolist() == [-1.0, 1.0]


def test_prediction_of_a_known_reconstruction():
    """A reconstruction that is off by d in one pixel of one frame, on the [0, 1] scale."""
    task = make()
    clip = np.full((1, 4, 32, 32, 3), 128, np.uint8)
    off = np.zeros((1, 4, 32, 32, 3), np.float32)
    off[0, 2, 16, 16] = 0.5  # in [-1, 1]: d = 0.25

    def model(x):
        logits = jnp.zeros((1, 20)).at[0, 5].set(100.0)
        return VideoOutput(x + off, logits, None)

    found, pictures = jax.jit(
        lambda clip: (
            task.predict_fn(model, {"clip": clip}),
            task.reconstruct_fn(model, {"clip": clip}),
        )
    )(clip)
    np.testing.assert_allclose(found["mse"][0], [0, 0, 0.25**2 / 32**2, 0], atol=1e-8)
    np.testing.assert_allclose(found["pooled"][0], [0, 0, 0.25 / 81, 0], atol=1e-6)
    np.testing.assert_allclose(found["phase"], [5.5 / 20], atol=1e-5)  # middle of class 5
    assert pictures["reconstruction"].dtype == np.uint8
    assert int(pictures["reconstruction"][0, 2, 16, 16, 0]) == 192  # 128 + 0.25 * 255
    assert int(pictures["reconstruction"][0, 0, 0, 0, 0]) == 128
    np.testing.assert_allclose(pictures["error"].max(axis=(2, 3))[0], found["pooled"][0])


def test_phase_is_nan_without_period_head():
    predict = partial(make().predict_fn, lambda x: VideoOutput(x, None, None))
    found = jax.jit(predict)({"clip": np.zeros((2, 4, 32, 32, 3), np.uint8)})
    assert np.isnan(found["phase"]).all()
    assert found["phase"].shape == (2,)


def test_an_epoch_is_every_clip_start_of_the_training_part(data_dir):
    task = make(data_dir)
    fitted, held = task.segments
    assert (len(fitted), len(held)) == (5, 5)  # holdout_min = 5 of 10
    assert task.num_examples == 5 * (CYCLE - 4 + 1)


def test_training_and_held_out_clips_share_no_video(data_dir):
    task = make(data_dir)
    batches = task.train_data(1, 0, 1)
    fitted = set(np.concatenate([next(batches)["video"] for _ in range(20)]).tolist())
    held = set(np.concatenate([b["video"] for b in task.val_data(0, 1)]).tolist())
    assert fitted
    assert held
    assert not fitted & held


def test_held_out_batches_are_whole_the_same_each_time_and_shared_by_processes(data_dir):
    task = make(data_dir, **{"eval_batches": 3})
    whole = list(task.val_data(0, 1))
    assert [b["clip"].shape for b in whole] == [(4, 4, 32, 32, 3)] * 3
    parts = [list(task.val_data(i, 2)) for i in range(2)]
    for batch, first, second in zip(whole, *parts):
        np.testing.assert_array_equal(
            batch["clip"], np.concatenate([first["clip"], second["clip"]])
        )


def test_videos_shorter_than_a_clip_are_refused_before_the_first_step(data_dir):
    with pytest.raises(ValueError, match=rf"clip_len=16 frames to train on.*longest of {CYCLE} "):
        _ = make(data_dir, **{"data.clip_len": 16}).num_examples


def test_nothing_is_held_out_when_the_share_is_zero(data_dir):
    assert make(data_dir, **{"data.holdout_share": 0.0}).val_data(0, 1) is None


def test_loss_terms_and_their_weights(data_dir):
    task = make(data_dir)
    batch = next(task.train_data(1, 0, 1))

    def model(x, rngs):
        return VideoOutput(x + 0.5, jnp.zeros((4, 20)), jnp.full((4, 3, 8), 1 / 8))

    assert batch["clip"].shape == (4, 4, 32, 32, 3)
    loss, terms = jax.jit(partial(task.loss_fn, model))(batch, jax.random.key(0))
    np.testing.assert_allclose(terms["mse"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(terms["entropy"], np.log(8), rtol=1e-5)
    np.testing.assert_allclose(terms["period"], np.log(20), rtol=1e-5)
    expected = 0.25 + 0.0002 * np.log(8) + task.config.loss.period_weight * np.log(20)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert "loss" not in terms


def test_freeze_takes_parts_out_of_training():
    task = make(**{"freeze": ("encoder", "memory")})
    model = jax.eval_shape(lambda: nnx_state(task))
    assert {path[0] for path in model} == {"decoder", "period_head"}


def nnx_state(task):
    from flax import nnx

    model = task.init_model(jax.random.key(0))
    return dict(nnx.to_flat_state(nnx.state(model, task.trainable)))


def test_clip_and_picture_size_are_the_datas(data_dir):
    task = make(data_dir, **{"data.clip_len": 8})
    assert (task.model_config.clip_len, task.model_config.image_size) == (8, (32, 32))


def test_lists_from_json_make_the_same_model():
    config = load_config("factory:tiny")
    lists = config.copy_and_resolve_references()
    with lists.unlocked():
        lists.model.encoder = {
            k: list(v) if isinstance(v, tuple) else v for k, v in config.model.encoder.items()
        }
    assert dataclasses.asdict(VideoTask(lists).model_config) == dataclasses.asdict(
        VideoTask(config).model_config
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"eval.pool_px": 4}, "must be odd"),
        ({"eval.pool_px": 33}, "larger than the frame"),
        ({"freeze": ("head",)}, r"choose from encoder, period_head, memory, decoder"),
        ({"data.size": 30}, "multiple of"),
        ({"loss.period_width": -0.1}, r"period_width=-0\.1 is a standard deviation"),
    ],
)
def test_impossible_configs_say_what_is_wrong(override, message):
    with pytest.raises(ValueError, match=message):
        make(**override)


def test_describe_counts_parameters_and_clips(data_dir):
    text = make(data_dir).describe()
    assert "encoder + decoder" in text
    assert f"{5 * (CYCLE - 4 + 1)} clips of 4 frames" in text
    assert "period_head=none" not in text
    assert "model.period_head=none" in make(data_dir, **{"data.name": "no_cycle"}).describe()
    without_phase = make(data_dir, **{"model.period_head": "none"}).describe()
    assert "the cycle is known, but model.period_head=none" in without_phase
    assert "ipad-jax prepare factory" in make(data_dir, **{"data.name": "absent"}).describe()
