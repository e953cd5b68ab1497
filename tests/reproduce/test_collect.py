"""From folders of cells to numbers: what is there is averaged, what is not is counted; no model."""

import dataclasses
import json

import numpy as np
import pytest

from ipad_jax.evaluation.ranking import auc_micro
from ipad_jax.reproduce.cells import load_judgement
from ipad_jax.reproduce.collect import Folder, collect
from ipad_jax.reproduce.methods import Setting, make_table
from ipad_jax.reproduce.plan import jobs_of
from ipad_jax.reproduce.table import table_csv, table_text

SCENES = ("crane_synthetic", "drill_synthetic")
STRENGTH = {"conae": 0.2, "ipad": 0.8, "ours": 1.5}
VIDEOS, FRAMES = 8, 40


def write_cell(root, cell, strength):
    """A cell of a made-up training: faults stand out by `strength`, more or less with each seed."""
    folder = root / cell.folder
    folder.mkdir(parents=True)
    # the videos, and with them the labels and the frame difference, are the scene's
    scene_rng = np.random.default_rng(SCENES.index(cell.scene))
    frame, video = np.tile(np.arange(FRAMES), VIDEOS), np.repeat(np.arange(VIDEOS), FRAMES)
    label = ((frame >= 15) & (frame < 30) & (video % 2 == 1)).astype(int)
    level = scene_rng.normal(0, 0.3, VIDEOS)[video] + scene_rng.normal(size=len(video))
    rng = np.random.default_rng(cell.training.seed + 10 * len(cell.training.folder))
    score = level + rng.normal(0, 0.3, len(video)) + (strength + rng.normal(0, 0.1)) * label
    kind = np.where(label == 0, "normal", np.where(video < 4, "motion", "logic"))
    difference = level.copy()
    difference[frame == 0] = np.nan
    names = np.array([f"{v:02d}" for v in range(VIDEOS)])
    arrays = {"score": score, "label": label, "video": names[video], "frame": frame, "kind": kind}
    np.savez(folder / "judged.npz", **arrays, diff_mean=difference, diff_pooled=-difference)
    metrics = {
        "auc_micro": auc_micro(score, label), "threshold": 2.0, "num_false_alarms": 2,
        "num_false_calls": 3, "alarm_hours": 0.02,
        "normal_hours": 0.1, "num_detected": 3, "num_true": 4, "detection_delay_s": 0.4,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    facts = {"format": 1, "parameters": 10, "trainable": 5, "steps": 100 + cell.training.seed}
    (root / cell.training.folder / "training.json").write_text(
        json.dumps(facts | {"train_seconds": 9.0})
    )
    return folder.relative_to(root).as_posix(), auc_micro(score, label)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """(root, table, {cell's folder: its AUC}) of three methods, two scenes and three seeds."""
    root = tmp_path_factory.mktemp("cells")
    table, _ = make_table(2, Setting("factory", SCENES))
    table = table.only([*STRENGTH, "diff_mean", "diff_pooled"])
    found = {}
    for line in table.lines:
        for cell in line.cells if not line.is_untrained else ():
            name, auc = write_cell(root, cell, STRENGTH[line.name])
            found[name] = auc
    return root, table, found


def collected(root, table, there):
    folder = Folder(root, frozenset(there), num_resamples=200)
    return collect(folder, table, (len(there), 18), "made up", (0, 1, 2))


def rows_of(data):
    return {row.name: row for row in data.rows}


def test_a_number_is_the_mean_over_seeds_then_scenes(filled):
    root, table, found = filled
    data = collected(root, table, found)
    for name in STRENGTH:
        per_scene = []
        for scene in SCENES:
            aucs = [auc for folder, auc in found.items() if f"{scene}/{folder_of(name)}/" in folder]
            assert len(aucs) == 3
            number = rows_of(data)[name].numbers[scene]
            assert number.estimate == pytest.approx(np.mean(aucs), abs=1e-12)
            assert number.seed_spread == pytest.approx(np.std(aucs, ddof=1), abs=1e-12)
            assert number.low < number.estimate < number.high
            per_scene.append(np.mean(aucs))
        assert rows_of(data)[name].numbers["mean"].estimate == pytest.approx(np.mean(per_scene))
    assert data.cells == (18, 18)
    assert "UNFINISHED" not in table_text(data)


def folder_of(name):
    """The row `ipad` is our model with the memory that the factory config leaves out."""
    return {"ipad": "with_memory"}.get(name, name)


def test_the_paired_differences_tell_who_is_better(filled):
    root, table, found = filled
    data = collected(root, table, found)
    above = {d.text: d for d in data.differences}
    clear = above["our full method above conAE"]
    assert (clear.verdict, clear.num_better, clear.num_scenes) == ("yes", 2, 2)
    ours, conae = (rows_of(data)[name].numbers["mean"].estimate for name in ("ours", "conae"))
    assert clear.number.estimate == pytest.approx(ours - conae, abs=1e-12)
    free = above["our full method above frame difference, mean (no training)"]
    assert free.number.done == free.number.wanted == 6  # one row meets every seed
    # judged on the frames that both have: the frame difference lacks the first of each video
    row = rows_of(data)["diff_mean"].numbers["mean"]
    assert free.number.estimate != pytest.approx(ours - row.estimate, abs=1e-6)
    assert free.number.estimate == pytest.approx(ours - row.estimate, abs=0.05)


def test_rows_without_training_stand_on_any_cell_and_have_no_seeds_to_spread(filled):
    root, table, found = filled
    whole = rows_of(collected(root, table, found))["diff_pooled"].numbers["mean"]
    one_each = [next(f for f in found if f.startswith(scene)) for scene in SCENES]
    few = rows_of(collected(root, table, one_each))["diff_pooled"].numbers["mean"]
    assert (few.estimate, few.low, few.high) == (whole.estimate, whole.low, whole.high)
    assert (few.done, few.wanted, len(few.seeds)) == (2, 2, 1)


def test_rows_without_training_have_the_frames_of_the_cell_with_most(tmp_path):
    table, _ = make_table(2, Setting("factory", SCENES[:1], seeds=(0,)))
    table = table.only(["dmad", "ours", "diff_pooled"])
    dmad, ours = (line.cells[0] for line in table.lines if not line.is_untrained)
    for cell in (dmad, ours):
        write_cell(tmp_path, cell, 1.0)
    path = tmp_path / dmad.folder / "judged.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{name: column[arrays["frame"] >= 4] for name, column in arrays.items()})

    def estimate(*cells):
        data = collected(tmp_path, table, [cell.folder for cell in cells])
        return rows_of(data)["diff_pooled"].numbers["mean"].estimate

    assert estimate(dmad, ours) == estimate(ours) != estimate(dmad)


def test_a_single_seed_of_any_number_meets_the_rows_without_training(filled):
    root, table, found = filled
    there = {folder: auc for folder, auc in found.items() if "/seed2/" in folder}
    data = collected(root, table, there)
    pair = next(d for d in data.differences if "frame difference, mean" in d.text)
    assert (pair.number.done, pair.num_scenes) == (2, 2)


def test_what_is_missing_is_counted_and_never_averaged_as_if_it_were_there(filled):
    root, table, found = filled
    there = {f: auc for f, auc in found.items() if not f.startswith("crane_synthetic/conae/")}
    data = collected(root, table, there)
    conae = rows_of(data)["conae"].numbers
    assert np.isnan(conae["crane_synthetic"].estimate)
    assert (conae["mean"].done, conae["mean"].wanted, conae["mean"].is_whole) == (3, 6, False)
    assert conae["mean"].seeds == ()  # no seed is there in every scene
    text = table_text(data)
    assert "UNFINISHED: 15 of 18 cells" in text
    pair = next(d for d in data.differences if d.text == "our full method above conAE")
    assert (pair.num_scenes, pair.number.done, pair.number.wanted) == (1, 3, 6)
    assert collected(root, table, {}).cells == (0, 18)
    assert table_csv(collected(root, table, {})).count("auc,mean") == 5


def test_kinds_alarms_and_facts(filled):
    root, table, found = filled
    row = rows_of(collected(root, table, found))["ours"]
    assert list(row.kinds) == ["logic", "motion"]
    assert row.alarms["false_alarms_per_hour"] == pytest.approx(30.0)  # 3 in a tenth of an hour
    # the seeds judge the same footage: 6 alarms in 0.2 hours, not 18 in 0.6
    low, high = row.alarms["false_alarms_interval"]
    assert (low, high) == pytest.approx((11.01, 65.3), abs=0.05)  # Garwood's interval of 6
    assert row.alarms["event_recall"] == pytest.approx(0.75)
    assert row.alarms["normal_time_in_alarm"] == pytest.approx(0.2)
    assert set(row.measures) == {"auc_macro", "average_precision", "eer", "fpr_at_95_recall"}
    assert 0.5 < row.measures["average_precision"] < 1
    assert row.facts == {"parameters": 10, "trainable": 5, "steps": 101, "train_seconds": 9}


def test_every_trained_cell_of_a_table_is_that_of_a_job():
    table, pretrainings = make_table(3, Setting("factory", ("crane_real",)))
    folders = {cell.folder for job in jobs_of(table, pretrainings) for cell in job.cells}
    assert folders == {c.folder for line in table.lines for c in line.cells}


def test_a_cell_that_was_not_copied_whole_says_what_to_do(tmp_path):
    table, _ = make_table(2, Setting("factory", SCENES))
    cell = table.lines[0].cells[0]
    write_cell(tmp_path, cell, 1.0)
    with pytest.raises(ValueError, match=r"no column nearest; delete cell\.json"):
        load_judgement(tmp_path, dataclasses.replace(cell, column="nearest"))
    path = tmp_path / cell.folder / "judged.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"is damaged .* delete cell.json beside it"):
        load_judgement(tmp_path, cell)
