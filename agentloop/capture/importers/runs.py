"""The steps that a tracer wrote down, put together as the run of an agent that they were."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import ValidationError

from agentloop.base.records import Call, Json, Message, Opinion, Outcome, Span, SpanKind, Trace
from agentloop.base.records.record import complaint
from agentloop.base.records.trace import Api, Usage
from agentloop.capture.importers.reading import EPOCH, Imported, Problem
from agentloop.capture.importers.turns import Heard


@dataclass(frozen=True)
class Asked:
    """What a step tells of a model call."""

    words: Heard
    model: str | None = None
    served_model: str | None = None
    settings: Json = field(default_factory=dict)
    response_format: Json | None = None
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    response_id: str | None = None
    previous: str | None = None
    """The response whose conversation this call goes on with; its input is the rest alone."""
    resumes: bool = False
    """Whether the input is only what is new since the last call of the agent."""
    api: Api | None = None
    streamed: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Step:
    """One span, what it is, and what it tells."""

    line: int
    span: Span
    agent: str | None = None
    """The agent that the step is, or says that it belongs to."""
    asked: Asked | None = None
    results: tuple[Message, ...] = ()
    """What tools gave the model, under their names, for calls whose history does not repeat it."""


class Path(NamedTuple):
    """A conversation so far, and whether all of it is known."""

    messages: tuple[Message, ...]
    whole: bool

    @property
    def doubt(self) -> str | None:
        """Why what goes on from here is not whole either."""
        return None if self.whole else "what was said before is not all told"


UNHEARD = "what the model heard is not told"
"""Why a call is incomplete of which no input was kept."""


@dataclass(frozen=True)
class About:
    """What is said of a run as a whole."""

    source: str
    agent: str
    """The agent of a run that names none."""
    workflow: str | None = None
    user: str | None = None
    session: str | None = None
    task_id: str | None = None
    tags: dict[str, str | int | float | bool] = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    start: tuple[Message, ...] = ()
    """What the first call heard, where the steps do not say."""
    tools: tuple[Json, ...] = ()
    """What was on offer, where the steps do not say."""


def run(
    id: str,
    steps: Sequence[Step],
    about: About,
    opinions: Iterable[Opinion] = (),
    outcomes: Iterable[Outcome] = (),
    *,
    line: int = 1,
) -> Imported | Problem:
    """The trace of these steps, in whatever order and however often they came.

    A call that has a call inside is a step around it, and no call. Where no step is a model call,
    the outermost step that holds messages stands for one.

    Args:
        line: where the run stands in its file, when it has no steps.
    """
    line = min((step.line for step in steps), default=line)
    once, notes = _once(steps)
    ordered = _ordered(once)
    calls = _chosen(ordered, once)
    if not calls and not any(step.span.kind is not SpanKind.OTHER for step in ordered):
        return Problem(line, f"trace {id!r}: no step of a model, an agent or a tool in it")
    if not calls:
        notes.append("no model call in it")
    try:
        put_together = tuple(_calls(id, calls, ordered, once, about))
        notes += [f"{c.id}: {c.incomplete}" for c in put_together if c.incomplete]
        notes += _repeated(put_together[-1].path if put_together else ())
        starts = [s.span.started_at for s in ordered if s.span.started_at]
        ends = [s.span.ended_at for s in ordered if s.span.ended_at]
        first = next((s.agent for s in ordered if s.span.kind is SpanKind.AGENT and s.agent), None)
        trace = Trace(
            id=id,
            agent=put_together[0].agent if put_together else first or about.agent,
            workflow=about.workflow,
            user=about.user,
            session=about.session,
            task_id=about.task_id,
            tags=about.tags,
            metadata=about.metadata,
            source=about.source,
            started_at=min(starts, default=EPOCH),
            ended_at=max(ends, default=None),
            error=next((c.error for c in reversed(put_together[-1:]) if c.error), None),
            calls=put_together,
            spans=tuple(step.span for step in ordered),
            tail=_tail(calls, ordered, put_together),
        )
    except ValidationError as error:
        return Problem(line, f"trace {id!r}: {complaint(error)}")
    return Imported(line, trace, tuple(opinions), tuple(outcomes), tuple(notes))


def _once(steps: Sequence[Step]) -> tuple[dict[str, Step], list[str]]:
    """The steps by id; of one that came twice, the later telling of it that is over."""
    once: dict[str, Step] = {}
    notes: list[str] = []
    for step in steps:
        earlier = once.get(step.span.id)
        if earlier is not None:
            same = replace(earlier, line=step.line) == step
            told = "twice" if same else "twice, not the same; the later is kept"
            notes.append(f"step {step.span.id!r} stands there {told} (line {step.line})")
            if earlier.span.ended_at and not step.span.ended_at:
                continue
        once[step.span.id] = step
    return once, notes


def _ordered(once: dict[str, Step]) -> list[Step]:
    """The steps by when they began; those that do not say keep their place."""
    last = EPOCH
    keyed: list[tuple[datetime, int, Step]] = []
    for place, step in enumerate(once.values()):
        last = step.span.started_at or last
        keyed.append((last, place, step))
    return [step for _, _, step in sorted(keyed, key=lambda key: key[:2])]


def _chosen(ordered: list[Step], once: dict[str, Step]) -> list[Step]:
    """The steps that are model calls."""
    around = {
        parent.span.id
        for step in ordered
        if step.span.kind is SpanKind.CALL
        for parent in _above(step, once)
    }
    calls = [s for s in ordered if s.span.kind is SpanKind.CALL and s.span.id not in around]
    calls = [s if s.asked else replace(s, asked=Asked(Heard())) for s in calls]
    if any(s.asked and (s.asked.words.found or s.asked.error) for s in calls):
        return calls
    talks = [s for s in ordered if s.asked and s.asked.words.found and s.asked.words.said]
    talks = talks or [s for s in ordered if s.asked and s.asked.words.found]
    return talks[:1] or calls


def _above(step: Step, once: dict[str, Step]) -> Iterator[Step]:
    """The steps around a step, the nearest first."""
    seen = {step.span.id}
    parent = once.get(step.span.parent_id or "")
    while parent is not None and parent.span.id not in seen:
        seen.add(parent.span.id)
        yield parent
        parent = once.get(parent.span.parent_id or "")


def _calls(
    id: str,
    calls: list[Step],
    ordered: list[Step],
    once: dict[str, Step],
    about: About,
) -> Iterator[Call]:
    paths: dict[str, Path] = {}  # by agent, and by the id of a response
    places = {step.span.id: place for place, step in enumerate(ordered)}
    index, since = 0, 0
    for step in calls:
        asked = step.asked or Asked(Heard())
        named = (a.agent for a in _above(step, once) if a.span.kind is SpanKind.AGENT and a.agent)
        agent = step.agent or next(named, None) or about.agent
        place = places[step.span.id]
        results = [given for s in ordered[since:place] for given in s.results]
        since = place + 1
        heard, why = _history(asked, paths.get(f"agent {agent}"), paths, results, about)
        reasons = [*asked.words.missing, *([why] if why else []), *_orphans(heard)]
        said, more = _turns(heard, asked)
        if not said and not asked.error:
            reasons.append("what the model said is not told")
        for nth, (context, output) in enumerate(said or [(heard, None)]):
            last = nth == max(len(said), 1) - 1
            yield Call(
                id=f"{id}/{step.span.id}" + (f"/{nth}" if nth else ""),
                trace_id=id,
                index=index,
                agent=agent,
                context=context,
                output=output,
                tools=asked.words.tools or about.tools,
                response_format=asked.response_format,
                settings=asked.settings,
                model=asked.model,
                served_model=asked.served_model,
                api=asked.api,
                streamed=asked.streamed,
                usage=asked.usage if last else Usage(),
                finish_reason=asked.finish_reason if last else None,
                response_id=asked.response_id,
                started_at=step.span.started_at,
                ended_at=step.span.ended_at,
                error=asked.error,
                incomplete="; ".join(dict.fromkeys(reasons)) or None,
            )
            index += 1
            path = (*context, *((output,) if output else ()))
        whole = Path((*path, *more), whole=not reasons)
        paths[f"agent {agent}"] = whole
        paths["any"] = whole
        if asked.response_id:
            paths[f"response {asked.response_id}"] = whole


def _orphans(heard: Iterable[Message]) -> Iterator[str]:
    """A sentence for each tool's result that answers no call before it."""
    asked: set[str] = set()
    for message in heard:
        asked.update(call.id for call in message.calls)
        if message.role == "tool" and message.tool_call_id not in asked:
            yield f"a tool result answers no call (id {message.tool_call_id!r})"


