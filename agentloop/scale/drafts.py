"""Drafts as Ray carries them, from wherever the traces lie."""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from agentloop import harvest
from agentloop.base.records import Example, Recipe, Refused
from agentloop.harvest import Condition, Draft, Redactor

if TYPE_CHECKING:
    import ray.data

IN_A_PART = 2_000
"""Traces, contexts or tasks that are read together by default."""

Found = Example | Refused


class Source(Protocol):
    """Where the traces come from."""

    def count(self) -> int:
        """How many traces there are."""

    def drafts(self, recipe: Recipe) -> "ray.data.Dataset":
        """Rows of `key`, `n` (together the order of the local engine), `light` and `draft`."""


Batch = Mapping[str, Any]


def condition(recipe: Recipe, outcomes: Iterable[str] | None = None) -> Condition | None:
    """The condition of a recipe, compiled.

    Raises:
        ExpressionError: it cannot be read, or names an outcome that is not among `outcomes`.
    """
    names = tuple(outcomes) if outcomes is not None else None
    return harvest.where(recipe.where, outcomes=names) if recipe.where else None


@lru_cache(maxsize=4)
def _redactor(recipe: str) -> Redactor | None:
    """The redactor of a recipe, once in each process: it remembers what many rows share."""
    return Redactor.of(Recipe.from_line(recipe).redact)


def columns(found: Iterable[Found], recipe: Recipe, key: str) -> dict[str, list[Any]]:
    """The rows of `Source.drafts` for what was found in one part, in its order."""
    redactor = _redactor(recipe.to_line())
    columns: dict[str, list[Any]] = {"key": [], "n": [], "light": [], "draft": []}
    for n, item in enumerate(harvest.drafted(found, recipe, redactor)):
        columns["key"].append(key)
        columns["n"].append(n)
        columns["light"].append(pickle.dumps(_light(item)))
        columns["draft"].append(pickle.dumps(item))
    return columns


def _light(item: Draft | Refused) -> Draft | Refused:
    """What is needed of an item to decide of it, which is not what it says."""
    if isinstance(item, Refused):
        return item.model_copy(update={"detail": None})
    return item._replace(head="", tail="", opinions=(), producers=(), note={})


def together(parts: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """The rows of several parts."""
    names = ("key", "n", "light", "draft")
    return {name: [value for part in parts for value in part[name]] for name in names}
