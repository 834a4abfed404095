"""Drafts as Ray carries them, from wherever the traces lie."""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from agentloop import harvest
from agentloop.base.errors import ConfigError
from agentloop.base.records import Example, Recipe, Refused
from agentloop.harvest import Cleaning, Condition, Draft

if TYPE_CHECKING:
    import ray.data

IN_A_PART = 2_000
"""Traces, contexts or tasks that are read together by default."""

Found = Example | Refused


class Named(NamedTuple):
    """What a recipe tells by its hash, and where each worker finds it."""

    against: str | None = None
    """The file of the test set."""
    tokenizer: str | None = None
    """A model of OpenAI's, or a folder."""


NOTHING = Named()


class Source(Protocol):
    """Where the traces come from."""

    def count(self) -> int:
        """How many traces there are."""

    def drafts(self, recipe: Recipe, named: Named = NOTHING) -> "ray.data.Dataset":
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
def cleaning(recipe: str, named: Named) -> Cleaning:
    """What the drafts of a recipe (a line) ask, once in each process: it remembers what many rows
    share.

    Raises:
        ConfigError: it is not what the recipe says, so it cannot be made again.
    """
    wanted = Recipe.from_line(recipe)
    made = Cleaning.asked(wanted.redact, {"near": wanted.near, **named._asdict()})
    for knob, said in made.recipe.items():
        if said != getattr(wanted, knob):
            hint = "workers know what `--pii`, `--keep` and files name, and no other"
            raise ConfigError(f"{knob} cannot be made again by workers: {hint}")
    return made


def columns(found: Iterable[Found], recipe: Recipe, named: Named, key: str) -> dict[str, list[Any]]:
    """The rows of `Source.drafts` for what was found in one part, in its order."""
    asked = cleaning(recipe.to_line(), named)
    columns: dict[str, list[Any]] = {"key": [], "n": [], "light": [], "draft": []}
    for n, item in enumerate(harvest.drafted(found, recipe, asked)):
        columns["key"].append(key)
        columns["n"].append(n)
        columns["light"].append(pickle.dumps(_light(item)))
        if isinstance(item, Draft):
            item = item._replace(outline=None)
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
