"""What earlier writers had to leave behind is stored, and a bad record takes no other along."""

import logging
from collections.abc import Iterable
from pathlib import Path

from agentloop.base.errors import StoreError
from agentloop.base.store import journal
from agentloop.base.store.batch import Storable
from agentloop.base.store.store import Store
from agentloop.base.store.waiting import CAPACITY, ROOM, Held

log = logging.getLogger("agentloop.store")


def recover(store: Store, spill: Path) -> None:
    """Store what earlier writers had to leave behind in `spill`. What the store does not take stays
    where it is."""
    try:
        replay(store, spill)
    except StoreError as error:
        log.warning("what waits in %s is kept for later: %s", spill, error)


def replay(store: Store, spill: Path) -> None:
    """`recover`, for who can go on without it.

    Raises:
        StoreError: the store does not take it now.
    """
    journal.sweep(spill)
    for path, file in journal.orphans(spill):
        refused = Held(CAPACITY, ROOM)
        try:
            for records in journal.batches(file):
                again = [record for record, _ in put(store, records)]
                kept = refused.take(again)
                if refused.full:
                    lament(put(store, [*refused, *again[kept:]]))
                    refused.clear()
            lament(put(store, [*refused]))
        except OSError as error:
            log.warning("%s cannot be read: %s", path, error)
            continue
        path.unlink(missing_ok=True)
        log.info("what waited in %s is stored", path)


PART = 200
"""Records in one transaction."""

Refusal = tuple[Storable, Exception]


def put(store: Store, records: list[Storable]) -> list[Refusal]:
    """Store `records`, and return those that are refused: a bad one does not take the others with
    it.

    Raises:
        StoreError: the store takes none of them now.
    """
    if not records:
        return []
    if len(records) <= PART:
        try:
            store.put(*records)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are stored
            return _without_the_bad(store, records, error)
        return []
    parts = [records[n : n + PART] for n in range(0, len(records), PART)]
    refused: list[Refusal] = []
    for part, why in zip(parts, store.put_each(parts), strict=True):
        if why is not None:
            refused += _without_the_bad(store, part, why)
    return refused


def _without_the_bad(store: Store, records: list[Storable], error: Exception) -> list[Refusal]:
    """Store those of `records` that are not why they were refused together."""
    if isinstance(error, StoreError):
        raise error
    if isinstance(error, (MemoryError, OSError)):  # of the machine and not of a record
        raise StoreError(f"{store.name}: {type(error).__name__}: {error}") from error
    if len(records) == 1:
        return [(records[0], error)]
    middle = len(records) // 2
    return [*put(store, records[:middle]), *put(store, records[middle:])]


def lament(refused: Iterable[Refusal]) -> None:
    for _, error in refused:
        log.error("a record was not stored: %s", error, exc_info=error)
