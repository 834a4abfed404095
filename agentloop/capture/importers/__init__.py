"""Traces of other origin. One file a format, one line in `FORMATS`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from agentloop.base.errors import ConfigError, RecordError
from agentloop.base.records import Judged
from agentloop.base.records.message import verbatim
from agentloop.base.store import Storable, Store
from agentloop.base.store.seen import Seen, Sight
from agentloop.capture.importers.atif import read_atif
from agentloop.capture.importers.chat import read_chat, to_chat
from agentloop.capture.importers.langfuse import read_langfuse
from agentloop.capture.importers.openai_trace import read_openai_trace
from agentloop.capture.importers.otlp import read_openinference, read_otlp
from agentloop.capture.importers.reading import Imported, Problem
from agentloop.capture.importers.telling import told

FORMATS: dict[str, Callable[..., Iterator[Imported | Problem]]] = {
    "atif": read_atif,
    "chat": read_chat,
    "langfuse": read_langfuse,
    "openai-trace": read_openai_trace,
    "openinference": read_openinference,
    "otlp": read_otlp,
}
"""Format -> what reads a file of it."""

BATCH = 100
"""Traces in one transaction."""


def import_file(
    file: Path, store: Store, *, format: str = "auto", agent: str | None = None
) -> Iterator[Imported | Problem]:
    """Store the traces of a file, and yield each when it is stored. A second import adds nothing.
    Memory does not grow with a file of lines, nor with how many traces are in it.

    Args:
        format: a name in `FORMATS`; `auto` looks at what the file begins with.
        agent: the agent of traces that name none; by default the name of the file.

    Raises:
        ConfigError: there is no such format.
        RecordError: the file cannot be opened, or its format cannot be told.
    """
    name = told(file) if format == "auto" else format
    if name not in FORMATS:
        known = ", ".join(["auto", *sorted(FORMATS)])
        raise ConfigError(f"no format {format!r}; known: {known}")
    with Seen() as seen:
        items = _told_apart(FORMATS[name](file, agent=agent), seen)
        while batch := list(islice(items, BATCH)):
            yield from _stored(batch, store)


def export_file(
    file: Path, judged: Iterable[Judged], *, agents: Sequence[str] | None = None
) -> int:
    """Write traces in the format `chat`, a line for each path that an agent went; how many.

    Raises:
        RecordError: the file cannot be written; an earlier one stays as it was.
    """
    written = 0
    draft = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as lines:
            for one in judged:
                for body in to_chat(one, agents=agents):
                    lines.write(verbatim(body) + b"\n")
                    written += 1
        draft.replace(file)
    except OSError as error:
        raise RecordError(f"cannot write {file}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return written


def _told_apart(items: Iterable[Imported | Problem], seen: Seen) -> Iterator[Imported | Problem]:
    """The items; one that has the id of an earlier one and says something else is a problem, for
    it would take the place of that one."""
    for item in items:
        if isinstance(item, Imported):
            line, content = seen.first(item.trace.id, Sight(item.line, item.content))
            if content != item.content:
                why = f"line {line} has the id {item.trace.id!r} too, and says something else"
                item = Problem(item.line, why)
        yield item


def _stored(items: list[Imported | Problem], store: Store) -> list[Imported | Problem]:
    """The items, those stored that are traces. A trace that was captured here is not overwritten
    by what somebody says of it."""
    new = [item for item in items if isinstance(item, Imported)]
    origins = store.origins([item.trace.id for item in new])
    kept: list[Imported | Problem] = []
    records: list[Storable] = []
    for item in items:
        if isinstance(item, Imported):
            trace = item.trace
            origin = origins.get(trace.id, trace.source)
            if origin != trace.source:
                why = f"trace {trace.id!r} is here already, from {origin!r}"
                kept.append(Problem(item.line, why))
                continue
            records += [trace, *item.opinions, *item.outcomes]
        kept.append(item)
    if records:
        store.put(*records)
    return kept


__all__ = ["FORMATS", "Imported", "Problem", "export_file", "import_file", "read_chat"]
