"""`agentloop import`, `traces`, `rate`, `correct`, `outcome`, `feedback`: what happened, and what
it was worth."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from agentloop import scale
from agentloop.base.errors import NotFound, RecordError
from agentloop.base.records import Judged
from agentloop.capture.importers import FORMATS, Imported, Problem
from agentloop.ui.cli.output import AsJson, StoreUrl, document, opened, out, say, table
from agentloop.ui.cli.progress import progress


class Format(StrEnum):
    """What traces are written as."""

    CHAT = "chat"
    PARQUET = "parquet"


traces = typer.Typer(no_args_is_help=True, help="Look at what agents did.")
feedback = typer.Typer(no_args_is_help=True, help="Opinions and outcomes from files.")

TraceId = Annotated[str, typer.Argument(help="Id of a trace, see `agentloop traces list`.")]
Author = Annotated[str, typer.Option("--by", help="Who says so: a user id, a rule's name.")]


NOTES = 20
"""So many remarks of an import are told one by one."""


def import_(
    files: Annotated[
        list[Path], typer.Argument(help="Files, one or many traces in each.", metavar="FILE…")
    ],
    format: Annotated[
        str, typer.Option(help=f"One of: auto, {', '.join(sorted(FORMATS))}.")
    ] = "auto",
    agent: Annotated[str | None, typer.Option(help="Agent of traces that name none.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Store traces of other origin; a bad line is told and stops nothing.

    What was odd about a trace and how it was taken is a note: a span that came twice, a call of
    which not all is known (it makes no row).

    Example: agentloop import spans.jsonl --format openai-trace --agent support
    """
    told = Told(keep=as_json)
    with opened(store, create=True) as loop:
        for file in files:
            with progress(file, quiet=as_json) as line:
                for item in loop.import_file(file, format=format, agent=agent):
                    line.reach(item.line)
                    told.take(file, item)
        if as_json:
            said = {"imported": told.imported, "problems": told.problems, "notes": told.notes}
            document({**said, "store": loop.store.name})
        else:
            out.print(f"{told.imported} traces -> {loop.store.name}")
            for note in told.notes:
                say(f"note: {note['file']}: trace {note['trace']}: {note['note']}")
            if told.more_notes:
                say(f"note: {told.more_notes} more of these; --json lists them all")
    if told.refused:
        say(f"error: {told.refused} lines were not imported")
        raise typer.Exit(1)


class Told:
    """What an import tells. Without `keep` it remembers a few remarks, however many there are."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self.imported = self.refused = self.more_notes = 0
        self.problems: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []

    def take(self, file: Path, item: Imported | Problem) -> None:
        """Count an item, and tell a problem at once."""
        if isinstance(item, Problem):
            say(f"{file}:{item.line}: {item.why}")
            self.refused += 1
            if self._keep:
                self.problems.append({"file": str(file), "line": item.line, "why": item.why})
            return
        self.imported += 1
        for note in item.notes:
            if self._keep or len(self.notes) < NOTES:
                self.notes.append({"file": str(file), "trace": item.trace.id, "note": note})
            else:
                self.more_notes += 1


@traces.command("list")
def list_(
    agent: Annotated[str | None, typer.Option(help="Only traces of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """The latest traces.

    Example: agentloop traces list --agent support --limit 5
    """
    with opened(store) as loop:
        found = [
            _summary(judged)
            for judged in loop.judged(agents=[agent] if agent else None, limit=limit)
        ]
    if as_json:
        document(found)
    else:
        columns = ("trace", "agent", "started_at", "calls", "tokens", "score", "error", "answer")
        table(columns, [[row[name] for name in columns] for row in found])


@traces.command()
def show(trace: TraceId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """One trace: its messages, what it was worth, and what learned from it.

    Example: agentloop traces show trace_1f…
    """
    with opened(store) as loop:
        judged = loop.judgement(trace)
        lessons = list(loop.ledger.lessons(trace))
    datasets = {one.dataset for one in lessons}
    versions = {version for one in lessons for version in one.versions}
    if as_json:
        body = judged.model_dump(mode="json", exclude_none=True)
        told = [{"dataset": x.dataset, "file": x.place.file, "line": x.place.line} for x in lessons]
        document({**body, "datasets": sorted(datasets), "rows": told, "versions": sorted(versions)})
        return
    one = judged.trace
    out.print(f"[bold]{one.id}[/bold]  agent {one.agent}, {one.started_at:%Y-%m-%d %H:%M:%S} UTC")
    facts = {
        "user": one.user,
        "session": one.session,
        "task": one.task_id,
        "version": one.version,
        "trial": one.trial and f"{one.trial} ({one.arm})",
        "error": one.error,
        "capture": None if one.capture == "full" else one.capture,
        "consent": None if one.consent else "no: never learned from",
        "score": judged.score,
    }
    out.print("  ".join(f"{name} {value}" for name, value in facts.items() if value is not None))
    for call in one.calls:
        out.print(f"\n[bold]call {call.index}[/bold]  {call.agent} -> {call.model}", markup=True)
        for message in (*call.context, *([call.output] if call.output else [])):
            said = message.text or " ".join(
                f"{c.function.name}({c.function.arguments})" for c in message.calls
            )
            out.print(f"  {message.role:9} {said}", markup=False)
    for opinion in judged.opinions:
        said = " ".join(
            str(part)
            for part in (
                opinion.score,
                opinion.comment,
                opinion.correction and f"should say: {opinion.correction.text}",
            )
            if part is not None
        )
        out.print(f"  {opinion.source} {opinion.author}: {said}", markup=False)
    for outcome in judged.outcomes:
        out.print(f"  outcome {outcome.name}: {outcome.value}", markup=False)
    for lesson in lessons:
        place, by = lesson.place, ", ".join(lesson.versions)
        learned = f", learned by {by}" if by else ""
        out.print(f"  row {lesson.dataset} {place.file}:{place.line}{learned}", markup=False)


@traces.command()
def export(
    to: Annotated[
        Path, typer.Argument(help="File to write in the format `chat`; for parquet a new folder.")
    ],
    agent: Annotated[str | None, typer.Option(help="Only traces of this agent.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many traces.")] = None,
    format: Annotated[
        Format,
        typer.Option(help="chat is for `agentloop import`, parquet for `harvest --engine ray`."),
    ] = Format.CHAT,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write traces, newest first, and all that was said of them: chat has one line a path.

    Example: agentloop traces export support.jsonl --agent support

    Example: agentloop traces export traces/parquet --format parquet
    """
    agents = [agent] if agent else None
    with opened(store) as loop:
        if format is Format.CHAT:
            written = loop.export_file(to, agents=agents, limit=limit)
        else:
            written = scale.export(loop.judged(agents=agents, limit=limit), to)
    what = {Format.CHAT: "lines", Format.PARQUET: "traces"}[format]
    if as_json:
        document({what: written, "file": str(to)})
    else:
        out.print(f"{written} {what} -> {to}")


