"""A process that is killed at any moment loses nothing that it was told is safe."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from agentloop.base.store import Store, recover
from agentloop.base.store.tables import node
from agentloop.base.store.tree import Path as Way

ROOT = Path(__file__).parents[3]

NURSERY = '''
"""Forks writers and kills them; prints, for each, what it was told is safe."""
import json, os, random, select, signal, sqlite3, sys
from pathlib import Path
from agentloop.base.errors import StoreError
from agentloop.base.store import Store, Writer
from tests.makers import a_call, a_span, a_trace, asks, returns, says, system, user

url, spill, kills, locked = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
chance = random.Random(7)


def work(out, child):
    store = Store(url, busy_seconds=0.0 if locked else 10.0)
    writer = Writer(store, spill=spill, retry_seconds=0.0, pause_seconds=0.0)
    for n in range(1000):
        id = f"t{child}-{n}"
        said = (system(), user(f"{child}"), asks(id=f"x{n}"), returns(id=f"x{n}"), says(f"{n}"))
        trace = a_trace(*said, id=id)
        writer.submit(trace.model_copy(update={"calls": ()}))
        for call in trace.calls:
            writer.submit(call)
            writer.submit(a_span(id, f"s{call.index}"))
        try:
            writer.flush()
        except StoreError:
            pass  # it is in the journal: as safe
        os.write(out, f"{id}\\n".encode())


holder = None
if locked:
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
for child in range(kills):
    back, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        work(out, child)
        os._exit(0)
    os.close(out)
    told = b""
    enough = chance.randrange(1, 6)
    while told.count(b"\\n") < enough:
        told += os.read(back, 4096)
    select.select([], [], [], chance.random() * 0.02)  # a random point of what comes next
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while more := os.read(back, 4096):
        told += more
    os.close(back)
    print(json.dumps(told.decode().split()), flush=True)
'''


def safe(url, spill, kills, *, locked=False):
    """Ids of traces that killed writers were told are safe."""
    nursery = subprocess.run(
        [sys.executable, "-c", NURSERY, url, spill, str(kills), str(locked)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert nursery.returncode == 0, nursery.stderr
    told = [json.loads(line) for line in nursery.stdout.splitlines()]
    assert len(told) == kills
    return [id for ids in told for id in ids]


def whole(judged):
    """Whether nothing of a trace is missing or twice."""
    trace = judged.trace
    assert [call.index for call in trace.calls] == [0, 1]
    assert [span.id for span in trace.spans] == ["s0", "s1"]
    assert [m.role for m in trace.conversation] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    ids = [c.id for m in trace.conversation for c in m.calls]
    assert ids == [f"x{trace.id.split('-')[1]}"]
    return True


@pytest.fixture
def spill(tmp_path):
    return tmp_path / "spill"


def test_nothing_that_was_flushed_is_lost_when_a_process_is_killed(url, spill):
    Store(url).close()
    told = safe(url, spill, 20)
    assert len(told) >= 20
    with Store(url, create=False) as store:
        recover(store, spill)
        found = {judged.trace.id: judged for judged in store.all_judged()}
        assert set(told) <= found.keys()
        assert all(whole(found[id]) for id in told)
        assert list(spill.glob("spill-*.journal")) == []


def test_nothing_in_a_journal_is_lost_when_its_process_is_killed(tmp_path, spill):
    url = f"sqlite:///{tmp_path}/store.db"
    Store(url).close()
    told = safe(url, spill, 15, locked=True)
    assert len(told) >= 15
    with Store(url, create=False) as store:
        assert store.count() == 0
        recover(store, spill)
        found = {judged.trace.id: judged for judged in store.all_judged()}
        assert set(told) <= found.keys()
        assert all(whole(found[id]) for id in told)
        assert list(spill.glob("spill-*.journal")) == []


FORKS = """
import os, sys
from agentloop.base.store import Store, Writer
from tests.makers import a_trace, says, user

store = Store(sys.argv[1])
writer = Writer(store, spill=__import__("pathlib").Path(sys.argv[2]))
writer.submit(a_trace(user(), says(), id="before"))
writer.flush()
children = []
for n in range(3):
    pid = os.fork()
    if pid == 0:
        for k in range(20):
            writer.submit(a_trace(user(), says(), id=f"child-{n}-{k}"))
        writer.flush(30)
        writer.close()
        os._exit(0 if store.count() > 20 else 1)
    children.append(pid)
for k in range(20):
    writer.submit(a_trace(user(), says(), id=f"parent-{k}"))
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
writer.close()
"""


def test_a_forked_process_stores_what_it_does_and_nothing_twice(url, spill):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, url, spill]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    with Store(url, create=False) as store:
        assert store.count() == 1 + 3 * 20 + 20


def test_every_node_of_the_tree_is_where_its_message_puts_it(url, spill):
    """Re-derives the identity of all that killed writers left behind."""
    Store(url).close()
    safe(url, spill, 5)
    with Store(url, create=False) as store:
        with store._database.read() as connection:
            stored = set(connection.scalars(select(node.c.id)))
        derived = {
            id
            for judged in store.all_judged()
            for call in judged.trace.calls
            for id in Way(call.path).nodes
        }
    assert stored == derived
