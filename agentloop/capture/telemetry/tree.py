"""The steps of a run in their places: each in the one that it is part of.

A run is `invoke_workflow` around an `invoke_agent` for each agent that had its turn, with `chat`
and `execute_tool` inside; where no step of an agent was recorded (tracing is off), the run itself
is the `invoke_agent`. What the Agents SDK puts around all that (`task`, `turn`) is left away, and
what is inside moves up.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from math import inf

from agentloop.base.records import SpanKind, Trace
from agentloop.capture.telemetry import names
from agentloop.capture.telemetry.steps import Asked, Attributes, Step, Steps, class_of, known


def of_trace(trace: Trace, *, content: bool) -> list[Step]:
    """The steps of a whole trace, the outermost first."""
    steps = Steps()
    for call in trace.calls:
        steps.take(call, content=content)
    for span in trace.spans:
        steps.take(span, content=content)
    return tree(trace, steps, root=trace.id, content=content)


def tree(trace: Trace, steps: Steps, *, root: str, content: bool) -> list[Step]:
    """The steps of a run in their places: each comes after the one that it is in.

    Args:
        root: the id of the step that is the whole run.
    """
    spans = {span.id: span for span in steps.spans}
    agents = [span for span in spans.values() if span.kind is SpanKind.AGENT]
    whole = _whole(trace, root, agents=bool(agents), content=content)
    places = _places(trace.id, steps.calls, spans)
    kept = {id: span for id, span in spans.items() if not span.inner and id not in places.values()}

    def above(id: str | None) -> str:
        """The nearest step around a span that is told; the run where there is none."""
        seen: set[str] = set()
        while id is not None and id in spans and id not in seen:
            if id in kept:
                return id
            seen.add(id)
            id = spans[id].parent
        return root

    told = {id: replace(span, parent=above(span.parent)) for id, span in kept.items()}
    for call in steps.calls:
        span = spans.get(places.get(call.id, ""))
        inside = above(span.parent) if span else _by_time(call, agents) or root
        told[call.id] = replace(call, parent=inside)
    about = {names.CONVERSATION_ID: trace.session} if trace.session else {}
    return [
        replace(step, attributes={**about, **step.attributes})
        for step in (whole, *_from_above(_answering(told), root))
    ]


def _whole(trace: Trace, root: str, *, agents: bool, content: bool) -> Step:
    workflow = trace.workflow or trace.agent
    operation, name = names.INVOKE_WORKFLOW, workflow
    if not agents:
        operation, name = names.INVOKE_AGENT, trace.agent
    attributes: Attributes = {
        names.OPERATION: operation,
        names.WORKFLOW_NAME: workflow if agents else trace.workflow,
        names.AGENT_NAME: None if agents else trace.agent,
        names.USER_ID: trace.user,
        names.TRACE_ID: trace.id,
        names.VERSION: trace.version,
        names.TRIAL: trace.trial,
        names.ARM: trace.arm,
        names.TASK_ID: trace.task_id,
        names.HELD_OUT: trace.held_out or None,
        **{f"{names.TAG}{key}": value for key, value in trace.tags.items()},
    }
    return Step(
        id=root,
        name=f"{operation} {name}",
        kind=SpanKind.OTHER,
        start=trace.started_at,
        end=trace.ended_at,
        attributes=known(attributes),
        error=class_of(trace.error) if trace.error else None,
        why=trace.error if content else None,
    )


def _places(trace: str, calls: Iterable[Step], spans: dict[str, Step]) -> dict[str, str]:
    """Which span is which call: by its id where it says so, else by the time. The SDK opens the
    span of a call right after the call has begun, and closes it right before it is over."""
    free = {id: span for id, span in spans.items() if span.kind is SpanKind.CALL}
    found: dict[str, str] = {}
    for call in calls:
        named = call.id.removeprefix(f"{trace}/").split("/")[0]
        if named in spans:
            found[call.id] = named
            free.pop(named, None)
            continue
        inside = [
            span
            for span in free.values()
            if call.start and call.end and span.start and call.start <= span.start <= call.end
        ]
        own = [span for span in inside if _agent(span, spans) in (call.agent, None)]
        if own:
            nearest = min(own, key=lambda span: _when(span.start))
            found[call.id] = free.pop(nearest.id).id
    return found


def _agent(span: Step, spans: dict[str, Step]) -> str | None:
    """The agent that a span is part of."""
    seen: set[str] = set()
    above: Step | None = span
    while above is not None and above.id not in seen:
        if above.kind is SpanKind.AGENT:
            return above.agent
        seen.add(above.id)
        above = spans.get(above.parent or "")
    return None


def _by_time(call: Step, agents: list[Step]) -> str | None:
    """The latest turn of its agent that a call of no span was made in."""
    fits = [
        agent
        for agent in agents
        if agent.agent == call.agent
        and agent.start is not None
        and call.start is not None
        and agent.start <= call.start
        and (agent.end is None or call.start <= agent.end)
    ]
    return max(fits, key=lambda agent: _when(agent.start)).id if fits else None


def _answering(told: dict[str, Step]) -> list[Step]:
    """The steps, each tool's with the id of the call that it answers: the earliest that is open and
    asked for just that."""
    asked: list[Asked] = []
    found: list[Step] = []

    def ready(step: Step) -> tuple[float, bool]:
        made = step.kind is SpanKind.CALL
        return _when(step.end if made else step.start), not made

    for step in sorted(told.values(), key=ready):
        asked += step.asked
        if step.kind is SpanKind.TOOL:
            tool = step.attributes[names.TOOL_NAME]
            fits = [a for a in asked if a.name == tool and step.given in (None, a.arguments)]
            if fits:
                asked.remove(fits[0])
                about = {**step.attributes, names.TOOL_CALL_ID: fits[0].id}
                step = replace(step, attributes=about)
        found.append(step)
    return found


def _from_above(steps: Iterable[Step], root: str) -> Iterable[Step]:
    """The steps so that each comes after the one that it is in; those of a ring are in the run."""
    inside: dict[str | None, list[Step]] = {}
    for step in sorted(steps, key=lambda step: _when(step.start)):
        inside.setdefault(step.parent, []).append(step)
    ahead = inside.pop(root, [])[::-1]
    while ahead or inside:
        if not ahead:
            ahead = [replace(step, parent=root) for step in inside.pop(next(iter(inside)))]
        step = ahead.pop()
        yield step
        ahead += inside.pop(step.id, [])[::-1]


def _when(moment: datetime | None) -> float:
    """A moment as a number; what has none comes last."""
    return moment.timestamp() if moment else inf
