"""The loop with a toy task: resuming, sharding, freezing, NaN, budgets and signals."""

import os
import signal

import jax
import numpy as np
import pytest
from toy import ToyTask, toy_config

from ipad_jax import task as task_module
from ipad_jax.checkpoints import load_model_arrays, restore_for_inference
from ipad_jax.train import train
from ipad_jax.writer import read_metrics


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    """Registers the toy; gives the tasks that were made, newest last."""
    made = []

    def make(config):
        made.append(ToyTask(config))
        return made[-1]

    monkeypatch.setitem(task_module.TASKS, "toy", make)
    return made


def losses(workdir, name="loss"):
    return {row["step"]: row[name] for row in read_metrics(workdir) if name in row}


def test_two_and_two_resumed_equals_four(tmp_path, tasks):
    train(toy_config(), tmp_path / "whole")
    train(toy_config(total_steps=2), tmp_path / "parts")
    assert losses(tmp_path / "parts").keys() == {1, 2}
    train(toy_config(), tmp_path / "parts")
    assert tasks[-1].seen[0] == 3  # the next batch is that of the saved step + 1
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    whole, step = load_model_arrays(tmp_path / "whole")
    parts, _ = load_model_arrays(tmp_path / "parts")
    assert step == 4
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)


def test_loss_falls_on_one_memorised_batch(tmp_path):
    config = toy_config(
        **{"total_steps": 60, "log_every": 20, "data.memorise": True, "optim.lr": 0.05}
    )
    train(config, tmp_path)
    found = losses(tmp_path)
    assert found[60] < 0.5 * found[20]


def test_frozen_stays_bit_equal_and_the_rest_moves(tmp_path):
    train(toy_config(total_steps=1), tmp_path)
    before, _ = load_model_arrays(tmp_path)
    train(toy_config(total_steps=6), tmp_path)
    after, _ = load_model_arrays(tmp_path)
    changed = {name for name in before if np.any(before[name] != after[name])}
    assert changed == {n for n in before if not n.startswith("encoder.")}


def test_fsdp_agrees_with_one_device_in_loss(tmp_path):
    found = []
    for name, overrides in {
        "one": {"num_devices": 1},
        "data": {"num_devices": 4},
        "fsdp": {"num_devices": 4, "fsdp": 2},
    }.items():
        train(toy_config(**overrides), tmp_path / name)
        found.append(list(losses(tmp_path / name).values()))
    # sums over devices are in another order: float32 rounding, grown over 4 steps of Adam
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


def test_checkpoint_of_one_mesh_goes_on_on_another(tmp_path):
    train(toy_config(), tmp_path / "whole")
    train(toy_config(total_steps=2, num_devices=4, fsdp=4), tmp_path / "moved")
    train(toy_config(num_devices=2), tmp_path / "moved")
    np.testing.assert_allclose(
        list(losses(tmp_path / "moved").values()),
        list(losses(tmp_path / "whole").values()),
        rtol=1e-5,  # as above
    )


def test_nan_between_reports_names_the_first_step_and_term(tmp_path):
    config = toy_config(
        **{"total_steps": 9, "log_every": 9, "checkpoint_every": 2, "data.nan_step": 3}
    )
    with pytest.raises(FloatingPointError, match=r"step 3: error is not finite"):
        train(config, tmp_path)
    assert load_model_arrays(tmp_path)[1] == 2  # the save at step 4 was refused


def test_held_out_loss_is_reported_and_does_not_depend_on_dropout(tmp_path):
    train(toy_config(eval_every=2, total_steps=2), tmp_path / "a")
    train(toy_config(eval_every=2, total_steps=2, log_every=2), tmp_path / "b")
    assert losses(tmp_path / "a", "val/loss") == losses(tmp_path / "b", "val/loss")
    assert losses(tmp_path / "a", "val/loss").keys() == {2}


def test_nothing_held_out_is_said(tmp_path, capsys):
    train(toy_config(**{"eval_every": 2, "data.holdout": False}), tmp_path)
    assert "no held-out" in capsys.readouterr().out


