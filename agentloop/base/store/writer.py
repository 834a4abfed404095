"""The writer: a thread that stores what agents do, so that no agent waits for a disk."""

import logging
import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic

from agentloop.base.errors import StoreBusy, StoreError
from agentloop.base.store import journal
from agentloop.base.store.batch import Storable
from agentloop.base.store.store import Store

log = logging.getLogger("agentloop.store")

Work = Storable | Callable[[], Iterable[Storable]]
"""A record, or something that makes records when the writer gets to it."""

CAPACITY = 20_000
"""How much work may wait. More makes the caller wait, then goes to the journal."""

PATIENCE = 0.25
"""Seconds that a caller waits for a full queue, once until it has room again."""

RETRY_SECONDS = 30.0
"""How long a locked store is tried again before the work goes to the journal."""

PAUSE_SECONDS = 5.0
"""How long a store that failed is left alone; meanwhile the work goes to the journal."""


class Writer:
    """Stores in the background what `submit` is given; `flush` returns when it is on disk.

    When the store refuses (locked for long, disk full, gone), the work goes to a journal file in
    `spill` and one warning says so. It is stored, before anything newer, as soon as the store
    takes it: by this writer, or by the next one on that folder. Nothing is dropped in silence.
    """

    def __init__(
        self,
        store: Store,
        *,
        spill: Path,
        capacity: int = CAPACITY,
        patience: float = PATIENCE,
        retry_seconds: float = RETRY_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._store = store
        self._spill_folder = spill
        self._capacity = capacity
        self._patience = patience
        self._retry_seconds = retry_seconds
        self._pause_seconds = pause_seconds
        recover(store, spill)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._queue: queue.Queue[Work | Event | None] = queue.Queue(self._capacity)
        self._crowded = False
        self._journal = journal.Journal(self._spill_folder)
        self._held: deque[Storable] = deque()
        """What neither store nor journal took: the disk is full. Bounded by the capacity."""
        self._refused: list[Storable] = []
        """What named a trace or a call that is not stored, and may be before it in order."""
        self._why = ""
        """Why the journal is, or was last, in use."""
        self._again = 0.0
        """When the store is to be tried again."""
        self._late = Lock()  # whoever stores in place of the thread, when that has ended
        self._thread = Thread(target=self._run, name="agentloop-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Have `work` stored soon. Returns at once, or after `PATIENCE` when the queue is full."""
        self._wake()
        try:
            self._queue.put(work, timeout=0.0 if self._crowded else self._patience)
            self._crowded = False
        except queue.Full:
            self._crowded = True
            self._spill(_records([work]), "more happens than can be stored")
        self._finish_late()

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything submitted so far is committed.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            StoreError: the store did not take it, and it waits in the journal; or the timeout
                passed.
        """
        self._wake()
        done = Event()
        try:
            self._queue.put(done, timeout=timeout)
        except queue.Full:
            pass
        else:
            self._finish_late()
            done.wait(timeout)
        if not done.is_set():
            raise StoreBusy(f"{self._store.name} did not take everything within {timeout} s")
        if self._behind:
            raise StoreError(
                f"{self._why}; what was recorded is kept in {self._spill_folder} and is stored "
                "when that has passed"
            )

    def close(self) -> None:
        """Store what waits, then stop. Safe to call twice; work that comes later is stored by
        whoever brings it."""
        self._wake()
        self._queue.put(None)
        self._thread.join()
        self._finish_late()
        self._journal.close()
        if self._held:
            log.critical("%d records are lost: %s", len(self._held), self._why)
            self._held.clear()

    def _wake(self) -> None:
        """Begin anew in a process that was forked: a fork takes no thread along, and what waits is
        its parent's to store."""
        if os.getpid() != self._pid:
            self._store.after_fork()
            self._begin()

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        """Handle what waits, up to a batch and never beyond a mark, so that a mark means what it
        says. False when it is time to stop."""
        work: list[Work] = []
        item = self._queue.get()
        while item is not None and not isinstance(item, Event):
            work.append(item)
            if len(work) == journal.BATCH or self._queue.empty():
                break
            item = self._queue.get()
        self._commit(_records(work))
        if item is None or isinstance(item, Event):
            self._commit([], at_once=True)
        if isinstance(item, Event):
            item.set()
        return item is not None

    def _finish_late(self) -> None:
        """What came when the thread had ended is stored here and now."""
        if not self._thread.is_alive():
            with self._late:
                while not self._queue.empty():
                    self._step()

    def _commit(self, records: list[Storable], *, at_once: bool = False) -> None:
        """Store what waits in the journal, then `records`; else add them to the journal."""
        if self._behind and monotonic() < self._again and not at_once:
            self._spill(records, self._why)
            return
        try:
            self._catch_up()
            if records:
                self._put_patiently(records)
            self._settle_refused(at_once=at_once)
        except StoreError as error:
            self._again = monotonic() + self._pause_seconds
            self._spill(records, str(error))
        except Exception as error:
            # This thread is the memory of the process: nothing may end it.
            log.exception("storing failed in a way that it should not")
            self._spill(records, f"{type(error).__name__}: {error}")

    def _catch_up(self) -> None:
        if not self._behind:
            return
        self._journal.empty(self._put)
        while self._held:
            some = [self._held[n] for n in range(min(journal.BATCH, len(self._held)))]
            self._put(some)
            for _ in some:
                self._held.popleft()
        log.warning("%s takes records again; what waited is stored", self._store.name)

    def _put_patiently(self, records: list[Storable]) -> None:
        until = monotonic() + self._retry_seconds
        while True:
            try:
                return self._put(records)
            except StoreBusy:
                if monotonic() > until:
                    raise

    def _put(self, records: list[Storable]) -> None:
        self._refused += [record for record, _ in put(self._store, records)]

    def _settle_refused(self, *, at_once: bool) -> None:
        """Try again what was refused, now that what came before it is stored. What overflowed into
        the journal is stored sooner or later than what was submitted with it."""
        last = (self._queue.empty() and not self._behind) or len(self._refused) > CAPACITY
        if self._refused and (last or at_once):
            refused = put(self._store, self._refused)
            self._refused = [] if last else [record for record, _ in refused]
            if last:
                _lament(refused)

    # ------------------------------------------------------------------ in any thread

    @property
    def _behind(self) -> bool:
        """Whether something waits that the store did not take."""
        return bool(self._journal or self._held)

    def _spill(self, records: list[Storable], why: str) -> None:
        self._why = why
        if not records:
            return
        first = not self._behind
        where = str(self._spill_folder)
        try:
            where = str(self._journal.append(records))
        except OSError as error:
            self._hold(records, f"{why}; and the journal: {error.strerror}")
        if first:
            log.warning("%s; what was recorded is kept in %s", why, where)

    def _hold(self, records: list[Storable], why: str) -> None:
        room = max(0, self._capacity - len(self._held))
        self._held.extend(records[:room])
        if lost := records[room:]:
            log.critical("%d records are lost: %s", len(lost), why)


def recover(store: Store, spill: Path) -> None:
    """Store what earlier writers had to leave behind in `spill`. What the store does not take stays
    where it is."""
    for path, file in journal.orphans(spill):
        refused: list[Refusal] = []
        try:
            for records in journal.batches(journal.read(file)):
                refused += put(store, records)
            _lament(put(store, [record for record, _ in refused]))
        except (StoreError, OSError) as error:
            log.warning("%s is kept for later: %s", path, error)
            continue
        path.unlink(missing_ok=True)
        log.info("what waited in %s is stored", path)


Refusal = tuple[Storable, Exception]


def put(store: Store, records: list[Storable]) -> list[Refusal]:
    """Store `records`, and return those that are refused: a bad one does not take the others with
    it.

    Raises:
        StoreError: the store takes none of them now.
    """
    if not records:
        return []
    try:
        store.put(*records)
    except StoreError:
        raise
    except (MemoryError, OSError) as error:  # of the machine and not of a record
        raise StoreError(f"{store.name}: {type(error).__name__}: {error}") from error
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are stored
        if len(records) == 1:
            return [(records[0], error)]
        middle = len(records) // 2
        return [*put(store, records[:middle]), *put(store, records[middle:])]
    return []


def _lament(refused: Iterable[Refusal]) -> None:
    for _, error in refused:
        log.error("a record was not stored: %s", error, exc_info=error)


def _records(work: Iterable[Work]) -> list[Storable]:
    return [record for piece in work for record in _made(piece)]


def _made(piece: Work) -> Iterator[Storable]:
    if not callable(piece):
        yield piece
        return
    try:
        yield from piece()
    except Exception:
        # One run that cannot be converted must not stop the capture of all others.
        log.exception("something an agent did could not be stored")
