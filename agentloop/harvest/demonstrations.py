"""SFT: learn from what went well, and from what a person said should have happened."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from agentloop.base.records import (
    Call,
    Judged,
    Message,
    Opinion,
    Refusal,
    Refused,
    SFTExample,
    Turns,
)
from agentloop.base.records.terms import PERSON
from agentloop.harvest.selection import Condition
from agentloop.harvest.turns import Failing, Walk, failing, unknown


def sft(
    judged: Iterable[Judged],
    *,
    agents: Sequence[str],
    good: float = 0.8,
    bad: float = 0.2,
    turns: Turns = Turns.ALL,
    mask_errors: bool = False,
    where: Condition | None = None,
) -> Iterator[SFTExample | Refused]:
    """The paths worth imitating, from the root to the last thing an agent said on each.

    A call whose output a later call of the same agent carries in its context is part of that
    later call's path. A path is worth imitating when its verdict reaches `good`, or when somebody
    wrote the answer that it should have ended with; then that answer is learned, whatever the
    score. Masked are turns of other agents and of earlier runs, turns that were judged bad, turns
    that were corrected, turns whose tool calls failed, and calls of tools that the agent does not
    have. A path ends with the last turn that is learned.

    Args:
        agents: whose calls are learned; rows never mix two agents.
        good: the lowest score still imitated, in [0, 1]; 0 takes every judged path.
        bad: the highest score at which a single turn is masked.
        turns: what of a path is learned: all good turns; the last alone; or the answer that the
            run ended with alone, where it calls no tool.
        mask_errors: whether calls are masked as failed too whose tool said so in its own words
            (`Error: …`, `{"error": …}`), and not only those that the runtime marks.

    Yields:
        Examples, and a `Refused` for each path that gave none, in the order of the traces.
    """
    for one in judged:
        asked = _Asked(one, frozenset(agents), good, bad, turns, mask_errors)
        yield from _of_trace(asked, where)


class _Asked(NamedTuple):
    """A trace, and what is asked of it."""

    judged: Judged
    agents: frozenset[str]
    good: float
    bad: float
    turns: Turns
    words: bool

    @property
    def mine(self) -> list[Call]:
        return [call for call in self.judged.trace.calls if call.agent in self.agents]

    def walk(self, call: Call, failed: Failing) -> Walk:
        return Walk(self.judged, call, failed, words=self.words)

    def refused(self, code: Refusal, call: Call | None = None, said: str | None = None) -> Refused:
        traces = (self.judged.trace.id,)
        return Refused(code=code, traces=traces, call=call.id if call else None, detail=said)


def _of_trace(asked: _Asked, where: Condition | None) -> Iterator[SFTExample | Refused]:
    one, mine = asked.judged, asked.mine
    if one.trace.held_out:
        yield asked.refused(Refusal.HELD_OUT)
        return
    if not one.trace.consent:
        yield asked.refused(Refusal.NO_CONSENT)
        return
    if where is not None and not where(one):
        yield asked.refused(Refusal.FILTERED)
        return
    corrected = {call.id for call in mine if one.correction(call.id)}
    leaves = {call.id for call in one.trace.leaves}
    failed = failing(one.trace)
    for call in mine:
        if call.id in corrected:
            yield _corrected(asked, asked.walk(call, failed), corrected)
        elif call.id in leaves:
            yield _path(asked, call, failed, corrected)
    if not mine:
        agents = ", ".join(sorted(asked.agents))
        yield asked.refused(Refusal.NO_ANSWER, said=f"no call of {agents}")


def _corrected(asked: _Asked, walk: Walk, corrected: set[str]) -> SFTExample | Refused:
    """What a person wrote in the place of an answer."""
    one, call = asked.judged, walk.call
    opinion = one.correction(call.id)
    if opinion is None or opinion.correction is None:
        raise ValueError(f"nobody corrected {call.id!r}")
    if call.incomplete:
        return asked.refused(Refusal.INCOMPLETE, call, call.incomplete)
    if said := _not_final(asked, call, opinion.correction):
        return asked.refused(Refusal.NOT_FINAL, call, said)
    if (name := unknown(opinion.correction, walk.at_hand)) is not None:
        return asked.refused(Refusal.UNKNOWN_TOOL, call, f"{name!r} is not among its tools")
    # What was said of the corrected turn alone says nothing of those before it.
    went_well = one.score is not None and one.score >= asked.good
    weights = _weights(asked, walk, corrected, masked=not went_well)
    return _example(asked, walk, opinion.correction, weights, opinion)


def _path(asked: _Asked, call: Call, failed: Failing, corrected: set[str]) -> SFTExample | Refused:
    one = asked.judged
    verdict = one.verdict(call.id)
    if verdict is None:
        return asked.refused(Refusal.NOT_JUDGED, call)
    if verdict.score < asked.good:
        return asked.refused(
            Refusal.NOT_GOOD, call, f"score {verdict.score:.2f} < {asked.good:.2f}"
        )
    if one.trace.error is not None:
        return asked.refused(Refusal.RUN_FAILED, call, one.trace.error)
    if call.incomplete is not None or call.error is not None:
        return asked.refused(Refusal.INCOMPLETE, call, call.incomplete or call.error)
    if call.output is None:
        return asked.refused(Refusal.NO_ANSWER, call)
    if said := _not_final(asked, call, call.output):
        return asked.refused(Refusal.NOT_FINAL, call, said)
    walk = asked.walk(call, failed)
    flaw = walk.flaw_of_output
    weights = _weights(asked, walk, corrected)
    if flaw is None:
        return _example(asked, walk, call.output, weights)
    # Its end is no example, but what came before it may be: then the path ends there.
    if 1 in weights:
        last = walk.said[walk.assistants[len(weights) - 1 - weights[::-1].index(1)]]
        if last.output is not None and last.incomplete is None:
            shorter = asked.walk(last, failed)
            return _example(asked, shorter, last.output, _weights(asked, shorter, corrected))
    return asked.refused(Refusal.NOTHING_TO_LEARN, call, flaw)


def _not_final(asked: _Asked, call: Call, said: Message) -> str | None:
    """Why an answer is not the one that the run ended with, where that alone is learned."""
    if asked.turns is not Turns.FINAL:
        return None
    if call.id != asked.judged.answer_call:
        return "the run went on after it"
    return "it calls a tool" if said.calls else None


def _weights(
    asked: _Asked, walk: Walk, corrected: set[str], *, masked: bool = False
) -> tuple[int, ...]:
    """1 for each assistant message of the context that this agent said in this run, and well."""
    masked = masked or asked.turns is not Turns.ALL
    return tuple(
        int(not masked and walk.flaw(at, bad=asked.bad, corrected=corrected) is None)
        for at in walk.assistants
    )


def _example(
    asked: _Asked,
    walk: Walk,
    output: Message,
    weights: tuple[int, ...],
    correction: Opinion | None = None,
) -> SFTExample:
    one, call = asked.judged, walk.call
    wrote = [walk.said[at] for at, w in zip(walk.assistants, weights, strict=True) if w]
    if correction is None:
        wrote.append(call)
        opinions = [o.id for o in one.opinions if o.call_id in (None, call.id)]
    else:
        opinions = [correction.id]
    producers = {model for c in wrote if (model := producer(c))}
    if correction is not None:
        producers.add(f"{PERSON}{correction.author}")
    together = call.settings.get("parallel_tool_calls")
    said = {
        "context": call.context,
        "output": output,
        "weights": weights,
        "tools": call.tools,
        "parallel_tool_calls": together if isinstance(together, bool) else None,
        "unit": one.trace.unit,
        "conversation": one.trace.spoken_in,
        "traces": (one.trace.id,),
        "calls": (*(c.id for c in walk.carried), call.id),
        "opinions": tuple(opinions),
        "producers": tuple(sorted(producers)),
    }
    return SFTExample.trusted(said)


def producer(call: Call) -> str | None:
    """The model that wrote a call's output, as exactly as it is known."""
    return call.served_model or call.model