def test_budget_ends_the_run_with_a_checkpoint_and_counts_over_resumes(tmp_path):
    config = toy_config(total_steps=10**6, max_seconds=0.5, log_every=10**6, checkpoint_every=0)
    first = train(config, tmp_path)
    assert first.reason == "max_seconds"
    assert load_model_arrays(tmp_path)[1] == first.step > 0
    again = train(config, tmp_path)
    assert (again.reason, again.step) == ("max_seconds", first.step)


def test_sigterm_saves_the_step_and_says_so(tmp_path):
    def send(figures):
        if figures["step"] == 3 and figures["phase"] == "training":
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    summary = train(toy_config(total_steps=100, checkpoint_every=0), tmp_path, progress=send)
    assert summary.reason == "SIGTERM"
    assert 3 <= summary.step <= 5
    assert load_model_arrays(tmp_path)[1] == summary.step
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_config_is_refused_and_named(tmp_path):
    train(toy_config(total_steps=1), tmp_path)
    with pytest.raises(ValueError, match=r"optim\.lr: 0\.01 there, 0\.5 here"):
        train(toy_config(**{"optim.lr": 0.5}), tmp_path)


def test_epochs_become_steps(tmp_path):
    summary = train(toy_config(total_steps=0, epochs=1.5), tmp_path)
    assert summary.step == summary.total_steps == 6


def test_restored_model_is_the_trained_one_without_chance(tmp_path):
    train(toy_config(), tmp_path)
    config, task, model, step = restore_for_inference(tmp_path)
    assert (config.task, step) == ("toy", 4)
    x = np.ones((2, 8), np.float32)
    out = task.predict_fn(model, {"x": x})["out"]
    arrays, _ = load_model_arrays(tmp_path)
    hidden = x @ arrays["encoder.kernel"] + arrays["encoder.bias"][None]
    hidden = (hidden - arrays["norm.mean"][None]) / np.sqrt(arrays["norm.var"][None] + 1e-5)
    hidden = hidden * arrays["norm.scale"][None] + arrays["norm.bias"][None]
    expected = hidden @ arrays["decoder.kernel"] + arrays["decoder.bias"][None]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)  # float32 in another order


def test_init_from_a_run_takes_the_whole_model_or_a_part(tmp_path, capsys):
    train(toy_config(), tmp_path / "first")
    first, _ = load_model_arrays(tmp_path / "first")
    start = {"total_steps": 1, "seed": 7}
    for part, names in {"": set(first), ":encoder": {"encoder.kernel", "encoder.bias"}}.items():
        workdir = tmp_path / f"second{len(part)}"
        train(
            toy_config(**start, **{"init_from": f"{tmp_path / 'first'}{part}", "optim.lr": 1e-30}),
            workdir,
        )
        second, _ = load_model_arrays(workdir)
        same = {n for n in first if np.array_equal(first[n], second[n])}
        assert same == {n for n in names if n not in ("norm.mean", "norm.var")}
    assert "loaded encoder from" in capsys.readouterr().out


def test_state_is_spread_over_fsdp(tmp_path):
    from ipad_jax.optim import make_optimizer
    from ipad_jax.sharding import fsdp_sharding, make_mesh
    from ipad_jax.train_state import abstract_state, create_state

    config = toy_config()
    task, tx = ToyTask(config), make_optimizer(config.optim, 4)
    mesh = make_mesh(4)
    _, shapes = abstract_state(task, tx, jax.random.key(0))
    shardings = fsdp_sharding(shapes, mesh, 0)
    make = jax.jit(lambda k: create_state(task, tx, k)[1], out_shardings=shardings)
    leaves = jax.tree.leaves(make(jax.random.key(0)))
    total = sum(x.nbytes for x in leaves)
    first = sum(s.data.nbytes for x in leaves for s in x.addressable_shards if s.device.id == 0)
    assert first <= 1.2 * total / 4


def test_summary_shares_add_up(tmp_path):
    summary = train(toy_config(), tmp_path)
    assert summary.seconds["compiling"] > 0
    assert "steps" in str(summary)
    assert "compiling" in str(summary)
