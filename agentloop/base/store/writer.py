"""The writer: a thread that stores what agents do, so that no agent waits for a disk."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import NamedTuple

from agentloop.base.errors import StoreBusy, StoreError
from agentloop.base.store import journal
from agentloop.base.store.batch import Storable
from agentloop.base.store.recovery import lament, put, replay
from agentloop.base.store.store import Store
from agentloop.base.store.waiting import CAPACITY, ROOM, Held, Waiting

log = logging.getLogger("agentloop.store")

Work = Storable | Callable[[], Iterable[Storable]]
"""A record, or something that makes records when the writer gets to it."""

WEIGHT = 1_000
"""Bytes of work of which nobody says how much it is."""

PATIENCE = 0.25
"""Seconds, at most, that all agents of a process wait in any `PERIOD_SECONDS`, whatever store and
disk do; and no run fails for them. Nobody waits at all before `CAPACITY` or `ROOM` is used up
twice: what the queue has no room for goes to the journal, in a thread of its own."""

PERIOD_SECONDS = 5.0
"""See `PATIENCE`."""

RETRY_SECONDS = 30.0
"""How long a locked store is tried again before the work goes to the journal."""

LINGER_SECONDS = 0.05
"""How long work waits for more to be stored with: one commit for all, and made when the agents are
likely to wait for a model and not for this process."""

DURABLE_SECONDS = 60.0
"""How long a run that is to be on disk when it returns waits for a store that does not answer."""

PAUSE_SECONDS = 5.0
"""How long a store that failed is left alone; meanwhile the work goes to the journal."""

SPILLED = 2_000
"""Pieces of work that go to the journal together, at most."""

CLOSE_SECONDS = 60.0
"""How long closing waits for a store that does not answer before it leaves all to the journal."""


class Mark(NamedTuple):
    """Stands in a line for: all before this is dealt with."""

    done: Event
    last: bool = False
    """Whether the thread is to end here."""


Line = Waiting[Work | Mark]


class Writer:
    """Stores in the background what `submit` is given; `flush` returns when it is on disk.

    When the store refuses (locked for long, disk full, gone), the work goes to a journal file in
    `spill` and one warning says so. It is stored, before anything newer, as soon as the store
    takes it: by this writer, or by the next one on that folder. Where not even the journal takes
    it, `CAPACITY` records and `ROOM` bytes are kept in memory; what is beyond that is lost, and
    counted in the log. Memory is bounded whatever happens, and nothing is dropped in silence.
    """

    def __init__(
        self,
        store: Store,
        *,
        spill: Path,
        capacity: int = CAPACITY,
        room: int = ROOM,
        patience: float = PATIENCE,
        retry_seconds: float = RETRY_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._store = store
        self._spill_folder = spill
        self._capacity = capacity
        self._room = room
        self._patience = patience
        self._retry_seconds = retry_seconds
        self._pause_seconds = pause_seconds
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._queue: Line = Waiting(self._capacity, self._room)
        self._spare: Line = Waiting(self._capacity, self._room)
        """What the queue had no room for, on its way to the journal."""
        self._patience_left, self._patience_until = self._patience, 0.0
        self._journal = journal.Journal(self._spill_folder)
        self._orphans: bool | None = True
        """Whether there may be journals of writers that are gone; None: and that was told."""
        self._held = Held(self._capacity, self._room)
        """What neither store nor journal took: the disk is full."""
        self._refused = Held(self._capacity, self._room)
        """What named a trace or a call that is not stored, and may be before it in order."""
        self._storing: list[Storable] = []
        """What the store is being given at this moment."""
        self._why = ""
        """Why the journal is, or was last, in use."""
        self._lost = 0
        """How much could be kept nowhere, since the last flush."""
        self._lament_again = 0.0
        self._again = 0.0
        """When the store is to be tried again."""
        self._over = False
        """Whether the thread has ended."""
        self._late = Lock()  # whoever stores in place of the thread, when that has ended
        self._thread = Thread(target=self._run, name="agentloop-writer", daemon=True)
        self._thread.start()
        self._spiller: Thread | None = None

    def submit(self, work: Work, weight: int = WEIGHT) -> bool:
        """Have `work` stored soon. Returns at once, or after at most `PATIENCE` when store and
        journal are both far behind; False when not even that helped, and it is lost.

        Args:
            weight: bytes of memory, about, that are free again when it is stored.
        """
        self._wake()
        kept = self._queue.put(work, weight) or self._divert(work, weight)
        self._finish_late()
        return kept

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything submitted so far is committed.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            StoreError: the store did not take it, and it waits in the journal; or the timeout
                passed; or some of it was lost, because nothing took it.
        """
        self._wake()
        until = None if timeout is None else monotonic() + timeout
        for line in (self._spare, self._queue):
            if line is self._spare and self._spiller is None:
                continue
            mark = Mark(Event())
            line.push(mark)
            self._finish_late()
            if not mark.done.wait(None if until is None else max(0.0, until - monotonic())):
                raise StoreBusy(f"{self._store.name} did not take everything within {timeout} s")
        lost, self._lost = self._lost, 0
        if lost:
            raise StoreError(f"{lost} records are lost: {self._why}")
        if self._behind:
            raise StoreError(
                f"{self._why}; what was recorded is kept in {self._spill_folder} and is stored "
                "when that has passed"
            )

    def settle(self, timeout: float = DURABLE_SECONDS) -> None:
        """Return when everything submitted so far is on disk: in the store, or in the journal when
        the store does not take it. Never raises: no run fails for want of a store, and a log line
        says what is wrong.

        Args:
            timeout: seconds that a store which does not answer is waited for.
        """
        try:
            self.flush(timeout)
        except StoreError as error:
            if not self._journal or self._held:
                log.error("what a run did is not on disk: %s", error)  # noqa: TRY400

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Store what waits, then stop. Safe to call twice; work that comes later is stored by
        whoever brings it.

        Args:
            timeout: seconds; a store that has not answered by then is left, and what waits for it
                goes to the journal.
        """
        self._wake()
        until = monotonic() + timeout
        for line, thread in ((self._spare, self._spiller), (self._queue, self._thread)):
            if thread is not None and thread.is_alive():
                line.push(Mark(Event(), last=True))
                thread.join(max(0.0, until - monotonic()))
        if self._thread.is_alive():
            self._leave()
        self._finish_late()
        if self._spiller is None or not self._spiller.is_alive():
            self._journal.close()
        if self._held:
            self._lose(len(self._held), self._why)
            self._held.clear()

    def _wake(self) -> None:
        """Begin anew in a process that was forked: a fork takes no thread along, and what waits is
        its parent's to store."""
        if os.getpid() != self._pid:
            self._store.after_fork()
            self._begin()

    def _divert(self, work: Work, weight: int) -> bool:
        """Have `work` go to the journal, past a queue that has no room."""
        with self._late:
            if self._spiller is None:
                self._spiller = Thread(target=self._spill_on, name="agentloop-spill", daemon=True)
                self._spiller.start()
        if self._spare.put(work, weight) or self._put_in_time(work, weight):
            return True
        self._lose(1, f"{self._store.name} and {self._spill_folder} do not keep up")
        return False

    def _put_in_time(self, work: Work, weight: int) -> bool:
        """Wait for room, with what is left of the patience of this period."""
        now = monotonic()
        if now >= self._patience_until:
            self._patience_left, self._patience_until = self._patience, now + PERIOD_SECONDS
        left, self._patience_left = self._patience_left, 0.0  # nobody waits at the same time
        if not left or not self._spare.put(work, weight, timeout=left):
            return False
        self._patience_left = max(0.0, left - (monotonic() - now))
        return True

    def _leave(self) -> None:
        """Bring to the journal what waits for a store that does not answer: it is stored later,
        and what the store has taken in the end is then there already."""
        waiting: list[Work] = []
        marks: list[Mark] = []
        for item in self._queue.drain():
            if isinstance(item, Mark):
                marks.append(item)
            else:
                waiting.append(item)
        records = [*self._storing, *self._refused, *_records(waiting)]
        if self._spiller is not None and self._spiller.is_alive():
            self._lose(len(records), f"{self._spill_folder} does not answer")
        else:
            self._spill(records, f"{self._store.name} does not answer")
        for mark in marks:
            mark.done.set()
        self._queue.push(Mark(Event(), last=True))  # should the store ever answer

    # ------------------------------------------------------------------ in the threads

    def _run(self) -> None:
        try:
            self._commit([])  # what others left behind comes first
            while True:
                self._queue.linger(journal.BATCH, LINGER_SECONDS)
                if not self._step(self._queue, self._commit):
                    return
        finally:
            self._over = True

    def _spill_on(self) -> None:
        while self._step(self._spare, self._spill_over):
            pass

    def _step(self, line: Line, into: Callable[[list[Storable]], None]) -> bool:
        """Handle what waits, up to a batch and never beyond a mark, so that a mark means what it
        says. False when it is time to stop."""
        # What goes to the journal costs one sync, however much it is.
        most = journal.BATCH if line is self._queue else SPILLED
        work, mark, taken = _batch(line, most)
        into(_records(work))
        if mark is not None and line is self._queue:
            self._commit([], at_once=True)
        line.done(taken)
        if mark is not None:
            mark.done.set()
        return mark is None or not mark.last

    def _finish_late(self) -> None:
        """What came when the threads had ended is stored here and now."""
        if self._over:
            with self._late:
                while self._spare:
                    self._step(self._spare, self._spill_over)
                while self._queue:
                    self._step(self._queue, self._commit)

    def _spill_over(self, records: list[Storable]) -> None:
        self._spill(records, "more happens than can be stored")

    def _commit(self, records: list[Storable], *, at_once: bool = False) -> None:
        """Store what waits in the journal, then `records`; else add them to the journal."""
        if self._behind and monotonic() < self._again and not at_once:
            self._spill(records, self._why)
            return
        self._storing = records
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
        self._storing = []

    def _catch_up(self) -> None:
        if self._orphans is not False:
            self._recover()
        if not self._behind:
            return
        self._journal.empty(self._put)
        while self._held:
            self._put(self._held.first(journal.BATCH))
            self._held.drop(journal.BATCH)
        log.warning("%s takes records again; what waited is stored", self._store.name)

    def _recover(self) -> None:
        try:
            replay(self._store, self._spill_folder)
        except StoreError as error:
            if self._orphans:
                log.warning("what waits in %s is kept for later: %s", self._spill_folder, error)
            self._orphans = None
            raise
        self._orphans = False

    def _put_patiently(self, records: list[Storable]) -> None:
        until = monotonic() + self._retry_seconds
        while True:
            try:
                return self._put(records)
            except StoreBusy:
                if monotonic() > until:
                    raise

    def _put(self, records: list[Storable]) -> None:
        refused = put(self._store, records)
        lament(refused[self._refused.take([record for record, _ in refused]) :])

    def _settle_refused(self, *, at_once: bool) -> None:
        """Try again what was refused, now that what came before it is stored. What overflowed into
        the journal is stored sooner or later than what was submitted with it."""
        if not self._refused:
            return
        last = not (self._queue or self._spare.undone or self._behind) or self._refused.full
        if last or at_once:
            refused = put(self._store, [*self._refused])
            self._refused.clear()
            if last:
                lament(refused)
            else:
                self._refused.take([record for record, _ in refused])

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
        kept = self._held.take(records)
        if kept < len(records):
            self._lose(len(records) - kept, why)

    def _lose(self, number: int, why: str) -> None:
        self._lost += number
        self._why = why
        if monotonic() >= self._lament_again:
            self._lament_again = monotonic() + self._pause_seconds
            log.critical("%d records are lost: %s", self._lost, why)


def _batch(line: Line, most: int) -> tuple[list[Work], Mark | None, int]:
    """What waits, up to the end of a batch or to a mark; that mark; and how many were taken."""
    work: list[Work] = []
    pieces = heavy = 0
    while True:
        item, weight = line.get()
        if isinstance(item, Mark):
            return work, item, len(work) + 1
        work.append(item)
        pieces += len(item) if isinstance(item, Sized) else 1
        heavy += weight
        if pieces >= most or heavy >= journal.BATCH_BYTES or not line:
            return work, None, len(work)


def _records(work: Iterable[Work]) -> list[Storable]:
    return [record for piece in work for record in made(piece)]


def made(piece: Work) -> Iterator[Storable]:
    """The records that a piece of work makes; those before it fails, when it fails."""
    if not callable(piece):
        yield piece
        return
    try:
        yield from piece()
    except Exception:
        # One run that cannot be converted must not stop the capture of all others.
        log.exception("something an agent did could not be stored")
