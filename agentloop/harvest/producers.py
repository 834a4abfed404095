"""Producers: whose words are learned, and whether their terms let another model learn them."""

from collections.abc import Iterable, Iterator, Sequence

from agentloop.base.records import DPOExample, Example, Refusal, Refused, RFTExample
from agentloop.base.records.terms import is_named, objection


def admitted(
    found: Iterable[Example | Refused],
    *,
    producers: Sequence[str] = (),
    learner: str | None = None,
    allowed: Sequence[str] = (),
) -> Iterator[Example | Refused]:
    """The examples whose producers are wanted and may be learned from, in order; the others as
    refusals.

    Args:
        producers: models (or `person:ID`) that alone may have written what a row teaches, by name
            or pattern; empty: everybody.
        learner: the model that is to learn; without it nobody's terms are asked for, and the
            producers stand beside each row.
        allowed: producers that it may learn from whatever `terms` says of them.

    Tasks for reinforcement teach nobody's words, and are all admitted.
    """
    for item in found:
        if isinstance(item, Refused | RFTExample):
            yield item
        else:
            yield _why_not(item, producers, learner, allowed) or item


def _why_not(
    example: Example, producers: Sequence[str], learner: str | None, allowed: Sequence[str]
) -> Refused | None:
    def refused(code: Refusal, detail: str) -> Refused:
        call = example.calls[-1] if example.calls else None
        return Refused(code=code, traces=example.traces, call=call, detail=detail)

    wrote = example.producers
    if producers and not (wrote and all(is_named(one, producers) for one in wrote)):
        return refused(Refusal.OTHER_PRODUCER, f"written by {', '.join(wrote) or 'nobody knows'}")
    if learner is None:
        return None
    # What is learned to be worse is learned from, too.
    heard = (*wrote, *example.against) if isinstance(example, DPOExample) else wrote
    for one in heard:
        why = None if is_named(one, allowed) else objection(one, learner)
        if why is not None:
            return refused(Refusal.PRODUCER_TERMS, why)
    return None
