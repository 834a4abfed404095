"""SFT: learn from what went well, and from what a person said should have happened."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from agentloop.base.records import Call, Judged, Message, Refusal, Refused, SFTExample
from agentloop.harvest.selection import Condition


def sft(
    judged: Iterable[Judged],
    *,
    agents: Sequence[str],
    good: float = 0.8,
    bad: float = 0.2,
    where: Condition | None = None,
) -> Iterator[SFTExample | Refused]:
    """The paths worth imitating, from the root to the last thing an agent said on each.

    A call whose output a later call of the same agent carries in its context is part of that
    later call's path. A path is worth imitating when its verdict reaches `good`, or when somebody
    wrote the answer that it should have ended with; then that answer is learned, whatever the
    score. Turns of other agents and of earlier runs, turns that were judged bad and turns that
    were corrected are masked.

    Args:
        agents: whose calls are learned; rows never mix two agents.
        good: the lowest score still imitated, in [0, 1]; 0 takes every judged path.
        bad: the highest score at which a single turn is masked.

    Yields:
        Examples, and a `Refused` for each path that gave none, in the order of the traces.
    """
    for one in judged:
        yield from _of_trace(one, agents, good, bad, where)


def _of_trace(
    one: Judged,
    agents: Sequence[str],
    good: float,
    bad: float,
    where: Condition | None,
) -> Iterator[SFTExample | Refused]:
    trace = one.trace

    def refused(code: Refusal, call: Call | None = None, detail: str | None = None) -> Refused:
        return Refused(code=code, traces=(trace.id,), call=call.id if call else None, detail=detail)

    if trace.held_out:
        yield refused(Refusal.HELD_OUT)
        return
    if not trace.consent:
        yield refused(Refusal.NO_CONSENT)
        return
    if where is not None and not where(one):
        yield refused(Refusal.FILTERED)
        return
    mine = [call for call in trace.calls if call.agent in agents]
    corrected = {call.id for call in mine if one.correction(call.id)}
    leaves = {call.id for call in trace.leaves}
    for call in mine:
        correction = one.correction(call.id)
        if correction is not None and correction.correction is not None:
            if call.incomplete:
                yield refused(Refusal.INCOMPLETE, call, call.incomplete)
                continue
            # What was said of the corrected turn alone says nothing of those before it.
            went_well = one.score is not None and one.score >= good
            weights = _weights(one, call, bad, corrected)
            if not went_well:
                weights = (0,) * len(weights)
            yield _example(one, call, correction.correction, weights).model_copy(
                update={
                    "opinions": (correction.id,),
                    "producers": (f"person:{correction.author}",),
                }
            )
        elif call.id in leaves:
            yield _path(one, call, good, bad, corrected, refused)
    if not mine:
        yield refused(Refusal.NO_ANSWER, detail=f"no call of {', '.join(agents)}")


def _path(
    one: Judged,
    call: Call,
    good: float,
    bad: float,
    corrected: set[str],
    refused: Callable[..., Refused],
) -> SFTExample | Refused:
    verdict = one.verdict(call.id)
    if verdict is None:
        return refused(Refusal.NOT_JUDGED, call)
    if verdict.score < good:
        return refused(Refusal.NOT_GOOD, call, f"score {verdict.score:.2f} < {good:.2f}")
    if one.trace.error is not None:
        return refused(Refusal.RUN_FAILED, call, one.trace.error)
    if call.incomplete is not None or call.error is not None:
        return refused(Refusal.INCOMPLETE, call, call.incomplete or call.error)
    if call.output is None:
        return refused(Refusal.NO_ANSWER, call)
    return _example(one, call, call.output, _weights(one, call, bad, corrected))


def _weights(one: Judged, call: Call, bad: float, corrected: set[str]) -> tuple[int, ...]:
    """1 for each assistant message of the context that this agent said in this run, and well."""
    said_here = {
        len(earlier.context): earlier
        for earlier in one.trace.calls
        if earlier.agent == call.agent
        and earlier.output is not None
        and call.carries((*earlier.context, earlier.output))
    }
    weights = []
    for position, message in enumerate(call.context):
        if message.role != "assistant":
            continue
        earlier = said_here.get(position)
        verdict = one.calls.get(earlier.id) if earlier else None
        masked = (
            earlier is None
            or earlier.id in corrected
            or (verdict is not None and verdict.score <= bad)
        )
        weights.append(0 if masked else 1)
    return tuple(weights)


def _example(one: Judged, call: Call, output: Message, weights: tuple[int, ...]) -> SFTExample:
    trace = one.trace
    carried = [
        c
        for c in trace.calls
        if c.output is not None and call.carries((*c.context, c.output)) and c.agent == call.agent
    ]
    together = call.settings.get("parallel_tool_calls")
    said = {
        "context": call.context,
        "output": output,
        "weights": weights,
        "tools": call.tools,
        "parallel_tool_calls": together if isinstance(together, bool) else None,
        "unit": trace.unit,
        "conversation": trace.spoken_in,
        "traces": (trace.id,),
        "calls": (*(c.id for c in carried), call.id),
        "opinions": tuple(o.id for o in one.opinions if o.call_id in (None, call.id)),
        "producers": tuple(sorted({model for c in (*carried, call) if (model := producer(c))})),
    }
    return SFTExample.trusted(said)


def producer(call: Call) -> str | None:
    """The model that wrote a call's output, as exactly as it is known."""
    return call.served_model or call.model
