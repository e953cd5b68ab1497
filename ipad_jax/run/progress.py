"""Progress of long work: bars on a terminal, a line now and then where a log is written."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Report = Callable[[int, int], None]  # called with what is done and what there is in all
# Opens a stage of the work by its verb, such as "scoring"; gives its report.
Stages = Callable[[str], AbstractContextManager[Report]]

LOG_EVERY_S = 15.0  # seconds between lines where there is no terminal


class Bars:
    """Bars of what is done and left; a context manager."""

    def __init__(self, stream: TextIO | None = None, *, transient: bool = True):
        """On `stream`, standard error by default; `transient` bars are wiped at the end."""
        self.stream = stream or sys.stderr
        self.progress = None
        if self.stream.isatty():
            self.progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),  # the rest of 80 columns is for words
                TextColumn("{task.fields[count]}", markup=False),
                _NoteOrTime(),
                console=Console(file=self.stream),
                transient=transient,
                # What is printed meanwhile goes above the bars, but never from a file to the terminal.
                redirect_stdout=sys.stdout.isatty(),
            )

    def add(self, what: str, total: int | None = None, unit: str = "frames") -> "Bar":
        """A new bar.

        Args:
          what: the work, a verb such as "scoring".
          total: of the work; None where it is unknown.
          unit: what is counted.
        """
        return Bar(self, what, total, unit)

    def say(self, text: str) -> None:
        """Prints a line above the bars."""
        if self.progress:
            self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, *_) -> None:
        if self.progress:
            self.progress.stop()


class Bar:
    """One work of `Bars`."""

    def __init__(self, bars: Bars, what: str, total: int | None, unit: str):
        self._bars, self._what, self._total, self._unit = bars, what, total, unit
        self._done, self._last = 0, time.monotonic()
        if bars.progress:
            self._task = bars.progress.add_task(what, total=total, count="", note="")

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""
        self.update(self._done + count)

    def update(
        self,
        done: int,
        total: int | None = None,
        *,
        what: str | None = None,
        share: float | None = None,
    ) -> None:
        """Shows the newest state.

        Args:
          done: of `total`; the total stays where None is given.
          what: another name for the work.
          share: how far the bar is, in [0, 1], where it does not follow from `done`.
        """
        self._done, self._total = done, self._total if total is None else total
        self._what = self._what if what is None else what
        if self._bars.progress:
            of = f"/{self._total:,}" if self._total else ""
            far = done if share is None or not self._total else share * self._total
            self._bars.progress.update(
                self._task,
                description=self._what,
                completed=far,
                total=self._total,
                count=f"{done:,}{of}",
            )
        elif time.monotonic() - self._last > LOG_EVERY_S:
            self._last = time.monotonic()
            of = f" of {self._total:,}" if self._total else ""
            self._bars.say(f"{self._what}: {done:,}{of} {self._unit}")

    def note(self, text: str) -> None:
        """Shows `text` in place of the time that is left; a log has no such place."""
        if self._bars.progress:
            self._bars.progress.update(self._task, note=text)


class _NoteOrTime(ProgressColumn):
    """A bar's own note, else the time that is left."""

    def __init__(self) -> None:
        super().__init__()
        self._time = TimeRemainingColumn()

    def render(self, task: Task) -> Text:
        note = task.fields["note"]
        return Text(note) if note else self._time.render(task)


@contextmanager
def frame_progress(what: str, unit: str = "frames") -> Iterator[Callable[[int, int], None]]:
    """Yields a function to call with (frames done, frames in all) of one work, such as "scoring".

    `unit` is what is counted, in the plural.
    """
    with Bars() as bars:
        yield bars.add(what, unit=unit).update
