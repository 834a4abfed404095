"""Yields: what a harvest would give for each method, without writing it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from agentloop.base.records import (
    DPOExample,
    Example,
    Judged,
    Method,
    Recipe,
    Refusal,
    Refused,
    RFTExample,
    SFTExample,
)
from agentloop.base.records.message import digest
from agentloop.harvest.advice.figures import Positives, Tasks
from agentloop.harvest.checks.doubts import declines
from agentloop.harvest.preferences import Branch
from agentloop.harvest.questions import found
from agentloop.harvest.rows import Cleaning, Draft, draft

Contexts = Iterable[Sequence[Branch]]

PER_REQUEST = 3
"""Rows of one request that count as demonstrations: SWE-Lego keeps so many trajectories of a task,
for more teach little."""


def recipe_of(method: Method, agents: Sequence[str], **bars: float) -> Recipe:
    """The recipe by which rows are counted: as usual, but that only equal ones count as one. Near
    copies take long to find, and the most of them answer one request."""
    return Recipe.asked(method, agents, {"near": 0.0}, **bars)


class Demonstrations:
    """The rows that SFT would get."""

    def __init__(self, agents: tuple[str, ...], good: float, bad: float) -> None:
        self._recipe = recipe_of(Method.SFT, agents, good=good, bad=bad)
        self._seen: set[str] = set()
        self._requests: Counter[str] = Counter()
        self._units: set[str] = set()
        self._routes: Counter[str] = Counter()
        self._corrected = self._declined = 0

    def take(self, one: Judged) -> None:
        for example, made in _rows(found(self._recipe, judged=(one,)), self._recipe):
            if not isinstance(example, SFTExample) or made.identity in self._seen:
                continue
            self._seen.add(made.identity)
            self._units.add(example.unit)
            self._requests[_request(example)] += 1
            called = {
                call.function.name
                for message in (*example.context, example.output)
                for call in message.calls
            }
            self._routes[", ".join(sorted(called)) or "no tool"] += 1
            self._corrected += any(p.startswith("person:") for p in example.producers)
            self._declined += declines(example.output.to_dict())

    @property
    def positives(self) -> Positives:
        ((widest, rows),) = self._routes.most_common(1) or [("no tool", 0)]
        return Positives(
            rows=len(self._seen),
            usable=sum(min(n, PER_REQUEST) for n in self._requests.values()),
            corrected=self._corrected,
            requests=len(self._requests),
            users=len(self._units),
            declined=self._declined,
            routes=len(self._routes),
            widest=widest,
            widest_rows=rows,
        )


def _rows(items: Iterable[Example | Refused], recipe: Recipe) -> Iterator[tuple[Example, Draft]]:
    """The examples that no provider would refuse, with their rows."""
    for item in items:
        made = draft(item, recipe, Cleaning()) if isinstance(item, Example) else item
        if isinstance(item, Example) and isinstance(made, Draft):
            yield item, made


def _request(example: SFTExample) -> str:
    """What was asked: all that the user said."""
    said = (message.text for message in example.context if message.role == "user")
    return digest(*(text.encode(errors="surrogatepass") for text in said))


def pairs(forks: Contexts, recipe: Recipe) -> dict[str, int]:
    """Comparisons by source; the same one counts once."""
    seen: set[str] = set()
    sources: Counter[str] = Counter()
    for example, made in _rows(found(recipe, contexts=forks), recipe):
        if isinstance(example, DPOExample) and made.identity not in seen:
            seen.add(made.identity)
            sources[example.source] += 1
    return dict(sorted(sources.items()))


def tasks(contexts: Contexts, recipe: Recipe) -> Tasks:
    counts: Counter[str] = Counter()
    for context in contexts:
        counts["contexts"] += 1
        runs = len({branch.judged.trace.id for branch in context})
        for item in found(recipe, contexts=[context]):
            place = _place(item)
            if place is None:
                continue
            if place == "disputed":
                counts[place] += 1
                continue
            counts["verifiable"] += 1
            counts["runs"] += runs
            counts["once" if runs == 1 else place] += 1
    runs = counts.pop("runs", 0)
    mean = runs / counts["verifiable"] if counts["verifiable"] else 0.0
    return Tasks(**counts, rollouts=mean)


def _place(item: Example | Refused) -> str | None:
    """Where the pass rate of a task lies; None where it is no task that can be checked."""
    if isinstance(item, RFTExample):
        return "inside"
    if isinstance(item, Refused):
        return PLACES.get(item.code)
    return None


PLACES = {
    Refusal.TOO_HARD: "below",
    Refusal.TOO_EASY: "above",
    Refusal.REFERENCES_DIFFER: "disputed",
}
