"""200 concurrent runs of nine spans on a slow disk, killed at any moment, over and over: nothing
that was acknowledged is missing, nothing is broken, nothing is there twice.

Workers are forked by a nursery that has imported all they need. Each is killed at a step of its own
that chance picks: before a statement or a commit, before or after a sync of the journal, before a
journal gets its name or goes; one in four perhaps while it stores what others left behind. Half of
them find that the store is gone for a while.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentloop.base.store import Store, recover

ROOT = Path(__file__).parents[2]
RUNS, SPANS = 200, 9

NURSERY = '''
import asyncio, json, logging, os, random, selectors, signal, sys, time
from functools import partial
from pathlib import Path
from threading import Thread
import sqlalchemy
from agentloop.base.errors import StoreError
from agentloop.base.store import Store, Writer, journal
from tests.makers import a_call, a_span, a_trace, asks, at, returns, says, system, user

url, spill, kills, runs, seed = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
logging.disable(logging.CRITICAL)
AT_ONCE = 3


class Disk:
    """A slow one, and the step at which its process is killed."""

    def __init__(self, chance):
        self.chance, self.steps = chance, 0
        self.last = chance.randrange(1, 200)

    def step(self, *_, **__):
        self.steps += 1
        if self.steps >= self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def slowly(self, *_, **__):
        self.step()
        time.sleep(self.chance.random() * 0.002)
        self.step()

    def around(self, owner, name):
        theirs = getattr(owner, name)

        def stepped(*args, **kwargs):
            self.slowly()
            result = theirs(*args, **kwargs)
            self.step()
            return result

        setattr(owner, name, stepped)


class Gone(Store):
    """A store that is gone from one write to another."""

    gone = range(0)
    puts = 0

    def put(self, *records):
        self.puts += 1
        if self.puts in self.gone:
            raise StoreError("gone")
        super().put(*records)


def conversation(id):
    said = [system(), user(id)]
    for k in range(2):
        said += [asks(id=f"{id}-{k}"), returns(id=f"{id}-{k}")]
    return [*said, says(id)]


async def run(writer, id, chance, finished):
    said = conversation(id)
    await asyncio.sleep(chance.random() * 0.5)
    writer.submit(a_trace(id=id, calls=()))
    for k in range(9):
        await asyncio.sleep(chance.random() * 0.01)
        if k % 3 == 1:
            index = k // 3
            seen = said[: 3 + 2 * index]
            call = partial(a_call, *seen, trace=id, index=index)
            writer.submit(lambda call=call: [call()])
        writer.submit(lambda k=k: [a_span(id, f"s{k}", started_at=at(k))])
    writer.submit(a_trace(id=id, calls=(), ended_at=at(9)))
    finished.append(id)


def work(out, child):
    chance = random.Random(seed * 1000 + child)
    store = Gone(url)
    disk = Disk(chance)
    if chance.random() < 0.5:
        first = chance.randrange(1, 8)
        store.gone = range(first, first + chance.randrange(1, 12))
    sqlalchemy.event.listen(store._database._engine, "before_cursor_execute", disk.step)
    sqlalchemy.event.listen(store._database._engine, "commit", disk.slowly)
    disk.around(journal.os, "fsync")
    disk.around(Path, "rename")
    disk.around(Path, "unlink")
    writer = Writer(store, spill=spill, retry_seconds=0.0, pause_seconds=0.02)
    finished = []
    if child % 4:  # one in four may be killed while it stores what others left behind
        disk.steps = -1_000_000
        try:
            writer.flush()
        except StoreError:
            pass
        disk.steps = store.puts = 0

    def acknowledge():
        while True:
            time.sleep(0.05)  # as many as have ended meanwhile share a commit
            if not finished:
                continue
            ids = finished[:]
            try:
                writer.flush()
            except StoreError as error:
                assert "is kept in" in str(error)
            del finished[: len(ids)]
            os.write(out, "".join(f"{id}\\n" for id in ids).encode())

    Thread(target=acknowledge, daemon=True).start()

    async def all_runs():
        await asyncio.gather(
            *(run(writer, f"t{child}-{n}", chance, finished) for n in range(runs))
        )

    asyncio.run(all_runs())
    while finished:
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)  # it was to be killed at a step that never came


def begin(child):
    back, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(back)
            work(out, child)
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(1)
    os.close(out)
    return pid, back


waiting, said, ends = selectors.DefaultSelector(), {}, []
todo = iter(range(kills))
for child in [next(todo) for _ in range(min(kills, AT_ONCE))]:
    pid, back = begin(child)
    waiting.register(back, selectors.EVENT_READ, pid)
while waiting.get_map():
    for key, _ in waiting.select():
        told = os.read(key.fd, 65536)
        said[key.data] = said.get(key.data, b"") + told
        if told:
            continue
        waiting.unregister(key.fd)
        os.close(key.fd)
        ends.append(os.waitpid(key.data, 0)[1])
        child = next(todo, None)
        if child is not None:
            pid, back = begin(child)
            waiting.register(back, selectors.EVENT_READ, pid)
told = [id for ids in said.values() for id in ids.decode().split()]
print(json.dumps({"acknowledged": told, "ends": ends}))
'''


def killed(url, spill, kills, seed):
    """The traces that killed writers were told are safe."""
    Store(url).close()
    nursery = subprocess.run(
        [sys.executable, "-c", NURSERY, url, spill, str(kills), str(RUNS), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert nursery.returncode == 0, nursery.stderr[-3000:]
    done = json.loads(nursery.stdout)
    assert done["ends"] == [9] * kills, nursery.stderr[-3000:]
    return done["acknowledged"]


def assert_whole(url, spill, acknowledged):
    with Store(url, create=False) as store:
        recover(store, spill)
        assert list(spill.glob("*.journal")) == []
        assert list(store.verify()) == []
        traces = [judged.trace for judged in store.all_judged()]
        there = {t.id: (t.ended_at, len(t.calls), len(t.spans)) for t in traces}
        assert set(acknowledged) <= there.keys()
        unfinished = [id for id in acknowledged if there[id][0] is None]
        assert unfinished == []
        assert {there[id][1:] for id in acknowledged} == {(3, SPANS)}
        assert max(calls for _, calls, _ in there.values()) == 3
        assert max(spans for *_, spans in there.values()) == SPANS
        trace = store.trace(acknowledged[-1])
        assert [m.role for m in trace.conversation].count("assistant") == 3
        assert [span.id for span in trace.spans] == [f"s{k}" for k in range(SPANS)]
        before = store.stats().tables
        recover(store, spill)
        assert store.stats().tables == before


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_acknowledged_is_lost_whenever_a_process_is_killed(kind, request, tmp_path):
    """80 kills on SQLite, and 20 on PostgreSQL."""
    if kind == "sqlite":
        url, kills = f"sqlite:///{tmp_path}/store.db", 80
    else:
        url, kills = request.getfixturevalue("postgres_url"), 20
    spill = tmp_path / "spill"
    acknowledged = killed(url, spill, kills, seed=7)
    assert len(acknowledged) > kills
    assert_whole(url, spill, acknowledged)