def _repeated(messages: Iterable[Message]) -> Iterator[str]:
    """A sentence for each id that several calls of tools have."""
    ids = Counter(call.id for message in messages for call in message.calls)
    for id, times in ids.items():
        if times > 1:
            yield f"{times} calls of tools have the id {id!r}; each is a call of its own"


def _history(
    asked: Asked,
    own: Path | None,
    paths: dict[str, Path],
    results: list[Message],
    about: About,
) -> tuple[tuple[Message, ...], str | None]:
    """All that a call heard, and why it may not be all."""
    given = asked.words.heard
    if asked.previous:
        system = given[:1] if given and given[0].role in ("system", "developer") else ()
        found = paths.get(f"response {asked.previous}")
        if found is None:
            return given, f"it goes on with response {asked.previous!r}, which is not here"
        before = found.messages
        if system and before[:1] and before[0].role == system[0].role:
            before = before[1:]
        return (*system, *before, *given[len(system) :]), found.doubt
    if not asked.resumes:
        return given, None if given else UNHEARD
    if own is None and "any" in paths:
        return given, "what the agent heard before is not told"
    own = own or Path(about.start, whole=True)
    if not own.messages and not given:
        return (), UNHEARD
    why = own.doubt or _unanswered(own.messages, results, given)
    return (*own.messages, *_answered(own.messages, results), *given), why


