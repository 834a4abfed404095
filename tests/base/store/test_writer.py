"""The writer: what was submitted is stored, or waits in a file until it can be."""

import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agentloop.base.errors import StoreBusy, StoreError
from agentloop.base.store import Store, Writer, recover
from agentloop.base.store import journal as journals
from agentloop.base.store import writer as writers
from agentloop.base.store.journal import Journal
from tests.base.texts import ODD
from tests.makers import (
    a_call,
    a_correction,
    a_span,
    a_trace,
    an_opinion,
    an_outcome,
    asks,
    returns,
    says,
    system,
    user,
)

KINDS = (
    a_trace(system(), user(), asks(), returns(), says(None), user(), id="t1", metadata={"a": None}),
    a_call(user(), asks("f", '{ "a":1}', "x"), trace="t1", index=7),
    a_span("t1", data={"input": None}),
    a_correction(a_call(trace="t1"), asks("g", "{}", "y"), id="o1"),
    an_outcome("t1", reference={"a": [None]}),
)


def until(gate, began=None):
    """Work that takes until the gate is open, and makes nothing."""

    def work():
        if began is not None:
            began.set()
        assert gate.wait(10)
        return ()

    return work


class Moody:
    """A store that may have a mood: `mood` is raised by `put` while it is set."""

    def __init__(self, store):
        self.store = store
        self.name = store.name
        self.mood = None
        self.batches = []

    def put(self, *records):
        if self.mood is not None:
            raise self.mood
        self.store.put(*records)
        self.batches.append(records)

    def put_each(self, parts):
        for part in parts:
            try:
                self.put(*part)
            except Exception as error:  # noqa: BLE001 - as the store's own
                yield error
            else:
                yield None


def a_writer(store, spill):
    return Writer(store, spill=spill)


@pytest.fixture
def moody(store):
    return Moody(store)


@pytest.fixture
def spill(tmp_path):
    return tmp_path / "spill"


@pytest.fixture
def writer(moody, spill):
    opened = Writer(moody, spill=spill, retry_seconds=0.0, pause_seconds=0.0)
    yield opened
    moody.mood = None
    opened.close()


def files(spill):
    return sorted(spill.glob("*.journal"))


def ids(store):
    return {judged.trace.id for judged in store.all_judged()}


def bare(id):
    return a_trace(id=id, calls=())


# ---------------------------------------------------------------------- when all is well


def test_what_is_flushed_is_stored(writer, store):
    for record in KINDS:
        writer.submit(record)
    writer.flush()
    assert store.judged("t1").opinions[0].correction == KINDS[3].correction
    assert len(store.trace("t1").calls) == 3


def test_records_are_stored_in_the_order_they_were_submitted(writer, moody):
    made = [bare(f"t{n:04}") for n in range(500)]
    for trace in made:
        writer.submit(trace)
    writer.flush()
    assert [record.id for batch in moody.batches for record in batch] == [t.id for t in made]
    assert max(len(batch) for batch in moody.batches) <= journals.BATCH


def test_work_that_makes_records_is_done_in_the_writers_thread(writer, store):
    where = []

    def work():
        where.append(threading.current_thread().name)
        yield bare("made")

    writer.submit(work)
    writer.flush()
    assert where == ["agentloop-writer"]
    assert ids(store) == {"made"}


def test_work_that_fails_is_logged_and_stops_nothing(writer, store, caplog):
    writer.submit(lambda: 1 / 0)
    writer.submit(bare("next"))
    writer.flush()
    assert ids(store) == {"next"}
    assert "ZeroDivisionError" in caplog.text


def test_a_bad_record_does_not_take_its_batch_along(moody, spill, store, caplog):
    gate = threading.Event()
    writer = Writer(moody, spill=spill)
    writer.submit(until(gate))  # so that what follows is one batch
    for n in range(50):
        writer.submit(bare(f"t{n}"))
        if n in (7, 8, 40):
            writer.submit(an_outcome("nobody"))
    gate.set()
    writer.close()
    assert len(ids(store)) == 50
    assert caplog.text.count("a record was not stored: nothing stored: there is no trace") == 3
    assert files(spill) == []


def test_a_record_that_breaks_the_store_in_a_new_way_stops_nothing_either(moody, spill, store):
    class Broken(Moody):
        def put(self, *records):
            if any(record.id == "bad" for record in records):
                raise ZeroDivisionError
            super().put(*records)

    with_bad = a_writer(Broken(store), spill)
    for id in ("a", "bad", "b"):
        with_bad.submit(bare(id))
    with_bad.flush()
    with_bad.close()
    assert ids(store) == {"a", "b"}


