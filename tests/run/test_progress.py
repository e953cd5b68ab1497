"""Progress: bars where a person looks, lines now and then in a log."""

import io

from ipad_jax.run import progress
from ipad_jax.run.progress import Bars, frame_progress


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with frame_progress("scoring") as show:
        for i in range(100):
            now = float(i)
            show(i, 2_000)
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0] == "scoring: 16 of 2,000 frames"
    assert len(lines) == 99 // 16  # more than 15 s after the last one: every 16th here


def test_a_terminal_gets_bars_with_counts_notes_and_lines_above(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    screen = Screen()
    with Bars(screen, transient=False) as bars:
        store, render = bars.add("store S01", 86), bars.add("render S01")
        for _ in range(86):
            store.advance()
        render.update(3, 12)
        render.note("loss 0.5")
        bars.say("a [line]")
    text = screen.getvalue()
    assert "a [line]" in text
    assert "86/86" in text
    assert "3/12" in text
    assert "loss 0.5" in text


def test_a_bar_can_follow_a_budget_instead_of_the_count():
    with Bars(Screen()) as bars:
        bar = bars.add("", 2000)
        bar.update(200, what="training", share=0.5)
        (task,) = bars.progress.tasks
    assert (task.description, task.completed, task.total) == ("training", 1000, 2000)
    assert task.fields["count"] == "200/2,000"
