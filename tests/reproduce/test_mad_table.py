"""The table of objects from any side: its rows, PAD's numbers, and what performance depends on."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from ipad_jax.commands import reproduce
from ipad_jax.data_builders.mad.archive import SIM_CLASSES
from ipad_jax.main import main
from ipad_jax.reproduce.collect import Folder, collect
from ipad_jax.reproduce.mad_attributes import (
    ATTRIBUTES,
    FEWEST,
    attributes_of,
    colour_contrast,
    num_triangles,
    spearman,
)
from ipad_jax.reproduce.mad_table import BESIDE, CONSTANT, MAIN, POSE_FREE, mad_table, published
from ipad_jax.reproduce.methods import Setting, default_scenes
from ipad_jax.reproduce.plan import jobs_of


@pytest.mark.parametrize(("data", "oracles"), [("toys", set(BESIDE)), ("mad", set())])
def test_rows_beside_a_method_cost_no_training(data, oracles):
    scenes = default_scenes(data, "mad")
    table = mad_table(Setting(data, scenes, (0, 1), variant=""))
    names = {line.name for line in table.lines}
    trained = {MAIN, "paper", *POSE_FREE}
    assert names == trained | oracles | {CONSTANT, "nearest_image"}
    assert len(jobs_of(table)) == len(trained) * len(scenes) * 2
    assert {c.second for c in table.comparisons} == names - {MAIN, CONSTANT}
    data_of_it = collect(Folder("nowhere", frozenset()), table, (0, 0), "", (0, 1))
    assert data_of_it.cells == (0, len(trained) * len(scenes) * 2)


def test_published_numbers_stand_beside_all_of_mad_alone():
    def of(scenes):
        lines = mad_table(Setting("mad", scenes, (0,), variant="")).lines
        return {line.name: line.published for line in lines}

    gorilla = SIM_CLASSES[0]
    every, one = of(SIM_CLASSES), of((gorilla,))
    assert every["patchcore"]["mean"] == 78.5
    assert "mean" not in one["patchcore"]
    assert one["patchcore"][gorilla] == every["patchcore"][gorilla] == 66.8
    assert not every["bank"]  # no paper has it


def test_the_means_of_the_rows_are_those_that_were_computed_from_the_page_apart():
    """By hand from PAD's README, to one digit; where PAD's own differ, its rows are still what is here."""
    apart = {
        "pixel": (74.9, 89.3, 86.3, 90.8, 89.4, 59.3, 58.0, 89.6, 88.5, 89.1, 98.3),
        "image": (78.5, 59.5, 60.8, 71.3, 68.4, None, 60.9, 58.0, None, 61.9, 90.9),
    }
    for level, means in apart.items():
        for (name, row), mean in zip(published()["rows"].items(), means, strict=True):
            assert bool(row[level]) == (mean is not None), name
            if mean is not None:
                assert np.mean(row[level]) == pytest.approx(mean, abs=0.0501), name


def test_the_rank_correlation_is_scipys_and_its_interval_holds_the_true_one():
    rng = np.random.default_rng(0)
    true = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's of a normal pair with correlation 0.6
    held = 0
    for _ in range(300):
        x = rng.normal(size=40)
        y = 0.6 * x + 0.8 * rng.normal(size=40)
        found = spearman(x, y)
        assert found.estimate == pytest.approx(spearmanr(x, y).statistic)
        held += found.low <= true <= found.high
    # 95 % of 300 is 285, standard deviation 3.8; three of them either way
    assert 273 <= held <= 297


def test_a_correlation_needs_objects_that_differ():
    few = list(range(FEWEST - 1))
    assert np.isnan(spearman(few, few).estimate)
    assert np.isnan(spearman([1.0] * 9, range(9)).estimate)
    holes = [0, np.nan, 1, 2, 3, 4]
    assert spearman(holes, holes).count == 5


def test_attributes_of_a_toy():
    """One more solid is more triangles; grey has no contrast of colour, two colours have their distance."""
    found = attributes_of("toys", ("cat", "duck_48px_n24-2-2", "strange"))
    assert found.keys() == {"cat", "duck_48px_n24-2-2"}
    assert sorted(v["shape_complexity"] for v in found.values()) == [0, 100]
    larger = max(("cat", "duck"), key=num_triangles)
    assert found[next(n for n in found if n.startswith(larger))]["shape_complexity"] == 100
    assert all(v.keys() == ATTRIBUTES.keys() and v["colour_contrast"] > 1 for v in found.values())
    everywhere = np.ones((8, 8), bool)
    grey = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8).repeat(3, -1)
    assert colour_contrast(grey, everywhere) < 0.1
    red = np.zeros((8, 8, 3), np.uint8)
    red[:4, :, 0] = 255
    assert (
        colour_contrast(red, everywhere) > 30 > colour_contrast(red, everywhere & (red[..., 0] > 0))
    )


def test_what_would_run_is_said_before(tmp_path, capsys):
    assert reproduce.main(["--table", "mad", "--list", "--workdir", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "117 trainings" in text
    assert "leave it out there with --rows" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [["--data", "factory"], ["--protocol", "paper"], ["--data-seed", "2"]]
)
def test_options_of_another_table_are_refused(words, capsys):
    assert main(["reproduce", "--table", "mad", *words]) == 2
    assert "--table mad takes --data toys or mad" in capsys.readouterr().err
