"""The local engine with several processes: the same parts, drafted here by whoever has time."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from agentloop import harvest
from agentloop.base.records import Json, Recipe, Refused
from agentloop.base.records.masses import in_masses
from agentloop.base.store import Ledger
from agentloop.harvest import Draft
from agentloop.scale.drafts import Named, cleaning, condition
from agentloop.scale.parts import Part, StoreParts, close

IN_A_PART = 500
"""Traces, contexts or tasks that are read together: two parts a process wait in memory."""


def run_here(
    folder: Path,
    recipe: Recipe,
    url: str,
    ledger: Ledger,
    *,
    workers: int,
    named: Named,
) -> Json:
    """Harvest a store into a folder and the ledger, drafting in `workers` processes; what the
    manifest says. Rows, refusals and files are those of one process, byte for byte.

    Raises:
        ConfigError: the recipe has a part that no other process could make again.
        EmptyHarvest: there is no row.
    """
    source = StoreParts(url, size=IN_A_PART)
    cleaning(recipe.to_line(), named)
    condition(recipe, source.outcomes())
    as_of = ledger.point()
    # Not forked: this process has connections, threads and locks.
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        harvest.gather(
            _drafted(pool, source, recipe, named, ahead=2 * workers),
            recipe,
            traces_read=source.count(),
        ) as made,
    ):
        ledger.put_rows(made.manifest, made.rows(), made.refused(), as_of=as_of)
        harvest.write(made, folder)
        close()
        return made.manifest


def _drafted(
    pool: ProcessPoolExecutor, source: StoreParts, recipe: Recipe, named: Named, *, ahead: int
) -> Iterator[Draft | Refused]:
    """What each part gives, in the order of the parts; so many are worked on ahead."""
    parts = source.parts(recipe)
    waiting: deque[Future[list[Draft | Refused]]] = deque()

    def ask(n: int) -> None:
        for part in islice(parts, n):
            waiting.append(pool.submit(_part, source, part, recipe, named))

    ask(ahead)
    while waiting:
        yield from waiting.popleft().result()
        ask(1)


def _part(source: StoreParts, part: Part, recipe: Recipe, named: Named) -> list[Draft | Refused]:
    with in_masses():
        found = source.found(part, recipe)
        return list(harvest.drafted(found, recipe, cleaning(recipe.to_line(), named)))
