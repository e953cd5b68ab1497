"""Tables as plain text, for terminals, logs and files alike."""

import io
import shutil
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

_UNLIMITED = 10_000  # columns


@dataclass(frozen=True)
class Table:
    """Cells under their heads; `str` of it is plain text as wide as it needs to be.

    Attributes:
      title: a line above, "" for none.
      columns: heads.
      rows: cells, as many as heads; fewer leave the last ones empty.
      notes: lines below.
      left: indices of the columns of words, aligned to the left; the others hold numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    left: tuple[int, ...] = (0,)

    def text(self, width: int = _UNLIMITED) -> str:
        """The table in lines of at most `width` columns, where its numbers leave room: words are wrapped."""
        table = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for i, head in enumerate(self.columns):
            words = i in self.left
            table.add_column(
                Text(head), justify="left" if words else "right", no_wrap=not words, overflow="fold"
            )
        for row in self.rows:
            table.add_row(*map(Text, row))
        # Numbers are never cut: a table of many of them is wider than asked for.
        smallest = sum(self._widest(i) + 2 for i in range(len(self.columns)))
        lines = _lines(table, max(width, smallest))
        below = ["", *self.notes] if self.notes else []
        return "\n".join([*([self.title, ""] if self.title else []), *lines, *below])

    def __str__(self) -> str:
        return self.text()

    def _widest(self, column: int) -> int:
        """Columns of the screen that the table cannot do without here."""
        if column in self.left:
            return 12  # a word or two a line
        return max(len(row[column]) for row in (self.columns, *self.rows) if len(row) > column)


def _lines(table: RichTable, width: int) -> list[str]:
    """The rendered lines, without colour."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as rendered:
        console.print(table, highlight=False)
    return [line.rstrip() for line in rendered.get().splitlines()]


def screen_width() -> int:
    """Columns of the terminal; no limit where standard output is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
