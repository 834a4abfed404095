"""The three questions of the conversation tree, as a recipe asks them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from agentloop.base.records import Example, Judged, Method, Recipe, Refused
from agentloop.harvest.demonstrations import sft
from agentloop.harvest.preferences import Branch, dpo, parted
from agentloop.harvest.rewards import rft
from agentloop.harvest.selection import Condition


def found(
    recipe: Recipe,
    *,
    judged: Iterable[Judged] = (),
    contexts: Iterable[Sequence[Branch]] = (),
    where: Condition | None = None,
) -> Iterator[Example | Refused]:
    """What there is to learn by a recipe, and why the rest is nothing.

    The parts of a store may be asked one by one: what comes of all of them together is what comes
    of the whole.

    Args:
        judged: settled traces, for SFT; for DPO those of whole tasks, which tell what is no pair.
        contexts: with all that was answered to each, for DPO (where `where` has chosen the
            answers) and for RFT.
        where: the condition of the recipe, compiled.
    """
    good, bad = recipe.good, recipe.bad
    match recipe.method:
        case Method.SFT:
            yield from sft(judged, agents=recipe.agents, good=good, bad=bad, where=where)
        case Method.DPO:
            pairs = dpo(contexts, good=good, bad=bad)
            yield from chain(pairs, parted(judged, good=good, bad=bad))
        case Method.RFT:
            yield from rft(
                contexts, outcome=recipe.outcome, good=good, band=recipe.band, where=where
            )