def rate(
    trace: TraceId,
    verdict: Annotated[str, typer.Argument(help="up, down, or a score in [0, 1].")],
    by: Author = "cli",
    call: Annotated[str | None, typer.Option(help="Only this call of the trace.")] = None,
    comment: Annotated[str | None, typer.Option(help="Why.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run was worth.

    Example: agentloop rate trace_1f… up --by ann
    """
    with opened(store) as loop:
        loop.rate(trace, _score(verdict), by=by, call=call, comment=comment)
        _said(loop.judgement(trace), as_json)


def correct(
    trace: TraceId,
    text: Annotated[str, typer.Option(help="What the agent should have answered.")],
    by: Author = "cli",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say what the agent should have answered; it will be learned, whatever the score.

    Example: agentloop correct trace_1f… --text "It ships tomorrow." --by ann
    """
    with opened(store) as loop:
        loop.correct(trace, text, by=by)
        _said(loop.judgement(trace), as_json)


def outcome(
    trace: TraceId,
    name: Annotated[str, typer.Argument(help="Name of the outcome, e.g. resolved.")],
    value: Annotated[str, typer.Argument(help="true, false, a number, a label, or null.")],
    reference: Annotated[
        str | None, typer.Option(help="What would have been right, as JSON.")
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say how a task ended, today or next month.

    Example: agentloop outcome trace_1f… resolved true --reference '{"status": "shipped"}'
    """
    with opened(store) as loop:
        loop.outcome(trace, name, _json_or_text(value), reference=_json(reference, "--reference"))
        _said(loop.judgement(trace), as_json)


@feedback.command("import")
def import_feedback(
    file: Annotated[Path, typer.Argument(help="JSON lines, see the example.")],
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Store opinions and outcomes from a file; a bad line is told and stops nothing.

    A line: {"trace": ID, "by": WHO} and `thumbs`, `score`, `comment`, `correction`, or `outcome`
    {NAME: VALUE} with `reference`.

    Example: agentloop feedback import thumbs.jsonl
    """
    stored, problems = 0, []
    with opened(store) as loop:
        try:
            # By newline alone: JSON texts may hold what else Python takes for the end of a line.
            lines = file.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise RecordError(f"cannot read {file}: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                loop.take_feedback(line)
                stored += 1
            except (RecordError, NotFound) as error:
                problems.append({"file": str(file), "line": number, "why": str(error)})
                say(f"{file}:{number}: {error}")
    if as_json:
        document({"stored": stored, "problems": problems})
    else:
        out.print(f"{stored} lines stored")
    if problems:
        say(f"error: {len(problems)} lines were not stored")
        raise typer.Exit(1)


def _summary(judged: Judged) -> dict[str, Any]:
    trace = judged.trace
    answer = (trace.answer or "").replace("\n", " ")
    return {
        "trace": trace.id,
        "agent": trace.agent,
        "started_at": trace.started_at,
        "calls": len(trace.calls),
        "tokens": trace.usage.total_tokens,
        "score": judged.score,
        "version": trace.version,
        "error": trace.error,
        "answer": answer if len(answer) <= 60 else f"{answer[:59]}…",
    }


def _said(judged: Judged, as_json: bool) -> None:
    if as_json:
        document({"trace": judged.trace.id, "score": judged.score})
    else:
        score = "nothing yet" if judged.score is None else f"{judged.score:.2f}"
        out.print(f"{judged.trace.id} settles at {score}")


def _score(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json(text: str | None, option: str) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise RecordError(f"{option} is no JSON: {error}") from error
