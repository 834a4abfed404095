"""KTO: learn from single verdicts, where there is no second answer to compare with."""

from collections.abc import Iterable, Iterator, Sequence

from agentloop.base.records import DPOExample, KTOExample, Refusal, Refused
from agentloop.harvest.preferences import Answer, Branch, answers_of, dpo, producers_of, refused
from agentloop.harvest.turns import at_hand, unknown

ALL = 1 << 30
"""More pairs than a context has."""


def kto(
    contexts: Iterable[Sequence[Branch]], *, good: float = 0.8, bad: float = 0.2
) -> Iterator[KTOExample | Refused]:
    """The answers that were judged good or bad and are in no pair, each with what it was judged.

    An answer is judged when somebody said what it was worth alone, or when it is what its run ended
    with: what was said of the run is then said of it, and of no other call. Of an answer that
    several runs gave, the mean verdict counts. An answer that makes a pair with another one, or
    with its correction, is left to `dpo`, however many pairs that takes; no pair is invented.

    Args:
        contexts: for each context, all calls that answered it.
        good, bad: scores in [0, 1] from which, and up to which, an answer counts as such.
    """
    for context in contexts:
        asked = []
        for branch in context:
            call = branch.call
            if call.id not in branch.judged.calls and call.id != branch.judged.answer_call:
                continue
            if not branch.judged.trace.consent:
                yield refused(Refusal.NO_CONSENT, [branch])
            elif call.incomplete is not None or call.error is not None:
                yield refused(Refusal.INCOMPLETE, [branch], call.incomplete or call.error)
            else:
                asked.append(branch)
        pairs = (
            p for p in dpo([context], good=good, bad=bad, pairs=ALL) if isinstance(p, DPOExample)
        )
        paired = {id for pair in pairs for id in pair.calls}
        unit = min((branch.judged.trace.unit for branch in asked), default="")
        for answer in answers_of(asked):
            yield _judged(answer, paired, unit, good, bad)


def _judged(
    answer: Answer, paired: set[str], unit: str, good: float, bad: float
) -> KTOExample | Refused:
    branches = answer.branches
    first = branches[0]
    if any(branch.call.id in paired for branch in branches):
        return refused(Refusal.PAIRED, branches)
    if answer.score is None:
        return refused(Refusal.NOT_JUDGED, branches)
    if bad < answer.score < good:
        code = Refusal.UNDECIDED if answer.undecided else Refusal.NEITHER
        return refused(code, branches, f"score {answer.score:.2f}")
    label = answer.score >= good
    name = unknown(answer.message, at_hand(first.judged.trace, first.call)) if label else None
    if name is not None:
        return refused(Refusal.UNKNOWN_TOOL, branches, f"{name!r} is not among its tools")
    return KTOExample(
        context=first.call.context,
        answer=answer.message,
        label=label,
        tools=first.call.tools,
        unit=unit,
        traces=tuple(dict.fromkeys(b.judged.trace.id for b in branches)),
        calls=tuple(dict.fromkeys(b.call.id for b in branches)),
        opinions=tuple(
            dict.fromkeys(
                o.id for b in branches for o in b.judged.opinions if o.call_id in (None, b.call.id)
            )
        ),
        producers=tuple(producers_of(branches)),
    )
