"""Whatever becomes of the store: no run fails for it, none waits for it, nothing is lost."""

import asyncio
import random
import sqlite3
import threading
from contextlib import contextmanager

import pytest
import sqlalchemy
from agents import Agent, RunConfig
from agents.testing import ScriptedModel, assistant_message

from agentloop import AgentLoop, Settings
from agentloop.base.errors import StoreError
from agentloop.base.store import Writer


@pytest.fixture
def loop(tmp_path):
    settings = Settings(spill_dir=tmp_path)
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=settings) as opened:
        spill = opened._spill
        patient = Writer(opened.store, spill=spill, retry_seconds=0.0, pause_seconds=0.0)
        vars(opened)["_writer"] = patient
        yield opened
        patient.close()


LONG = random.Random(0).randbytes(50_000).hex()
"""What no compression makes short."""


def ask(loop, n=0):
    config = RunConfig(model=ScriptedModel([[assistant_message(f"answer {n}")]]))
    # What it says is too much for the room that is left in a database that is full.
    return loop.run(Agent("support"), f"question {n} {LONG}", run_config=config)


@contextmanager
def locked(loop, tmp_path):
    """Somebody else writes, and takes his time."""
    holder = sqlite3.connect(tmp_path / "loop.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pragma(loop, "PRAGMA busy_timeout = 0"):
        yield
        holder.close()


@contextmanager
def full(loop, tmp_path):
    """There is no room for another page."""
    with loop.store._database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    with pragma(loop, f"PRAGMA max_page_count = {pages}"):
        yield


@contextmanager
def read_only(loop, tmp_path):
    """The store may be read and not written."""
    with pragma(loop, "PRAGMA query_only = ON"):
        yield


@contextmanager
def gone(loop, tmp_path):
    """There is no database any more."""
    file = tmp_path / "loop.db"
    loop.store.close()
    file.rename(tmp_path / "away.db")
    file.mkdir()
    yield
    file.rmdir()
    (tmp_path / "away.db").rename(file)
    loop.store.close()


@contextmanager
def pragma(loop, said):
    engine = loop.store._database._engine

    def prepare(connection, _):
        connection.execute(said)

    sqlalchemy.event.listen(engine, "connect", prepare)
    loop.store.close()
    yield
    sqlalchemy.event.remove(engine, "connect", prepare)
    loop.store.close()


OUTAGES = [locked, full, read_only, gone]


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_run_goes_well_and_is_stored_when_the_outage_has_passed(loop, tmp_path, outage, caplog):
    with outage(loop, tmp_path):
        results = [asyncio.run(ask(loop, n)) for n in range(3)]
        assert [r.final_output for r in results] == [f"answer {n}" for n in range(3)]
        with pytest.raises(StoreError, match="is kept in"):
            loop.flush()
        assert len(list(loop._spill.glob("*.journal"))) >= 1
        kept = [r for r in caplog.records if "what was recorded is kept in" in r.message]
        assert len(kept) == 1, [r.message for r in kept]
    loop.flush()
    assert list(loop._spill.glob("*.journal")) == []
    for n, result in enumerate(results):
        trace = loop.store.trace(result.trace_id)
        assert (trace.answer, len(trace.calls)) == (f"answer {n}", 1)
        assert trace.ended_at is not None
    assert list(loop.store.verify()) == []


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_durable_run_goes_well_too_and_is_on_disk(loop, tmp_path, outage):
    loop._durable = True
    with outage(loop, tmp_path):
        result = asyncio.run(ask(loop))
        assert result.final_output == "answer 0"
        (path,) = loop._spill.glob("*.journal")
        assert result.trace_id in path.read_text()
    loop.flush()
    assert loop.store.trace(result.trace_id).answer == "answer 0"


def test_no_run_waits_for_a_store_that_does_not_answer(loop, monkeypatch):
    """It returns while nothing is let through."""
    gate = threading.Event()
    put, aliases = loop.store.put, loop.ledger.aliases
    monkeypatch.setattr(loop.store, "put", lambda *records: (gate.wait(60), put(*records)))
    monkeypatch.setattr(loop.ledger, "aliases", lambda: (gate.wait(60), aliases())[1])
    results = [asyncio.run(ask(loop, n)) for n in range(3)]
    assert not gate.is_set()
    gate.set()
    loop.flush()
    assert {loop.store.trace(r.trace_id).answer for r in results} == {
        f"answer {n}" for n in range(3)
    }
