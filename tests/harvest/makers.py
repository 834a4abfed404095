"""Judged traces with plain defaults, for tests of what is learned from them."""

from agentloop.base.records import Judged, Opinion, Recipe, Source
from agentloop.feedback import settle
from agentloop.harvest import Cleaning, drafted, gather
from tests import makers
from tests.makers import TOOL, an_outcome, returns, says, system, user
from tests.makers import asks as calls

__all__ = [
    "TOOL",
    "a_trace",
    "an_opinion",
    "calls",
    "dataset",
    "gathered",
    "judged",
    "returns",
    "says",
    "system",
    "user",
]


def a_trace(*said, id="t1", **fields):
    return makers.a_trace(*said, id=id, **fields)


def judged(trace, *opinions, resolved=None, reference=None):
    """The trace, settled. Opinions are scores of people, or whole opinions."""
    given = [
        o if isinstance(o, Opinion) else an_opinion(trace, score=o, author=f"p{n}")
        for n, o in enumerate(opinions)
    ]
    outcomes = []
    if resolved is not None:
        outcomes = [an_outcome(trace.id, "resolved", resolved, reference=reference)]
    return next(settle([Judged(trace=trace, opinions=given, outcomes=outcomes)]))


def an_opinion(trace, *, score=None, author="ann", call=None, correction=None, source="person"):
    return makers.an_opinion(
        trace.id,
        score,
        id=f"{trace.id}-{author}-{call}",
        call_id=call,
        source=Source(source),
        author=author,
        correction=says(correction) if isinstance(correction, str) else correction,
    )


def gathered(method, found, *, agents=("support",), redactor=False, traces_read=0, **knobs):
    """The harvest of what was found, to be closed by whoever asked."""
    cleaning = Cleaning.asked(redactor, knobs)
    recipe = Recipe.asked(method, agents, {**knobs, **cleaning.recipe})
    return gather(drafted(found, recipe, cleaning), recipe, traces_read=traces_read)


def dataset(method, found, **options):
    """What was found as a dataset; options as for `gathered`."""
    with gathered(method, found, **options) as made:
        return made.dataset()
