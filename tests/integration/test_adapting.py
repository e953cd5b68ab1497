"""Pretrained on two scenes, adapted to a third: what trains, what is saved, and the same when merged."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from moving import CYCLE, write_moving
from orbax.checkpoint import v1 as ocp

from ipad_jax.commands import evaluate as evaluate_command
from ipad_jax.main import main
from ipad_jax.nn.lora import ADAPTER
from ipad_jax.run.config import load_config, read_config
from ipad_jax.training.checkpoints import load_model_arrays, restore_for_inference
from ipad_jax.training.frozen_base import Base
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train
from ipad_jax.training.merge_adapters import merge
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import make_mesh
from ipad_jax.training.state import named_leaves
from ipad_jax.training.task import make_task
from ipad_jax.video.detector import load
from ipad_jax.video.detector.predictor import Predictor
from ipad_jax.video.evaluation import judge_run as evaluate
from ipad_jax.video.scores.frame_scores import FrameScores

pytestmark = pytest.mark.slow  # trains

SCENES = ("arm_synthetic", "lift_synthetic", "arm_real")
QUICK = {"log_every": 1, "checkpoint_every": 0, "eval_every": 0, "num_devices": 1}
LENGTH = 3 * CYCLE  # frames of a video


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    for scene in SCENES:
        write_moving(folder / "data", "factory", scene, length=LENGTH)
    return folder


def config(root, scene, rank=0, share=1.0, steps=2, **overrides):
    leaves = {
        "data.data_dir": str(root / "data"),
        "data.name": scene,
        "data.train_share": share,
        "adapters.rank": rank,
        "total_steps": steps,
    }
    return load_config("ipad_adapter:factory,tiny", {**QUICK, **leaves, **overrides})


@pytest.fixture(scope="module")
def base(root):
    """A run on two scenes."""
    train(config(root, "arm_synthetic+lift_synthetic", steps=3), root / "base")
    return root / "base"


@pytest.fixture(scope="module")
def adapted(root, base):
    """A few-shot run on a third, with adapters: two steps, then two more."""
    for steps in (2, 4):
        train(config(root, "arm_real", 2, 0.4, steps, init_from=str(base)), str(root / "adapted"))
    return root / "adapted"


def test_frozen_weights_stay_bit_equal_and_the_rest_moves(root, base, adapted):
    before, _ = load_model_arrays(base)
    after, step = load_model_arrays(adapted)
    assert step == 4
    assert {name for name in after if name not in before} == {n for n in after if ADAPTER in n}
    changed = {name for name in before if np.any(before[name] != after[name])}
    frozen = {
        name
        for name in before
        if name.startswith("encoder.")
        and (".mlp." in name or ".attn.qkv." in name or ".attn.proj." in name)
    }
    assert frozen
    assert not frozen & changed
    assert any("relative_position_bias_table" in name for name in changed)
    assert any("reduction" in name for name in changed)
    for part in ("encoder.patch_embed.", "encoder.norm.", "memory.", "period_head.", "decoder."):
        assert any(name.startswith(part) for name in changed), part
    assert all(np.any(after[name]) for name in after if name.endswith((".a", ".b")))


def test_gradients_and_optimizer_slots_are_only_for_what_trains(root, base):
    settings = config(root, "arm_real", 2, init_from=str(base))
    shapes = TrainSetup.make(settings, make_task(settings), make_mesh(1, 1), 4).shapes
    trained, frozen = named_leaves(shapes.trainable), named_leaves(shapes.frozen)
    slots = {n: x for n, x in named_leaves(shapes.opt_state).items() if x.ndim}
    for moment in ("mu", "nu"):
        found = {n.split(f".{moment}.")[1]: x.shape for n, x in slots.items() if f".{moment}." in n}
        assert found == {name: x.shape for name, x in trained.items()}
    assert len(slots) == 2 * len(trained)
    assert frozen
    assert not any(ADAPTER in name for name in frozen)
    model = nnx.eval_shape(lambda: make_task(settings).init_model(jax.random.key(0)))
    every = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert every == sum(x.size for x in [*trained.values(), *frozen.values()])


def test_a_checkpoint_holds_what_trains_and_names_its_base(root, base, adapted):
    stored = ocp.checkpointables_metadata(adapted / "checkpoints" / "4")
    names = stored.metadata["model"].keys()
    assert not any(".mlp." in name or ".qkv." in name for name in names)
    assert any(ADAPTER in name for name in names)
    assert any(name.startswith("decoder.") for name in names)
    kept = stored.custom_metadata["base"]
    assert (kept["folder"], kept["step"], len(kept["sha256"])) == (str(base), 3, 64)


def test_resumed_equals_uninterrupted(root, base, adapted, tmp_path):
    train(config(root, "arm_real", 2, 0.4, 4, init_from=str(base)), tmp_path / "whole")
    whole, _ = load_model_arrays(tmp_path / "whole")
    parts, _ = load_model_arrays(adapted)
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)
    losses = [
        {row["step"]: row["loss"] for row in read_metrics(folder) if "loss" in row}
        for folder in (tmp_path / "whole", adapted)
    ]
    assert losses[0] == losses[1]


def test_another_base_is_refused_and_a_moved_one_found(root, base, adapted, tmp_path):
    shutil.copytree(base, tmp_path / "base")
    shutil.copytree(adapted, tmp_path / "adapted")
    moved, _ = load_model_arrays(tmp_path / "adapted", base=tmp_path / "base")
    here, _ = load_model_arrays(adapted)
    assert all(np.array_equal(moved[name], here[name]) for name in here)
    (tmp_path / "base" / "checkpoints" / "3").rename(tmp_path / "gone")  # as training on would
    with pytest.raises(FileNotFoundError, match=r"on step 3 of .*there are \[\].*back from a copy"):
        load_model_arrays(adapted, base=tmp_path / "base")
    other, _ = load_model_arrays(base)
    recorded = ocp.checkpointables_metadata(adapted / "checkpoints" / "4").custom_metadata["base"]
    name = recorded["names"][0]
    other[name] = -np.asarray(other[name]) - 1
    with pytest.raises(
        ValueError, match=r"trained on the frozen weights of .*base, step 3.*others"
    ):
        Base(**recorded).take(other, tmp_path / "other", adapted)
    with pytest.raises(FileNotFoundError, match=r"holds only what it trained.*ipad-jax merge"):
        load_model_arrays(adapted, base=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"run with adapters, the model has none.*ipad-jax merge"):
        train(config(root, "arm_real", init_from=str(adapted)), tmp_path / "x")
    with pytest.raises(ValueError, match=r"pass --config\.init_from=RUN_FOLDER"):
        train(config(root, "arm_real", 2), tmp_path / "y")
    # both copied elsewhere together: found beside the run, also where both have one name
    away = tmp_path / "away"
    away.mkdir()
    shutil.copytree(adapted, away / "adapted")
    shutil.copytree(base, away / base.name)
    table = tmp_path / "table"
    shutil.copytree(adapted, table / "adapted" / base.name)
    shutil.copytree(base, table / base.parent.name / base.name)
    hidden = base.rename(base.with_name("hidden"))
    try:
        for moved in (away / "adapted", table / "adapted" / base.name):
            found, _ = load_model_arrays(moved)
            assert found.keys() == here.keys()
        with pytest.raises(FileNotFoundError, match=r"not in .*base nor in"):
            load_model_arrays(adapted)
    finally:
        hidden.rename(base)


def test_merged_is_an_ordinary_run_with_the_same_outputs(root, base, adapted, tmp_path, capsys):
    out = tmp_path / "merged"
    threshold = load(adapted).threshold
    assert main(["merge", "--workdir", str(adapted), "--out", str(out)]) == 0
    assert "step 4" in capsys.readouterr().out
    merged, _ = load_model_arrays(out)
    assert merged.keys() == load_model_arrays(base)[0].keys()
    assert read_config(out).adapters.rank == 0
    clip = np.random.default_rng(0).integers(0, 255, (2, 4, 32, 32, 3), np.uint8)
    outputs = []
    for folder in (adapted, out, base):
        _, task, model, _ = restore_for_inference(folder)
        outputs.append(Predictor(task, model).pictures(clip)["error"])
    # float32 products in another order; errors are in [0, 1]
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-5)
    assert np.abs(outputs[2] - outputs[0]).max() > 1e-4  # adapting did something
    with pytest.raises(ValueError, match="nothing to merge"):
        merge(out, tmp_path / "again")
    with pytest.raises(ValueError, match="holds a run already"):
        merge(adapted, out)
    # neither base nor dataset are needed any more
    hidden = base.rename(base.with_name("hidden"))
    data = Path(read_config(out).data.data_dir)
    away = data.rename(data.with_name("away"))
    try:
        detector = load(out)
        frames = np.full((6, 32, 32, 3), 90, np.uint8)
        assert len(list(detector.stream(frames))) == 6
        assert detector.threshold == threshold is not None
        away.rename(data)
        again = config(root, "arm_real", 0, 0.4, 5, init_from=str(base))
        assert train(again, out).step == 5  # and it goes on, all weights trained
    finally:
        hidden.rename(base)
        if away.exists():
            away.rename(data)


@pytest.mark.slow
def test_one_run_is_judged_on_each_scene_by_itself(root, base):
    with pytest.raises(ValueError, match=r"one by one.*--config\.data\.name=arm_synthetic"):
        evaluate.evaluate(base)
    with pytest.raises(ValueError, match="judge them one by one"):
        load(base)
    with pytest.raises(FileNotFoundError, match="No prepared dataset"):
        evaluate.evaluate(base, data_name="crane_real")
    assert not (base / "scenes").exists()
    told = ["--workdir", str(base), "--no-report", "--config.data.name=arm_real"]
    assert evaluate_command.main(told) == 0
    home = base / "scenes" / "arm_real"
    metrics = json.loads((home / "eval" / "strict" / "metrics.json").read_text())
    assert metrics["checkpoint_step"] == 3
    scores = FrameScores.load(home / "eval" / "strict" / "scores.npz")
    assert scores.video_names == ("01", "02")
    assert read_config(home).data.name == "arm_real"
    detector = load(home)  # a run folder like any other
    assert detector.calibration is not None
    found = evaluate.evaluate(base, data_name="arm_synthetic", report=False)
    assert found.folder == base / "scenes" / "arm_synthetic" / "eval" / "strict"
    assert not (base / "calibration.json").exists()
    again = evaluate.rescore(home, home / "eval" / "strict" / "scores.npz", name="again")
    assert again.metrics["auc_micro"] == metrics["auc_micro"]
    scores = str(home / "eval" / "strict" / "scores.npz")
    words = ["--workdir", str(base), "--config.data.name=arm_real", "--scores", scores]
    assert evaluate_command.main([*words, "--name", "by_command"]) == 0
    assert (home / "eval" / "by_command" / "metrics.json").exists()


@pytest.mark.slow
def test_an_adapted_run_evaluates_and_describes_itself(root, base, adapted, capsys):
    found = evaluate.evaluate(adapted, report=False)
    assert found.metrics["num_videos"] == 2
    text = make_task(config(root, "arm_real", 2, 0.4)).describe()
    assert "encoder: low-rank adapters of q, v" in text
    assert "data.train_share=0.4: 2 of 5 training videos" in text
