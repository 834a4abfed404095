"""Answers that people judged, as graders see them."""

from collections.abc import Collection, Iterable, Iterator

from agentloop.base.records import Judged, RFTExample, Source
from agentloop.graders import Rated, sample_of
from agentloop.harvest.rewards import fields
from agentloop.harvest.rows import stated


def answers(
    judged: Iterable[Judged], *, agents: Collection[str], outcome: str | None = None
) -> Iterator[Rated]:
    """The final answers of `agents` that settled at what people say of them; each with the row
    that it would be an answer to: what was said up to the last word of the user, and the fields
    of a row for RFT.

    A verdict on the whole run is one on its final answer; see `Judged.verdict`. Runs without
    consent, and answers that are not known whole, are left out.

    Args:
        outcome: the outcome whose reference is the row's; None: the one that carries a reference.
    """
    for one in judged:
        answer = next((c for c in one.trace.calls if c.id == one.answer_call), None)
        if answer is None or answer.output is None or answer.agent not in agents:
            continue
        settled = one.verdict(answer.id)
        if settled is None or settled.source is not Source.PERSON:
            continue
        if answer.incomplete is not None or not one.trace.consent:
            continue
        asked = [n for n, message in enumerate(answer.context) if message.role == "user"]
        row = RFTExample(
            context=answer.context[: asked[-1] + 1] if asked else answer.context,
            tools=answer.tools,
            fields=fields(one, outcome=outcome),
            rollouts=1,
            pass_rate=settled.score,
            unit=one.trace.unit,
            traces=(one.trace.id,),
            calls=(answer.id,),
        )
        yield Rated(one.trace.id, sample_of(answer.output.to_dict()), stated(row), settled.score)