def _answered(before: Sequence[Message], results: list[Message]) -> Iterator[Message]:
    """What the tools gave since, each under the id of the call that it answers: the earliest that
    is open and has the tool's name."""
    asked = list(before[-1].calls) if before else []
    for result in results:
        named = str((result.model_extra or {}).get("name") or "")
        fits = [c for c in asked if c.function.name == named]
        if not fits:
            continue
        asked.remove(fits[0])
        yield Message(role="tool", tool_call_id=fits[0].id, content=result.content)


def _unanswered(
    before: Sequence[Message], results: list[Message], given: Sequence[Message]
) -> str | None:
    asked = [call.function.name for call in before[-1].calls] if before else []
    names = [str((result.model_extra or {}).get("name") or "") for result in results]
    told = sum(message.role == "tool" for message in given)
    for name in names:
        if name in asked:
            asked.remove(name)
        else:
            return f"a result of tool {name!r} answers no call"
    return f"what tool {asked[0]!r} gave is not told" if len(asked) > told else None


def _turns(
    heard: tuple[Message, ...], asked: Asked
) -> tuple[list[tuple[tuple[Message, ...], Message]], tuple[Message, ...]]:
    """Each thing that the assistant said with all that came before, and what came after the last.

    A step that tells only what was heard, and whose last word is the assistant's, said that.
    """
    said = asked.words.said
    if not said and heard and heard[-1].role == "assistant" and not asked.error:
        heard, said = heard[:-1], heard[-1:]
    path = (*heard, *said)
    places = [n for n in range(len(heard), len(path)) if path[n].role == "assistant"]
    turns = [(path[:n], path[n]) for n in places]
    return turns, path[places[-1] + 1 :] if places else said


def _tail(calls: list[Step], ordered: list[Step], made: Sequence[Call]) -> tuple[Message, ...]:
    """What came after the last thing that an assistant said: told by its step, or what its tools
    gave when nobody heard it any more."""
    if not calls or calls[-1].asked is None:
        return ()
    said = calls[-1].asked.words.said
    last = max((n for n, message in enumerate(said) if message.role == "assistant"), default=-1)
    if said[last + 1 :]:
        return said[last + 1 :]
    ids = [step.span.id for step in ordered]
    after = ordered[ids.index(calls[-1].span.id) + 1 :]
    return tuple(_answered(made[-1].path, [given for step in after for given in step.results]))


def moment(value: Any) -> datetime | None:
    """A time as tracers write it: ISO 8601, or nanoseconds or seconds since 1970, or a pair of
    both as the JavaScript SDKs have it; None when it is none."""
    try:
        if isinstance(value, list | tuple) and len(value) == 2:
            return datetime.fromtimestamp(int(value[0]) + int(value[1]) / 1e9, UTC)
        if isinstance(value, str) and not value.strip("0123456789"):
            value = int(value or 0)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1e9 if value > 1e14 else value / 1e3 if value > 1e11 else value
            return datetime.fromtimestamp(seconds, UTC) if value else None
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        return None
    return None
