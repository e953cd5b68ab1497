"""Tables as data: rows share trainings, pretraining comes first, shares hold each training once."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.reproduce.methods import FACTORY_SCENES, Setting, default_scenes, make_table
from ipad_jax.reproduce.plan import (
    Budget,
    Cell,
    Job,
    Line,
    Scoring,
    Table,
    Training,
    jobs_of,
    shares,
)
from ipad_jax.reproduce.published import scenes

FACTORY = Setting("factory", FACTORY_SCENES)
IPAD = Setting("ipad", scenes(), protocol="paper")


def jobs(number, setting=FACTORY):
    return jobs_of(*make_table(number, setting))


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("setting", [FACTORY, IPAD], ids=["factory", "ipad"])
def test_every_cell_has_one_job_and_starts_come_first(number, setting):
    table, pretrainings = make_table(number, setting)
    found = jobs_of(table, pretrainings)
    folders = [job.training.folder for job in found]
    assert len(folders) == len(set(folders))
    cells = {cell.folder for line in table.lines if not line.is_untrained for cell in line.cells}
    assert {cell.folder for job in found for cell in job.cells} == cells
    for place, folder in enumerate(folders):
        start = found[place].training.start
        assert not start or start in folders[:place], folder


def test_a_night_on_two_cores_is_enough():
    two, three, four = (
        jobs(number, Setting("factory", default_scenes("factory", number))) for number in (2, 3, 4)
    )
    assert len(two) == 8 * 4 * 3  # methods, scenes, seeds
    both = {job.training.folder for job in (*two, *four)}
    assert len(both) - len(two) == 4 * 3  # what Table 4 adds: memory without phase
    assert len(both) + len(three) <= 210  # about 200, some of them on a fifth of the footage


def test_own_footage_is_judged_by_table_2_alone():
    own = Setting("video_folder", ("press7",))
    table, pretrainings = make_table(2, own)
    assert not pretrainings
    assert table.groups == {"mean": ("press7",)}
    configs = {job.training.config for job in jobs_of(table)}
    assert configs == {
        "video_folder",
        *(
            f"{name}:video_folder"
            for name in ("conae", "memae", "astnet", "dmad", "vswint", "convlstm")
        ),
    }
    assert not any(line.published for line in table.lines)  # the paper's are of other footage
    for number, names in ((3, ("press7",)), (4, ("press7",)), (2, ())):
        with pytest.raises(ValueError, match="on own footage take table 2 with"):
            make_table(number, dataclasses.replace(own, scenes=names))


def test_own_footage_with_a_cycle_is_trained_with_the_phase():
    own = Setting("video_folder", ("press7", "walkway"), cycles=frozenset({"press7"}))
    table, _ = make_table(2, own)
    for line in table.lines:
        if line.is_untrained:
            continue
        configs = {cell.scene: cell.training.config for cell in line.cells}
        if line.name in ("ipad", "ours"):
            assert configs == {"press7": "video_folder:cycle", "walkway": "video_folder"}
        else:  # has no phase
            assert configs == dict.fromkeys(own.scenes, f"{line.name}:video_folder")


def test_what_was_tuned_on_or_seen_is_in_no_table():
    for number in (2, 3, 4):
        table, _ = make_table(number, FACTORY)
        assert not [s for s in table.scenes if s.startswith(("lift", "arm"))]
        for job in jobs(number):
            assert job.training.overrides["data.variant"] == "seed1"
    with pytest.raises(ValueError, match=r"lift_real: the lift was tuned on"):
        make_table(2, dataclasses.replace(FACTORY, scenes=("lift_real",)))


def test_switches_of_scoring_retrain_nothing():
    table, _ = make_table(4, FACTORY)
    lines = {line.name: line for line in table.lines}
    trainings = {name: {c.training.folder for c in line.cells} for name, line in lines.items()}
    assert trainings["full"] == trainings["memory_without_window"] == trainings["period_only"]
    assert trainings["nearest"] == trainings["window_without_memory"]
    for leaf in ("register", "track_phase"):
        assert trainings[f"ours_without_{leaf}"] == trainings["ours"]
    assert not trainings["full"] & trainings["window_without_memory"]  # memory: trained
    assert not trainings["reconstruction_only"] & trainings["head_only"]  # period head: trained
    two = {line.name: line for line in make_table(2, FACTORY)[0].lines}
    alone = [cell.training for cell in lines["reconstruction_only"].cells]
    assert alone == [cell.training for cell in two["vswint"].cells]
    assert len(jobs(4)) == 4 * 8 * 3
    # each cell of a training is another way of scoring
    for job in jobs(4):
        assert len({cell.scoring.name for cell in job.cells}) == len(job.cells)


def test_the_untrained_rows_are_beside_every_trained_one():
    for number in (2, 3, 4):
        table, _ = make_table(number, FACTORY)
        assert {line.name for line in table.lines if line.is_untrained} == {
            "diff_mean",
            "diff_pooled",
        }
        (line,) = [line for line in table.lines if line.name == "diff_pooled"]
        assert {cell.column for cell in line.cells} == {"diff_pooled"}
        assert {cell.scene for cell in line.cells} == set(table.scenes)


def test_protocol_paper_scores_as_the_paper_and_holds_nothing_out():
    table, _ = make_table(2, IPAD)
    assert "ours" not in [line.name for line in table.lines]
    (cell, *_) = next(line for line in table.lines if line.name == "ipad").cells
    assert cell.scoring.leaves["stride"] == cell.scoring.leaves["spacing"] == 1
    assert cell.training.overrides["data.holdout_share"] == 0.0
    assert cell.training.config == "ipad:paper"


def test_table_3_judges_the_synthetic_training_on_the_real_scene():
    table, _ = make_table(3, FACTORY)
    assert table.scenes == tuple(s for s in FACTORY_SCENES if s.endswith("_real"))
    (cell, *_) = next(line for line in table.lines if line.name == "synthetic").cells
    assert cell.training.overrides["data.name"] == "conveyor_synthetic"
    assert cell.scene == "conveyor_real"
    assert cell.folder == f"{cell.training.folder}/scenes/conveyor_real/eval/strict_transfer"
    few = next(line for line in table.lines if line.name == "few_shot_adapters").cells[0].training
    assert Budget(100.0).scaled(few.footage).seconds == pytest.approx(
        20.0
    )  # a fifth of the footage
    whole = next(line for line in table.lines if line.name == "few_shot_adapters_all").cells[0]
    before = next(j.training for j in jobs(3) if j.training.folder == whole.training.start)
    assert before.footage == 6
    assert "lift_synthetic" in before.overrides["data.name"]
    note = next(note for note in table.notes if note.startswith("Trained parameters"))
    assert "pretrained on the twin, full fine-tuning: 35.9M, 17 min" in note


def chain(text, footage=1.0, start=""):
    return Training(text, "factory", {}, 0, start, footage)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(0, 30), max_size=30))
def test_shares_hold_every_job_once_and_keep_starts_together(count, starts):
    found = []
    for place, start in enumerate(starts):
        before = str(start) if start < place else ""
        found.append(Job(chain(str(place), 1.0 + place % 3, before), ()))
    divided = shares(found, count)
    assert len(divided) == count
    assert sorted(j.training.folder for share in divided for j in share) == sorted(
        j.training.folder for j in found
    )
    for share in divided:
        names = [job.training.folder for job in share]
        for place, job in enumerate(share):
            assert not job.training.start or job.training.start in names[:place]


def test_shares_of_independent_trainings_are_even():
    sizes = [len(share) for share in shares(jobs(2), 16)]
    assert sizes == [12] * 16
    with pytest.raises(ValueError, match="--of 0"):
        shares(jobs(2), 0)


def test_machines_have_few_scenes():
    """One each where there are as many, half of one where there are twice as many, else neighbours."""

    def scenes(some):
        return list(dict.fromkeys(job.training.overrides["data.name"] for job in some))

    found = jobs(2)
    names = scenes(found)
    assert [scenes(share) for share in shares(found, len(names))] == [[name] for name in names]
    halves = [scenes(share) for share in shares(found, 2 * len(names))]
    assert halves == [[name] for name in names for _ in range(2)]
    for share in shares(found, 3):
        places = sorted(names.index(name) for name in scenes(share))
        assert places == list(range(places[0], places[-1] + 1))


def test_one_machine_runs_the_table_in_its_order():
    assert shares(jobs(2), 1) == [jobs(2)]


def test_rows_can_be_chosen_and_unknown_ones_are_named():
    table, _ = make_table(2, FACTORY)
    some = table.only(["ours", "conae", "diff_pooled"])
    assert [line.name for line in some.lines] == ["conae", "ours", "diff_pooled"]
    assert {(c.first, c.second) for c in some.comparisons} == {
        ("ours", "conae"),
        ("ours", "diff_pooled"),
    }
    with pytest.raises(ValueError, match=r"no row gan; choose from conae, memae"):
        table.only(["gan"])
    with pytest.raises(ValueError, match="judged beside trained ones"):
        table.only(["diff_mean"])


def test_contradictions_are_refused():
    one, other = chain("a"), chain("a", 2.0)
    way = Scoring("own", {})
    lines = tuple(Line(str(i), "", (Cell(t, way, "s"),)) for i, t in enumerate((one, other)))
    table = Table(2, "", ("s",), {"mean": ("s",)}, lines, (), "strict")
    with pytest.raises(ValueError, match="claim one folder"):
        jobs_of(table)
    lost = Line("0", "", (Cell(chain("a", start="b"), way, "s"),))
    with pytest.raises(ValueError, match="starts from b, which is not in the table"):
        jobs_of(dataclasses.replace(table, lines=(lost,)))
    with pytest.raises(ValueError, match="give one"):
        Budget(1.0, 5)
    with pytest.raises(ValueError, match="none is in --scenes"):
        make_table(3, dataclasses.replace(FACTORY, scenes=("crane_synthetic",)))
