"""The questions of the conversation tree, as a recipe asks them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal

from agentloop.base.records import Example, Judged, Method, Recipe, Refused
from agentloop.harvest.demonstrations import sft
from agentloop.harvest.preferences import Branch, dpo, parted
from agentloop.harvest.producers import admitted
from agentloop.harvest.rewards import rft
from agentloop.harvest.selection import Condition
from agentloop.harvest.unpaired import kto


def spans_for(method: Method) -> Literal["failed", False]:
    """Which steps of a trace a method asks for beside its calls: SFT those that failed, which tell
    of tools whose failure the model was told of in somebody's own words."""
    return "failed" if method is Method.SFT else False


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
        contexts: with all that was answered to each, for DPO and KTO (where `where` has chosen the
            answers) and for RFT.
        where: the condition of the recipe, compiled.
    """
    return admitted(
        _found(recipe, judged, contexts, where),
        producers=recipe.producers,
        learner=recipe.learner,
        allowed=recipe.allow_producers,
    )


def _found(
    recipe: Recipe,
    judged: Iterable[Judged],
    contexts: Iterable[Sequence[Branch]],
    where: Condition | None,
) -> Iterator[Example | Refused]:
    good, bad, rules = recipe.good, recipe.bad, recipe.rules
    match recipe.method:
        case Method.SFT:
            yield from sft(
                judged,
                agents=recipe.agents,
                good=good,
                bad=bad,
                turns=recipe.turns,
                mask_errors=recipe.mask_errors,
                where=where,
            )
        case Method.DPO:
            pairs = dpo(
                contexts,
                good=good,
                bad=bad,
                pairs=recipe.pairs,
                length_ratio=recipe.length_ratio,
                tool_pairs=recipe.tool_pairs and (rules is None or rules.dpo_tool_calls),
            )
            yield from chain(pairs, parted(judged, good=good, bad=bad))
        case Method.KTO:
            yield from kto(contexts, good=good, bad=bad)
        case Method.RFT:
            yield from rft(
                contexts, outcome=recipe.outcome, good=good, band=recipe.band, where=where
            )
