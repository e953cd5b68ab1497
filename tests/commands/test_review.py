"""`ipad-jax review` on a terminal: what a person types becomes marks."""

import os
import select
import subprocess
import sys

import pytest

from ipad_jax.run.config import load_config, save_config
from ipad_jax.video.detector.marks import listed

pty = pytest.importorskip("pty", reason="pseudo-terminals are of Unix")


@pytest.fixture
def events(tmp_path):
    """events.csv of four alarms, in a run folder."""
    save_config(tmp_path, load_config("video_folder:tiny"))
    folder = tmp_path / "detect" / "day"
    folder.mkdir(parents=True)
    path = folder / "events.csv"
    times = [(1, 2), (5, 6), (9, 11), (14, 15)]
    rows = [f"{a}.000,{b}.000,{a}.500,4.2,2.10" for a, b in times]
    path.write_text("\n".join(["start_s,end_s,peak_s,peak_score,strength", *rows, ""]))
    return path


class Terminal:
    """A command on a pseudo-terminal of its own."""

    def __init__(self, *words):
        self.ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "ipad_jax.main", *words]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def until(self, text):
        """What is shown up to and with `text`."""
        shown = ""
        while text not in shown:
            assert select.select([self.ours], [], [], 60)[0], f"no {text!r} in {shown!r}"
            try:
                shown += os.read(self.ours, 4096).decode()
            except OSError:  # the other end is closed
                break
        assert text in shown, shown
        return shown

    def type(self, text):
        """Types text."""
        os.write(self.ours, text.encode())

    def leave(self):
        """The exit status."""
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            os.close(self.ours)


@pytest.mark.slow  # a process of its own
def test_a_person_marks_events_one_after_the_other(events):
    workdir = str(events.parents[2])
    terminal = Terminal("review", "--workdir", workdir, "--events", str(events))
    assert "1.0 to" in terminal.until("Enter: none >")
    terminal.type("what?\n")  # no answer: asked again
    assert "1.0 to" in terminal.until("Enter: none >")
    terminal.type("n\n")
    assert "5.0 to" in terminal.until("Enter: none >")
    terminal.type("\n")
    assert "9.0 to" in terminal.until("Enter: none >")
    terminal.type("Fault\n")
    assert "14.0 to" in terminal.until("Enter: none >")
    terminal.type("\x04")  # Ctrl-D: the end of the input
    shown = terminal.until("next: ipad-jax learn --workdir")
    assert "2 of 4 events are marked: 1 normal, 1 fault, 0 unsure" in shown
    assert terminal.leave() == 0
    assert [event.mark for event in listed(events)] == ["normal", "", "fault", ""]