def test_closing_stores_what_waits_and_may_be_done_twice(moody, spill, store):
    writer = Writer(moody, spill=spill)
    for n in range(300):
        writer.submit(bare(f"t{n}"))
    writer.close()
    writer.close()
    assert len(ids(store)) == 300


def test_what_comes_after_closing_is_stored_all_the_same(moody, spill, store):
    writer = Writer(moody, spill=spill)
    writer.close()
    writer.submit(bare("late"))
    writer.flush()
    assert ids(store) == {"late"}


def test_many_threads_may_submit_at_once(writer, store):
    def work(k):
        for n in range(50):
            writer.submit(bare(f"t{k}-{n}"))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    assert len(ids(store)) == 200


# ---------------------------------------------------------------------- when the store refuses


@pytest.mark.parametrize("mood", [StoreError("gone"), StoreBusy("locked"), MemoryError("none")])
def test_what_the_store_refuses_waits_in_a_file_and_one_warning_says_so(
    writer, moody, spill, store, caplog, mood
):
    moody.mood = mood
    for record in KINDS:
        writer.submit(record)
        with pytest.raises(StoreError, match=r"is kept in .*spill and is stored when"):
            writer.flush()
    assert len(files(spill)) == 2, "not one for each time that it was tried"
    assert caplog.text.count("what was recorded is kept in") == 1
    moody.mood = None
    writer.flush()
    assert files(spill) == []
    assert store.trace("t1").calls[0] == KINDS[0].calls[0]
    assert "takes records again" in caplog.text


def test_what_waited_is_stored_before_what_is_newer(writer, moody, store):
    """Else a call would come before the trace that it belongs to, and be refused."""
    moody.mood = StoreError("gone")
    writer.submit(bare("t1"))
    with pytest.raises(StoreError):
        writer.flush()
    moody.mood = None
    writer.submit(a_call(user(), says(), trace="t1"))
    writer.flush()
    assert len(store.trace("t1").calls) == 1


def test_while_the_store_is_left_alone_work_goes_to_the_file_at_once(moody, spill):
    writer = Writer(moody, spill=spill, retry_seconds=0.0, pause_seconds=3600.0)
    moody.mood = StoreError("gone")
    tries = count()
    put = moody.put
    moody.put = lambda *records: (next(tries), put(*records))
    writer.submit(bare("t0"))
    with pytest.raises(StoreError):
        writer.flush()  # a flush always tries
    before = next(tries)
    done, open_gate = threading.Event(), threading.Event()
    open_gate.set()
    for n in range(20):
        writer.submit(bare(f"t{n}"))
    writer.submit(until(open_gate, done))
    assert done.wait(10)
    assert next(tries) == before + 1
    moody.mood = None
    writer.flush()
    writer.close()
    assert len(ids(moody.store)) == 20


def test_the_next_writer_on_the_folder_stores_what_the_last_one_could_not(moody, spill, store):
    first = Writer(moody, spill=spill, retry_seconds=0.0)
    moody.mood = StoreError("gone")
    for record in KINDS:
        first.submit(record)
    first.close()
    assert ids(store) == set()
    assert len(files(spill)) == 1
    moody.mood = None
    second = Writer(moody, spill=spill)
    second.flush()
    assert ids(store) == {"t1"}
    assert store.judged("t1").outcomes[0].reference == {"a": [None]}
    assert files(spill) == []
    second.close()


def test_a_file_that_still_cannot_be_stored_stays_for_later(moody, spill, store, caplog):
    journal = Journal(spill)
    path = journal.append([bare("t1")])
    journal.close()
    moody.mood = StoreError("gone")
    Writer(moody, spill=spill).close()
    assert files(spill) == [path]
    assert "kept for later: gone" in caplog.text


def test_the_file_of_a_living_writer_is_left_alone(writer, moody, spill, store):
    moody.mood = StoreError("gone")
    writer.submit(bare("t1"))
    with pytest.raises(StoreError):
        writer.flush()
    (path,) = files(spill)
    a_writer(Moody(store), spill).close()
    assert files(spill) == [path]
    assert ids(store) == set()


