"""What counts as complete in a folder of cells, and what is done with what does not; no training."""

import json

import pytest
from moving import write_moving

from ipad_jax.reproduce import cells
from ipad_jax.reproduce.plan import Budget, Cell, Job, Scoring, Training
from ipad_jax.run.config import claim_workdir, load_config, read_config, save_config

SCENE, OTHER = "crane_synthetic", "crane_real"
WAY = Scoring("strict_own", {"protocol": "strict"})


def training(folder=f"{SCENE}/ours/seed0", start=""):
    return Training(folder, "factory:tiny", {"data.name": SCENE}, 0, start)


CELL = Cell(training(), WAY, SCENE)


def config_of(root, of=CELL.training):
    return cells.training_config(root, of, Budget(steps=2), "data")


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_training(root, of, config):
    facts = {"format": cells.FORMAT, "config": cells.describe(config), "steps": 2}
    write_json(root / of.folder / cells.TRAINING, facts)


@pytest.fixture
def cell_json(tmp_path):
    """(cell.json's content, a function that says whether the cell is complete with another one)."""
    config = config_of(tmp_path)
    content = {
        "format": cells.FORMAT,
        "scores_format": cells.SCORES_FORMAT,
        "config": cells.describe(config),
        "scoring": dict(WAY.leaves),
        "scene": SCENE,
    }
    write_json(tmp_path / CELL.folder / "metrics.json", {})
    (tmp_path / CELL.folder / cells.JUDGED).touch()

    def is_complete(content):
        write_json(tmp_path / CELL.folder / cells.CELL, content)
        return cells.is_complete(tmp_path, CELL, config)

    return content, is_complete


def test_a_cell_is_complete_while_every_leaf_of_eval_is_as_it_was(cell_json):
    content, is_complete = cell_json
    assert is_complete(content)
    was = content["config"]
    judging = [name for name in was if name.startswith("eval.")]
    assert {"eval.register", "eval.track_phase", "eval.motion_px"} <= set(judging)
    for name in judging:
        without = {leaf: value for leaf, value in was.items() if leaf != name}
        assert not is_complete(content | {"config": without}), name  # it came later
        assert not is_complete(content | {"config": was | {name: "other"}}), name
    # it is gone since
    assert not is_complete(content | {"config": was | {"eval.components.features": 0.3}})


def test_a_cell_of_another_format_of_scores_is_judged_again(cell_json):
    content, is_complete = cell_json
    assert not is_complete(content | {"scores_format": cells.SCORES_FORMAT - 1})
    del content["scores_format"]
    assert not is_complete(content)


def test_a_training_is_refused_for_what_it_learned_by_not_for_how_it_was_judged(
    cell_json, tmp_path
):
    content, is_complete = cell_json
    was = content["config"]
    assert is_complete(content | {"config": {n: v for n, v in was.items() if n != "optim.b1"}})
    with pytest.raises(ValueError, match=r"optim.lr: 0.5 there"):
        is_complete(content | {"config": was | {"optim.lr": 0.5}})
    config = config_of(tmp_path)
    write_training(tmp_path, CELL.training, config)
    with config.unlocked():
        config.eval.sustained_s = 0.5
        config.eval.later = 1
    assert cells.is_trained(tmp_path, CELL.training, config)
    config.optim.lr = 0.5
    with pytest.raises(ValueError, match=r"optim.lr: .* 0.5 asked for"):
        cells.is_trained(tmp_path, CELL.training, config)


@pytest.mark.slow
def test_another_scene_is_judged_again_with_eval_as_it_is_now(tmp_path, monkeypatch):
    cell = Cell(CELL.training, WAY, OTHER)
    config, old = config_of(tmp_path), config_of(tmp_path)
    old.data.name, old.eval.sustained_s = OTHER, 0.5
    save_config(tmp_path / cell.run_folder, old)
    write_training(tmp_path, CELL.training, config)
    used = []
    monkeypatch.setattr(cells.video_cells, "_is_made_with", lambda *_: True)
    monkeypatch.setattr(
        cells.video_cells.evaluation,
        "rescore",
        lambda place, *_, **__: used.append(read_config(place)),
    )
    monkeypatch.setattr(cells.video_cells, "arrays_of", lambda _: {})
    monkeypatch.setattr(cells, "_keep", lambda *_: None)
    cells.run_job(tmp_path, Job(cell.training, (cell,)), config, say=lambda _: None)
    assert [(c.data.name, c.eval.sustained_s) for c in used] == [(OTHER, config.eval.sustained_s)]


@pytest.mark.parametrize("before", ["/moved/away", "runs/tables", "gs://bucket/tables"])
def test_a_half_trained_run_finds_its_start_where_the_root_lies_now(tmp_path, monkeypatch, before):
    job = Job(training("transfer/full/seed0", start="transfer/pretrained/seed0"), ())
    workdir, config = tmp_path / job.training.folder, config_of(tmp_path, job.training)
    save_config(workdir, config_of(before, job.training))
    started = []

    class Stopped:
        reason = "SIGTERM"

    def train(config, workdir):
        claim_workdir(workdir, config)
        started.append(config.init_from)
        return Stopped()

    monkeypatch.setattr(cells, "train", train)
    with pytest.raises(cells.InterruptedRunError):
        cells.run_job(tmp_path, job, config)
    assert started == [str(tmp_path / job.training.start)]
    assert read_config(workdir).init_from == started[0]
    # another start is another training
    other = read_config(workdir)
    other.init_from = "/moved/away/transfer/other/seed0"
    save_config(workdir, other)
    with pytest.raises(ValueError, match=r"init_from: .*transfer/other/seed0' there"):
        cells.run_job(tmp_path, job, config)


def test_a_cycle_is_known_from_the_dataset_and_without_it_from_what_was_trained(tmp_path):
    data, root = tmp_path / "data", tmp_path / "tables"
    config = load_config("video_folder:tiny", {"data.data_dir": str(data)})
    write_moving(data, "video_folder", "press7")
    write_moving(data, "video_folder", "walkway", known_phase=False)
    with_head = {"format": cells.FORMAT, "config": {"model.period_head": "pooled"}}
    without = {"format": cells.FORMAT, "config": {"model.period_head": "none"}}
    for scene, facts in {"elsewhere": with_head, "flat": without, "walkway": with_head}.items():
        write_json(root / scene / "ours/seed0" / cells.TRAINING, facts)
        write_json(root / scene / "conae/seed0" / cells.TRAINING, {"format": 1, "config": {}})
    names = ("press7", "walkway", "elsewhere", "flat", "unknown")
    assert cells.scenes_with_cycle(root, config, names) == {"press7", "elsewhere"}
