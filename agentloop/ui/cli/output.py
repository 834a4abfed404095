"""What every command shares: the store it opens, how it prints, and how it fails."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agentloop.base.errors import AgentloopError
from agentloop.loop import AgentLoop

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="SQLAlchemy URL of the store. [env: AGENTLOOP_DATABASE_URL]",
        show_default="sqlite:///traces/loop.db",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def speaking() -> Iterator[None]:
    """Our errors, and those of files and folders, become one line on stderr and exit status 1;
    anyone else's stay a traceback."""
    try:
        yield
    except AgentloopError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from error
    except BrokenPipeError:
        # `agentloop … | head`: who reads has read enough.
        sys.stderr.close()
        raise typer.Exit(0) from None
    except OSError as error:
        # No room on the disk, a folder that may not be written: whoever calls can mend it.
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"error: {where}{error.strerror or error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@contextmanager
def opened(store: str | None, *, create: bool = False) -> Iterator[AgentLoop]:
    """A loop on the store, closed at the end."""
    with speaking(), AgentLoop(store, create=create) as loop:
        yield loop


def say(text: str) -> None:
    """One line for people, on stderr, so that stdout stays what a program can read."""
    typer.echo(text, err=True)


def document(body: Any) -> None:
    """One JSON document on stdout."""
    text = json.dumps(body, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a lone surrogate, or a terminal of few letters
        text = json.dumps(body, indent=2, default=str)
    sys.stdout.write(f"{text}\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout; numbers stand right. The first column is never broken: it has the ids
    that the next command wants."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    materialised = [tuple(row) for row in rows]
    for n, name in enumerate(columns):
        numbers = materialised and all(
            isinstance(row[n], int | float) or row[n] is None for row in materialised
        )
        justify: JustifyMethod = "right" if numbers else "left"
        drawn.add_column(name, justify=justify, overflow="fold", no_wrap=n == 0)
    for row in materialised:
        drawn.add_row(*[_cell(value) for value in row])
    out.print(drawn)


def labelled(lines: Iterable[tuple[str, str]]) -> None:
    """What each line is about, and the line, broken between words; said once of lines that follow
    each other."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    before = None
    for about, line in lines:
        drawn.add_row("" if about == before else about, _cell(line))
        before = about
    out.print(drawn)


def indented(*paragraphs: str, command: str | None = None) -> None:
    """Paragraphs, broken between words, and a command that is never broken: it will be copied."""
    for text in paragraphs:
        out.print(Padding(Text(text), (0, 0, 0, 2), expand=False), soft_wrap=False)
    if command is not None:
        out.print(Text(f"  $ {command}"))


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case _:
            # Square brackets of data are no markup.
            return str(value).replace("[", r"\[")
