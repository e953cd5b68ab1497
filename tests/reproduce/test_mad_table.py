"""The table of objects from any side: its rows, PAD's numbers, and what performance depends on."""

import re

import numpy as np
import pytest
from scipy.stats import spearmanr

from ipad_jax.commands import reproduce
from ipad_jax.data_builders.mad.archive import SIM_CLASSES
from ipad_jax.data_builders.toys.animals import ANIMALS
from ipad_jax.main import main
from ipad_jax.reproduce import mad_attributes
from ipad_jax.reproduce.collect import Folder, collect
from ipad_jax.reproduce.mad_attributes import (
    ATTRIBUTES,
    FEWEST,
    LEVELS,
    Correlation,
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


def appendices(monkeypatch, scenes, data="toys"):
    """What stands below a table whose main row has the numbers of a line through its objects' complexity."""
    table = mad_table(Setting(data, scenes, (0,), variant=""))
    complexity = {
        name: found["shape_complexity"] for name, found in attributes_of(data, scenes).items()
    }

    def measures(folder, line):
        if line.name != MAIN:
            return {}
        nan = {"pixel_auroc": np.nan}
        return {s: {"image_auroc": 0.9 - value / 1000, **nan} for s, value in complexity.items()}

    monkeypatch.setattr(mad_attributes, "image_measures", measures)
    setting = Setting(data, scenes, (0,), variant="")
    return table, mad_attributes.appendices_of(Folder("nowhere", frozenset()), table, setting)


def test_pads_numbers_and_their_correlations_stand_below_without_any_run(monkeypatch):
    table = mad_table(Setting("toys", ("cat",), (0,), variant=""))
    setting = Setting("toys", ("cat",), (0,), variant="")
    printed, of_pad = mad_attributes.appendices_of(Folder("nowhere", frozenset()), table, setting)
    assert all(any(line.startswith(name) for line in printed.lines) for name in SIM_CLASSES)
    row = published()["rows"]["paper"]["pixel"]
    expected = spearmanr(published()["shape_complexity"], row).statistic
    (line,) = (line for line in of_pad.lines if line.startswith("OmniposeAD"))
    assert f"{expected:+.2f} (" in line
    assert line.count("n 20") == 4
    assert of_pad.figure.startswith("<svg")


def test_our_own_numbers_are_correlated_with_the_attributes_of_all_six_animals(monkeypatch):
    scenes = tuple(ANIMALS)
    table, (*_, own, found) = appendices(monkeypatch, scenes)
    assert any("hound, duck: tuned on" in note for note in table.notes)
    assert not any(
        "tuned on" in note for note in mad_table(Setting("toys", ("cat",), (0,), variant="")).notes
    )
    assert all(name in own.lines[0] for name in scenes)
    (line,) = (line for line in found.lines if line.startswith("omnipose"))
    assert re.search(rf"-1\.00 \(n {len(scenes)}\)", line)  # falls with complexity
    assert line.count("n 6") == 2  # of images; nothing is known of pixels
    assert found.figure.startswith("<svg")


def test_three_objects_have_no_correlation_and_are_told_of_more(monkeypatch):
    _, (*_, found) = appendices(monkeypatch, ("cat", "turtle", "camel"))
    assert "3 objects are too few" in found.lines[0]
    assert "--scenes" in found.lines[0]
    assert not found.figure


def test_the_plot_has_each_correlation_where_it_belongs():
    nothing = Correlation(np.nan, np.nan, np.nan, 3)
    pairs = [(attribute, level) for attribute in ATTRIBUTES for level in LEVELS]
    ours = dict(
        zip(
            pairs,
            [Correlation(0.5, 0.1, 0.8, 6), nothing, Correlation(1.0, np.nan, np.nan, 6), nothing],
        )
    )
    other = dict(zip(pairs, [Correlation(-0.3, -0.7, 0.2, 6)] * 4))
    figure = mad_attributes.plot({"ours": ours, "other": other})
    shape, contrast = figure.axes
    marks = [
        sorted(
            (float(x), round(float(y)))
            for line in axes.lines
            if line.get_marker() == "o"
            for x, y in line.get_xydata()
        )
        for axes in (shape, contrast)
    ]
    assert marks[0] == [(-0.3, 0), (-0.3, 0), (0.5, 1)]  # the first row above
    assert marks[1] == [(-0.3, 0), (-0.3, 0), (1.0, 1)]
    bars = [line for line in shape.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 2]
    assert sorted(tuple(line.get_xdata()) for line in bars) == [
        (-0.7, 0.2),
        (-0.7, 0.2),
        (0.1, 0.8),
    ]
    assert [text.get_text() for text in shape.get_yticklabels()] == ["other", "ours"]


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
