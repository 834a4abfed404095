"""A store, read in parts."""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from agentloop import feedback, harvest
from agentloop.base.records import Judged, Method, Recipe
from agentloop.base.store import Place, Store
from agentloop.harvest import Branch, Condition
from agentloop.scale.drafts import (
    IN_A_PART,
    NOTHING,
    Batch,
    Found,
    Named,
    columns,
    condition,
)

if TYPE_CHECKING:
    import ray.data


class StoreParts:
    """A store by its URL, read in parts by whoever has time. All workers must reach it."""

    def __init__(self, url: str, *, size: int = IN_A_PART) -> None:
        self.url, self._size = url, size

    def count(self) -> int:
        return _store(self.url).count()

    def drafts(self, recipe: Recipe, named: Named = NOTHING) -> "ray.data.Dataset":
        import ray

        store = _store(self.url)
        condition(recipe, store.names().outcomes)
        parts = [{"part": pickle.dumps(part), "n": n} for n, part in enumerate(self.parts(recipe))]
        if not parts:
            parts = [{"part": pickle.dumps(Part("contexts", ())), "n": 0}]
        whole = ray.data.from_items(parts, override_num_blocks=len(parts))
        return whole.map_batches(partial(self._drafts, recipe, named), batch_size=1)

    def found(self, part: "Part", recipe: Recipe) -> Iterator[Found]:
        """What a part of the store gives."""
        store, where, agents = _store(self.url), condition(recipe), recipe.agents
        if part.kind == "contexts":
            forks = (fork.branches for fork in store.answers(part.of, agents=agents))
            chosen = None if recipe.method is Method.RFT else where
            contexts = (_branches(branches, chosen) for branches in forks)
            return harvest.found(recipe, contexts=filter(None, contexts), where=where)
        if part.kind == "tasks":
            judged = store.all_judged(agents=agents, held_out=False, tasks=part.of, spans=False)
        else:
            after, upto = part.of
            judged = store.all_judged(
                agents=agents,
                held_out=False,
                after=after,
                upto=upto,
                spans=harvest.spans_for(recipe.method),
            )
        return harvest.found(recipe, judged=feedback.settle(judged), where=where)

    def _drafts(self, recipe: Recipe, named: Named, batch: Batch) -> dict[str, list[Any]]:
        (number,), (part,) = batch["n"], batch["part"]
        found = self.found(pickle.loads(part), recipe)  # noqa: S301 - what `drafts` has written
        return columns(found, recipe, named, f"{number:08}")

    def outcomes(self) -> tuple[str, ...]:
        """The names of outcomes that there are."""
        return _store(self.url).names().outcomes

    def parts(self, recipe: Recipe) -> Iterator["Part"]:
        """What is read together, in the order of the local engine."""
        store, agents = _store(self.url), recipe.agents
        match recipe.method:
            case Method.SFT:
                after: Place | None = None
                for upto in _every(self._size, store.places(agents=agents)):
                    yield Part("traces", (after, upto))
                    after = upto
            case Method.DPO:
                yield from self._some("contexts", store.forked(agents=agents))
                yield from self._some("tasks", store.tasks(agents=agents))
            case Method.KTO:
                yield from self._some("contexts", store.all_contexts(agents=agents))
            case Method.RFT:
                yield from self._some("contexts", store.asked(agents=agents))

    def _some(self, kind: str, of: Iterable[str]) -> Iterator["Part"]:
        rest = iter(of)
        while some := tuple(islice(rest, self._size)):
            yield Part(kind, some)


class Part(NamedTuple):
    """What is read together."""

    kind: str
    """`traces` after one place and up to another, `contexts` or `tasks` of these names."""
    of: Any


_open: dict[str, Store] = {}


def _store(url: str) -> Store:
    """The store, open once in each process; one that was asked for before is closed."""
    if url not in _open:
        close()
        _open[url] = Store(url, create=False)
    return _open[url]


def close() -> None:
    """Close what this process has opened."""
    while _open:
        _open.popitem()[1].close()


def _branches(made: Sequence[tuple[str, Judged]], where: Condition | None) -> list[Branch]:
    settled = feedback.settle(judged for _, judged in made)
    ids = [call for call, _ in made]
    return harvest.branches(zip(ids, settled, strict=True), where)


def _every(size: int, places: Iterable[Place]) -> Iterator[Place]:
    """Every so many-th place, and the last."""
    last, n = None, 0
    for n, last in enumerate(places, 1):
        if n % size == 0:
            yield last
    if last is not None and n % size:
        yield last
