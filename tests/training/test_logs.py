"""metrics.jsonl, events and the progress line."""

import json
import sys

import pytest

from ipad_jax.training.logs import MetricsWriter, ProgressLine, read_metrics


def test_lines_are_on_the_disk_at_once_and_in_order(tmp_path):
    writer = MetricsWriter(tmp_path, 1)
    writer.write(1, {"loss": 0.5})
    writer.write(2, {"loss": 0.25, "val/loss": 1.0})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()  # before it is closed
    writer.close()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.25, "val/loss": 1.0},
    ]
    assert list(tmp_path.glob("events.*"))


def test_resuming_repeats_no_step_and_mends_a_torn_line(tmp_path):
    with MetricsWriter(tmp_path, 1) as writer:
        for step in range(1, 6):
            writer.write(step, {"loss": step / 10})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    with MetricsWriter(tmp_path, 4) as writer:  # the last checkpoint was at step 3
        writer.write(4, {"loss": 9.0})
    rows = read_metrics(tmp_path)
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 9.0)]


def test_a_run_without_metrics_has_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


def test_plain_lines_where_there_is_no_terminal(capsys):
    with ProgressLine(100, unit="rays") as line:
        line.phase("compiling", 0)
        line.phase("training", 0)
        line.move(20, 2.0)
        line.report(20, 0.5, 12.25, 95.0)
        line.report(40, 0.5, 27357.8, 5.0)
    assert capsys.readouterr().out == (
        "compiling ...\nstep 20/100  loss 0.50000  12.2 rays/s  1:35 left\n"
        "step 40/100  loss 0.50000  27,358 rays/s  0:05 left\n"
    )


@pytest.mark.parametrize(
    ("max_seconds", "step", "elapsed", "share"),
    [
        (0.0, 500, 85.0, 0.25),
        (170.0, 200, 85.0, 0.5),
        (170.0, 1500, 85.0, 0.75),
        (1.0, 5, 2.0, 1.0),
    ],
)
def test_the_bar_follows_steps_or_the_budget(monkeypatch, max_seconds, step, elapsed, share):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    line = ProgressLine(2000, max_seconds)
    line.phase("compiling", 0)
    (task,) = line.bars.progress.tasks
    assert (task.description, task.completed) == ("compiling", 0)
    line.move(step, elapsed)
    line.report(step, 0.5, 12.0, 85.0)
    assert (task.description, task.completed / task.total) == ("training", share)
    assert task.fields["count"] == f"{step:,}/2,000"
    assert task.fields["note"].endswith("1:25 left")  # ours: a budget ends before the steps do


def test_a_callback_gets_the_figures_and_nothing_is_printed(capsys):
    seen = []
    with ProgressLine(100, callback=seen.append) as line:
        line.phase("compiling", 10)
        line.report(20, 0.5, 12.0, 95.0)
        line.say("not for the screen")
    assert seen[0] == {"step": 10, "total_steps": 100, "phase": "compiling"}
    assert seen[1] == {
        "step": 20,
        "total_steps": 100,
        "phase": "training",
        "loss": 0.5,
        "clips_per_second": 12.0,
        "seconds_left": 95.0,
    }
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("bad", [{"loss": object()}])
def test_what_json_cannot_hold_is_an_error(tmp_path, bad):
    with MetricsWriter(tmp_path, 1) as writer, pytest.raises(TypeError):
        writer.write(1, bad)