def test_a_full_queue_makes_nobody_wait_and_goes_to_the_file(moody, spill, store, monkeypatch):
    waits = []
    gate = threading.Event()
    writer = Writer(moody, spill=spill, capacity=10)
    real = writer._spare.put

    def put(item, weight, timeout=0.0):
        waits.append(timeout)
        return real(item, weight, timeout=timeout)

    monkeypatch.setattr(writer._spare, "put", put)
    began = threading.Event()
    writer.submit(until(gate, began))
    assert began.wait(10)
    for n in range(18):
        writer.submit(bare(f"t{n}"))
    assert waits == [0.0] * 8
    writer._spare.push(mark := writers.Mark(threading.Event()))
    assert mark.done.wait(10), "though the store is busy"
    assert len(files(spill)) == 1
    gate.set()
    writer.flush()
    assert ids(store) == {f"t{n}" for n in range(18)}
    assert files(spill) == []
    writer.close()


def test_who_waits_uses_up_the_patience_of_all(moody, spill, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(writers, "monotonic", lambda: clock[0])
    writer = Writer(moody, spill=spill, patience=1.0)
    waits = []

    def put(item, weight, timeout=0.0):
        """A line that has room after three eighths of a second."""
        waits.append(timeout)
        clock[0] += min(timeout, 0.375)
        return timeout >= 0.375

    monkeypatch.setattr(writer._queue, "put", lambda *_: False)
    monkeypatch.setattr(writer._spare, "put", put)
    took = []
    for _ in range(5):
        began = clock[0]
        writer.submit(bare("t1"))
        took.append(clock[0] - began)
    assert sum(took) == 1.0 == writers.PATIENCE * 4
    assert waits == [0.0, 1.0, 0.0, 0.625, 0.0, 0.25, 0.0, 0.0]
    clock[0] += writers.PERIOD_SECONDS
    writer.submit(bare("t1"))
    assert waits[8:] == [0.0, 1.0]
    monkeypatch.undo()
    writer.close()


@pytest.fixture
def stuck(moody, spill, monkeypatch):
    """A writer whose store and whose disk do not answer, until the gate is open."""
    gate, began = threading.Event(), threading.Event()
    put, append = moody.put, Journal.append

    def waits(*records):
        began.set()
        assert gate.wait(30)
        put(*records)

    def waits_too(self, records):
        assert gate.wait(30)
        return append(self, records)

    moody.put = waits
    monkeypatch.setattr(Journal, "append", waits_too)
    writer = Writer(moody, spill=spill, capacity=10, room=100_000, patience=0.01)
    writer.submit(bare("first"))
    assert began.wait(10)
    yield writer, gate
    gate.set()
    writer.close()


def test_nobody_waits_for_a_store_and_a_disk_that_do_not_answer(stuck, store, caplog):
    """Memory is bounded: what is beyond it is lost, with one loud line and not in silence."""
    writer, gate = stuck
    for n in range(1000):
        writer.submit(bare(f"t{n}"))  # returns, though nothing answers
    assert len(writer._queue) <= 10
    assert len(writer._spare) <= 10
    assert caplog.text.count("records are lost") == 1
    gate.set()
    with pytest.raises(StoreError, match=r"(\d+) records are lost") as raised:
        writer.flush(30)
    writer.flush(30)
    assert len(ids(store)) + int(str(raised.value).split()[0]) == 1001
    assert len(ids(store)) >= 20, "all that there was room for is stored"


def test_large_work_is_bounded_by_its_weight(stuck, store):
    writer, gate = stuck
    for n in range(6):
        writer.submit(bare(f"t{n}"), weight=60_000)
    assert (len(writer._queue), len(writer._spare)) == (1, 1)
    gate.set()


def test_a_batch_is_bounded_by_the_weight_of_its_work(moody, spill, monkeypatch):
    monkeypatch.setattr(journals, "BATCH_BYTES", 1000)
    gate, began = threading.Event(), threading.Event()
    writer = Writer(moody, spill=spill)
    writer.submit(until(gate, began))
    assert began.wait(10)
    for n in range(8):
        writer.submit(bare(f"t{n}"), weight=500)
    gate.set()
    writer.close()
    assert [len(batch) for batch in moody.batches] == [2, 2, 2, 2]


def test_a_store_that_never_answers_is_left_when_the_process_ends(moody, spill, store):
    gate, began = threading.Event(), threading.Event()
    put = moody.put

    def waits(*records):
        began.set()
        assert gate.wait(30)
        put(*records)

    moody.put = waits
    writer = Writer(moody, spill=spill)
    writer.submit(bare("t0"))
    assert began.wait(10)
    for n in range(1, 5):
        writer.submit(bare(f"t{n}"))
    writer.close(timeout=0.05)
    assert ids(store) == set()
    recover(store, spill)
    assert ids(store) == {f"t{n}" for n in range(5)}
    gate.set()
    writer._thread.join(10)
    assert ids(store) == {f"t{n}" for n in range(5)}


def test_a_file_that_somebody_removes_is_still_stored(writer, moody, spill, store):
    moody.mood = StoreError("gone")
    writer.submit(bare("t1"))
    with pytest.raises(StoreError):
        writer.flush()
    for path in files(spill):
        path.unlink()
    writer.submit(bare("t2"))
    with pytest.raises(StoreError):
        writer.flush()
    assert len(files(spill)) == 1, "what comes next is on disk again"
    moody.mood = None
    writer.flush()
    assert ids(store) == {"t1", "t2"}


def test_a_large_journal_is_stored_a_piece_at_a_time(moody, spill, monkeypatch):
    monkeypatch.setattr(journals, "BATCH_BYTES", 10_000)
    journal = Journal(spill)
    journal.append(a_trace(id=f"t{n}", calls=(), metadata={"a": "x" * 4_000}) for n in range(20))
    journal.close()
    recover(moody, spill)
    assert [len(batch) for batch in moody.batches] == [3, 3, 3, 3, 3, 3, 2]


def test_what_overflows_into_the_file_finds_its_trace_that_waits_in_the_queue(
    moody, spill, store, caplog
):
    gate, began = threading.Event(), threading.Event()
    writer = Writer(moody, spill=spill, capacity=2, patience=5.0)
    writer.submit(until(gate, began))
    assert began.wait(10)
    writer.submit(bare("t0"))
    writer.submit(bare("t1"))  # fills the queue
    writer.submit(a_call(user(), says(), trace="t1"))
    writer.submit(a_span("t1"))
    gate.set()
    writer.flush()
    writer.close()
    assert (len(store.trace("t1").calls), len(store.trace("t1").spans)) == (1, 1)
    assert "not stored" not in caplog.text
    assert files(spill) == []


def test_what_belongs_to_nothing_is_tried_again_and_then_named(writer, store, caplog):
    writer.submit(an_outcome("t1"))
    writer.submit(bare("t1"))
    writer.submit(an_outcome("nobody"))
    writer.flush()
    assert len(store.judged("t1").outcomes) == 1
    assert caplog.text.count("a record was not stored: nothing stored: there is no trace") == 1


def test_a_flush_that_takes_too_long_says_so(moody, spill):
    gate = threading.Event()
    writer = Writer(moody, spill=spill)
    writer.submit(until(gate))
    with pytest.raises(StoreBusy, match=r"within 0\.01 s"):
        writer.flush(0.01)
    gate.set()
    writer.flush()
    writer.close()


def test_a_disk_that_is_full_for_store_and_file_alike_loses_nothing(
    moody, spill, store, caplog, monkeypatch
):
    writer = Writer(moody, spill=spill, retry_seconds=0.0, pause_seconds=0.0)
    moody.mood = StoreError("no space left")
    monkeypatch.setattr(Journal, "append", full)
    for n in range(450):
        writer.submit(bare(f"t{n}"))
    with pytest.raises(StoreError, match="no space left"):
        writer.flush()
    monkeypatch.undo()
    moody.mood = None
    writer.flush()
    assert len(ids(store)) == 450
    assert "are lost" not in caplog.text
    writer.close()


def full(self, records):
    raise OSError(28, "No space left on device")


def test_what_can_be_kept_nowhere_is_bounded_and_counted(moody, spill, caplog, monkeypatch):
    numbers = count()
    writer = Writer(moody, spill=spill, retry_seconds=0.0, pause_seconds=0.0, capacity=10)
    moody.mood = StoreError("no space left")
    monkeypatch.setattr(Journal, "append", full)
    for _ in range(25):
        writer.submit(lambda: [bare(f"t{next(numbers)}")])
    with pytest.raises(StoreError):
        writer.flush()
    assert "records are lost: no space left; and the journal: No space left" in caplog.text
    assert len(writer._held) == 10
    monkeypatch.undo()
    moody.mood = None
    writer.close()
    assert len(ids(moody.store)) == 10


# ---------------------------------------------------------------------- the file


@pytest.mark.parametrize("record", KINDS, ids=lambda r: type(r).__name__)
def test_every_kind_of_record_comes_back_from_the_file_as_it_was(spill, record):
    journal = Journal(spill)
    path = journal.append([record])
    with path.open("rb") as file:
        (back,) = journals.read(file)
    assert back == record
    assert back.to_line() == record.to_line()
    journal.close()


def test_odd_texts_come_back_from_the_file(spill):
    journal = Journal(spill)
    traces = [a_trace(user(text), says(text), id=f"t{n}", user=text) for n, text in enumerate(ODD)]
    path = journal.append(traces)
    with path.open("rb") as file:
        assert list(journals.read(file)) == traces
    journal.close()


def test_half_a_line_and_lines_of_nobody_are_named_and_stop_nothing(spill, store, caplog):
    journal = Journal(spill)
    path = journal.append([bare("t1"), bare("t2")])
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(b"Robot {}\n\xff\xff\n\n" + whole[: -len(bare("t2").to_line()) // 2])
    a_writer(Moody(store), spill).close()
    assert ids(store) == {"t1"}
    assert caplog.text.count("cannot be read") == 4
    assert files(spill) == []


def test_a_write_that_fails_half_way_leaves_no_half_line(spill):
    journal = Journal(spill)
    path = journal.append([bare("t1")])

    class Full:
        """A file on a disk with a few bytes left."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            if len(data) < 50:
                raise OSError(28, "No space left on device")
            return self.file.write(data[:50])

        def __getattr__(self, name):
            return getattr(self.file, name)

    real: Any = journal._file
    journal._file = real._replace(file=Full(real.file))
    with pytest.raises(OSError, match="No space left"):
        journal.append([bare("t2")])
    journal._file = real
    journal.append([bare("t3")])
    with path.open("rb") as file:
        assert list(journals.read(file)) == [bare("t1"), bare("t3")]
    journal.close()


def test_what_is_added_while_it_is_emptied_waits_for_the_next_time(spill):
    journal = Journal(spill)
    journal.append([bare("t1")])
    taken: list[Any] = []

    def into(records):
        taken.extend(record.id for record in records)
        if len(taken) == 1:
            journal.append([bare("t2")])

    journal.empty(into)
    assert taken == ["t1"]
    assert journal
    journal.empty(into)
    assert taken == ["t1", "t2"]
    assert not journal
    assert files(spill) == []


def test_what_could_not_be_emptied_is_still_there(spill):
    journal = Journal(spill)
    journal.append([bare("t1")])

    def refuses(records):
        raise StoreError("no")

    for _ in range(2):
        with pytest.raises(StoreError):
            journal.empty(refuses)
    journal.append([bare("t2")])
    taken: list[Any] = []
    journal.empty(taken.extend)
    assert [record.id for record in taken] == ["t1", "t2"]


def test_a_file_is_never_found_unlocked_while_its_writer_lives(spill, monkeypatch):
    seen: list[Path] = []
    rename = Path.rename

    def watched(self, to):
        rename(self, to)
        seen.extend(path for path, _ in journals.orphans(spill))

    monkeypatch.setattr(Path, "rename", watched)
    journal = Journal(spill)
    journal.append([bare("t1")])
    assert seen == []
    journal.close()
    assert [path for path, _ in journals.orphans(spill)] == files(spill)


def test_a_draft_that_a_killed_writer_left_is_swept_away_and_no_other(spill, store, monkeypatch):
    spill.mkdir()
    (spill / ".spill-1-left.journal").touch()
    journal = Journal(spill)
    rename = Path.rename

    def in_between(self, to):
        recover(store, spill)
        rename(self, to)

    monkeypatch.setattr(Path, "rename", in_between)
    path = journal.append([bare("t1")])
    assert [*spill.iterdir()] == [path]
    journal.close()


def test_a_draft_that_is_swept_away_too_early_is_made_anew(spill, monkeypatch):
    lock, early = journals._lock, iter([True])

    def slowly(file):
        if next(early, False):
            journals.sweep(spill)
        return lock(file)

    monkeypatch.setattr(journals, "_lock", slowly)
    journal = Journal(spill)
    path = journal.append([bare("t1")])
    assert [*spill.iterdir()] == [path]
    journal.close()


def test_two_that_recover_one_folder_do_not_meet(spill):
    journal = Journal(spill)
    journal.append([bare("t1")])
    journal.close()
    first: Any = journals.orphans(spill)
    next(first)
    assert list(journals.orphans(spill)) == []
    first.close()
    assert len(list(journals.orphans(spill))) == 1


def test_a_store_may_be_recovered_without_a_writer(tmp_path, spill):
    from agentloop.base.store import recover

    journal = Journal(spill)
    journal.append([bare("t1"), an_opinion("nobody"), bare("t2")])
    journal.close()
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        recover(store, spill)
        recover(store, spill)
        assert ids(store) == {"t1", "t2"}
