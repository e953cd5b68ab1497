"""Runs as the page shows them: what a run folder holds, whatever state it is in."""

import json

import pytest

from ipad_jax.web import figures
from ipad_jax.web.runs import find_runs


def test_the_table_names_each_run_with_its_result(ui):
    page = ui.get("/").text
    assert "runs/press" in page
    assert "91.0 %" in page
    assert "step 3 of 100" in page


def test_a_run_says_what_its_numbers_mean(ui):
    page = ui.get(ui.run_at).text
    for text in (
        "frame AUC",
        "85.0 % to 95.0 %",
        "50 % is guessing",
        "motion",
        "88.0 %",
        "in force",
    ):
        assert text in page, text
    assert "never" in page  # the sustained rule's infinite threshold
    assert f"{ui.run_at}/file/eval/strict/report.html" in page


@pytest.mark.parametrize("damage", ["{", "[]", "null", '"x"', '{"rule": 3}', "\0"])
def test_damaged_files_do_not_break_the_pages(ui, damage):
    for name in ("calibration.json", "eval/strict/metrics.json", "metrics.jsonl"):
        (ui.run / name).write_text(damage)
    for address in ("/", ui.run_at, f"/compare?run={ui.id}", f"{ui.run_at}/curve"):
        assert ui.get(address).status_code == 200, address


def test_a_run_of_nothing_but_a_config(ui):
    for path in sorted(ui.run.rglob("*"), reverse=True):
        if path.name != "config.json":
            path.unlink() if path.is_file() else path.rmdir()
    page = ui.get(ui.run_at).text
    assert "Not calibrated" in page
    assert "Not evaluated" in page


def test_runs_keep_their_ids_and_dotted_folders_are_passed_over(ui, root):
    first = {run.id for run in find_runs((root.resolve(),))}
    assert len(first) == 2
    (root / ".hidden").mkdir()
    (root / ".hidden" / "config.json").write_text('{"task": "video.ipad"}')
    assert {run.id for run in find_runs((root.resolve(),))} == first


def test_comparing_shows_what_differs_and_only_that(ui, root):
    runs = find_runs((root.resolve(),))
    page = ui.get("/compare?" + "&".join(f"run={run.id}" for run in runs)).text
    assert "total_steps" in page
    assert "data.name" not in page
    assert "Tick two" in ui.get("/compare").text
    assert ui.get("/compare?run=0123456789ab").status_code == 404


def test_a_curve_of_many_steps_is_thinned(ui):
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in range(9000)]
    (ui.run / "metrics.jsonl").write_text("\n".join(lines))
    rows = ui.get(f"{ui.run_at}/curve").json()["rows"]
    assert len(rows) <= 2000
    assert rows[-1]["step"] > 8900


def test_differences_of_nested_configs():
    one, two = {"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}
    assert figures.differences([one, two]) == [("a.c", ["2", "3"]), ("d", ["-", "4"])]
    assert figures.differences([one]) == []


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.5, "%", "50.0 %"),
        (float("nan"), "", "-"),
        (None, "", "-"),
        (True, "", "-"),
        (float("inf"), "", "never"),
        (1234.5, "", "1,234"),
        (0.36, " s", "0.36 s"),
    ],
)
def test_numbers_for_a_person(value, unit, text):
    assert figures.shown(value, unit) == text


def test_an_image_run_has_image_figures():
    metrics = {"image_auroc": 0.98, "intervals": {"image_auroc": [0.95, 1.0]}, "auc_micro": 0.1}
    (figure,) = figures.headline(metrics)
    assert (figure.name, figure.value) == ("image AUROC", "98.0 %")
    assert "95.0 % to 100.0 %" in figure.interval


def test_the_pages_are_small(ui):
    """Scripts and styles of all pages together, as they go over the line uncompressed."""
    assets = ("page.css", "page.js", "uPlot.iife.min.js", "uPlot.min.css")
    assert sum(len(ui.get(f"/static/{name}").content) for name in assets) < 150_000
    assert "Leon Sorokin" in ui.get("/static/uPlot.LICENSE.txt").text
