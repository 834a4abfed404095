"""How far a file has been read: a bar on a terminal, nothing anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from agentloop.ui.cli.output import err

SHOWN_SECONDS = 0.1
"""How often the bar is drawn anew, at most."""


class Line:
    """The line of a file that has been reached."""

    def __init__(self, bar: Progress | None, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._furthest = 0
        self._again = 0.0

    def reach(self, number: int) -> None:
        """Line `number` is done. Where the lines of a trace stand apart they come in any order;
        the bar never goes back."""
        if self._bar is None or number <= self._furthest:
            return
        self._furthest = number
        if (now := monotonic()) >= self._again:
            self._again = now + SHOWN_SECONDS
            self._bar.update(self._task, completed=number)


@contextmanager
def progress(file: Path, *, quiet: bool = False) -> Iterator[Line]:
    """A bar on stderr while `file` is read, gone afterwards; no bar where stderr is no terminal, or
    with `quiet`."""
    if quiet or not err.is_terminal:
        yield Line(None, TaskID(0))
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True) as bar:
        task = bar.add_task(file.name, total=_lines(file))
        yield Line(bar, task)


def _lines(file: Path) -> int | None:
    """How many lines a file has, None when it cannot be read: whoever reads it says why."""
    try:
        with file.open("rb") as opened:
            ends = sum(piece.count(b"\n") for piece in iter(lambda: opened.read(1 << 20), b""))
            return ends + 1
    except OSError:
        return None
