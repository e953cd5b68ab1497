"""The loop with a toy task: resuming, sharding, freezing, NaN, budgets and signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from toy import ToyTask, toy_config

from ipad_jax.commands.train import main
from ipad_jax.run.config import load_config
from ipad_jax.run.stopwatch import Stopwatch
from ipad_jax.training import pretrained
from ipad_jax.training.checkpoints import (
    DamagedCheckpointError,
    complete_steps,
    latest_step,
    load_model_arrays,
    restore_for_inference,
)
from ipad_jax.training.held_out import HeldOutLoss
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import make_mesh

pytestmark = pytest.mark.slow  # trains


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    """Registers the toy; gives the tasks that were made, newest last."""
    made = []

    def make(config):
        made.append(ToyTask(config))
        return made[-1]

    monkeypatch.setattr("toy.ToyTask", make)
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


def test_statistics_of_a_frozen_part_do_not_move(tmp_path, monkeypatch):
    class Frozen(ToyTask):
        """Trains the decoder alone: the BatchNorm before it is frozen."""

        @staticmethod
        def trainable(path, value):
            return isinstance(value, nnx.Param) and path[0] == "decoder"

    monkeypatch.setattr("toy.ToyTask", Frozen)
    train(toy_config(total_steps=3), tmp_path)
    arrays, _ = load_model_arrays(tmp_path)
    np.testing.assert_array_equal(arrays["norm.mean"], 0.0)  # as at the start
    np.testing.assert_array_equal(arrays["norm.var"], 1.0)
    assert np.any(arrays["decoder.bias"])


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
    out = capsys.readouterr().out
    assert "no held-out" in out
    assert out.index("compiling ...") < out.index("step 1/4")


def test_budget_ends_the_run_with_a_checkpoint_and_counts_over_resumes(tmp_path):
    config = toy_config(total_steps=10**6, max_seconds=0.5, log_every=10**6, checkpoint_every=0)
    first = train(config, tmp_path)
    assert first.reason == "max_seconds"
    assert load_model_arrays(tmp_path)[1] == first.step > 0
    again = train(config, tmp_path)
    assert (again.reason, again.step) == ("max_seconds", first.step)


def test_a_command_that_is_late_already_does_one_step_and_goes_on_by_the_same_time(
    tmp_path, capsys
):
    config = toy_config(total_steps=10**6, max_seconds=5.0, log_every=10**6, checkpoint_every=0)
    late = train(config, tmp_path, started=time.perf_counter() - 60)
    assert (late.reason, late.step) == ("max_seconds", 1)
    out = capsys.readouterr().out
    assert "max_seconds=5: compiling took" in out
    assert "0 s are left for training" in out
    again = train(config, tmp_path, started=time.perf_counter())
    assert again.reason == "max_seconds"
    assert again.step > 1  # each command has its own time


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


def test_a_failed_start_does_not_claim_the_folder(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="ipad-jax prepare factory"):
        train(load_config("factory:tiny", {"data.data_dir": "/nowhere"}), tmp_path / "scene")
    asked = []

    def other_model(folder):
        asked.append(folder)
        return {"encoder.kernel": np.zeros((2, 2))}, 3

    monkeypatch.setattr(pretrained, "load_model_arrays", other_model)
    misfit = r"encoder\.bias is missing; encoder\.kernel has shape \(2, 2\), the model \(8, 8\)"
    with pytest.raises(ValueError, match=misfit):
        train(toy_config(init_from="gs://bucket/run:encoder"), tmp_path / "weights")
    assert asked == ["gs://bucket/run"]
    assert not list(tmp_path.rglob("config.json"))


def test_epochs_become_steps(tmp_path):
    summary = train(toy_config(total_steps=0, epochs=1.5), tmp_path)
    assert summary.step == summary.total_steps == 6


def test_restored_model_is_the_trained_one_without_chance(tmp_path):
    train(toy_config(), tmp_path)
    config, task, model, step = restore_for_inference(tmp_path)
    assert (config.task, step) == ("toy:ToyTask", 4)
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
    config = toy_config()
    setup = TrainSetup.make(config, ToyTask(config), make_mesh(4), 4)
    leaves = jax.tree.leaves(setup.create_state(jax.random.key(0)))
    total = sum(x.nbytes for x in leaves)
    first = sum(s.data.nbytes for x in leaves for s in x.addressable_shards if s.device.id == 0)
    assert first <= 1.2 * total / 4


def test_step_and_held_out_loss_are_compiled_with_the_tasks_options():
    config = toy_config(eval_every=1)
    task = ToyTask(config)
    setup = TrainSetup.make(config, task, make_mesh(1, 1), 4)
    state = setup.create_state(jax.random.key(0))
    task.compiler_options = {"gpu": {"xla_gpu_wrong": True}}  # type: ignore[attr-defined]
    batch = next(task.train_data(1, 0, 1))
    setup.compile_step(batch)
    held_out = HeldOutLoss(setup, config, Stopwatch())
    held_out(state)
    held_out.compiled = None
    task.compiler_options = {"cpu": {"xla_cpu_wrong": True}}  # type: ignore[attr-defined]
    for compile_it in (lambda: setup.compile_step(batch), lambda: held_out(state)):
        with pytest.raises(jax.errors.JaxRuntimeError, match="xla_cpu_wrong"):
            compile_it()


def test_summary_shares_add_up(tmp_path):
    summary = train(toy_config(), tmp_path)
    assert summary.seconds["compiling"] > 0
    assert "steps" in str(summary)
    assert "compiling" in str(summary)


def test_rates_and_times_are_positive(tmp_path):
    train(toy_config(total_steps=6), tmp_path)
    rows = read_metrics(tmp_path)
    assert all(0 < row["clips_per_second"] < np.inf for row in rows)
    times = [row["train_seconds"] for row in rows]
    assert times == sorted(times)


def test_going_back_to_an_earlier_step_sets_the_newer_aside(tmp_path, capsys):
    train(toy_config(), tmp_path)
    summary = train(toy_config(), tmp_path, step=2)
    out = capsys.readouterr().out
    assert "set aside checkpoints [4]" in out
    assert "resuming from step 2" in out
    assert summary.step == 4
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4]


def flip_a_bit(checkpoint):
    files = [file for file in (checkpoint / "model").rglob("*") if file.is_file()]
    victim = max(files, key=lambda file: file.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))


def test_a_wrong_or_damaged_step_sets_nothing_aside(tmp_path):
    train(toy_config(), tmp_path)
    for step in (1, 3, 5):
        with pytest.raises(FileNotFoundError, match=rf"no complete checkpoint {step} .*\[2, 4\]"):
            train(toy_config(total_steps=6), tmp_path, step=step)
    flip_a_bit(tmp_path / "checkpoints" / "2")
    with pytest.raises(DamagedCheckpointError, match="2 is damaged"):
        train(toy_config(total_steps=6), tmp_path, step=2)
    assert complete_steps(tmp_path / "checkpoints") == [2, 4]


def test_a_damaged_newest_checkpoint_stops_the_resume(tmp_path):
    train(toy_config(), tmp_path)
    flip_a_bit(tmp_path / "checkpoints" / "4")
    with pytest.raises(ValueError, match=r"4 is damaged .* --step 2"):
        train(toy_config(total_steps=6), tmp_path)
    assert train(toy_config(total_steps=6), tmp_path, step=2).step == 6


COMMAND = """
import sys
sys.path.insert(0, {tests!r})
import jax
from toy import toy_config
from ipad_jax.commands.train import main
import ipad_jax.run.config

ipad_jax.run.config.load_config = lambda spec: toy_config(
    total_steps=10**7, log_every=100, checkpoint_every=0
)
ipad_jax.run.config.config_path = lambda spec: spec
sys.exit(main(["--config", "toy", "--workdir", {workdir!r}]))
"""


def test_sigterm_to_the_command_saves_and_says_143(tmp_path):
    code = COMMAND.format(tests=str(Path(__file__).parents[1]), workdir=str(tmp_path / "run"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("step "):
            process.send_signal(signal.SIGTERM)
            break
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 143
    step = latest_step(tmp_path / "run")
    assert f"SIGTERM at step {step} of 10000000" in out


def test_the_command_describes_the_papers_model(capsys):
    assert main(["--config", "ipad", "--describe", "--config.data.data_dir=/nowhere"]) == 0
    out = capsys.readouterr().out
    assert "27.58M" in out  # encoder, paper
    assert "8.30M" in out  # decoder
    assert "ipad-jax prepare ipad" in out
