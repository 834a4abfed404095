"""Workers that are forked from a process that has imported everything."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentloop.local.queue.nursery import Forked, Nursery
from tests.local.serving import children, running, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks workers")


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    made = Nursery(tmp_path_factory.mktemp("nursery") / "worker.log", ready=lambda: None)
    made.prepare()
    yield made
    made.close()


@pytest.fixture
def worker(nursery):
    made = nursery.worker()
    yield made
    made.end()


def parent(worker):
    """The process that it was forked from."""
    until(lambda: worker.pid, "a worker to be born")
    stat = Path(f"/proc/{worker.pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def test_two_workers_have_one_parent_that_is_a_child_of_ours(nursery, worker):
    other = nursery.worker()
    try:
        assert parent(worker) == parent(other) in children(os.getpid())
        assert worker.pid != other.pid
    finally:
        other.end()


def test_a_worker_that_is_killed_is_known_to_be(worker, tmp_path):
    until(lambda: worker.pid, "a worker to be born")
    os.kill(worker.pid, signal.SIGKILL)
    assert "was killed by SIGKILL" in worker.last_words(tmp_path / "log")
    assert not worker.alive


def test_a_worker_whose_orders_end_is_done(worker, tmp_path):
    until(lambda: worker.pid, "a worker to be born")
    worker._orders.close()
    assert list(worker.reports()) == []
    assert "ended with exit status 0" in worker.last_words(tmp_path / "log")


def test_a_worker_can_be_ended_before_it_is_born(tmp_path):
    nursery = Nursery(tmp_path / "worker.log", ready=lambda: None)
    nursery.prepare()
    early = nursery.worker()
    assert early.pid == 0
    early.end()
    assert not early.alive
    nursery.close()


def test_a_worker_outlives_its_parent_and_its_end_is_still_known(tmp_path):
    nursery = Nursery(tmp_path / "worker.log", ready=lambda: None)
    nursery.prepare()
    orphan = nursery.worker()
    until(lambda: orphan.pid, "a worker to be born")
    pid = orphan.pid
    nursery.close()
    assert orphan.alive
    orphan.end()
    assert not orphan.alive
    until(lambda: not running(pid), "the orphan to end")


def test_a_parent_that_has_died_is_replaced(tmp_path):
    nursery = Nursery(tmp_path / "worker.log", ready=lambda: None)
    nursery.prepare()
    first = nursery.worker()
    old = parent(first)
    first.end()
    os.kill(old, signal.SIGKILL)
    until(lambda: not nursery._parent.alive, "the parent to die")  # with all its threads
    nursery.prepare()
    second = nursery.worker()
    assert parent(second) != old
    second.end()
    nursery.close()


def test_a_nursery_that_is_closed_has_no_workers(tmp_path):
    nursery = Nursery(tmp_path / "worker.log", ready=lambda: None)
    nursery.close()
    nursery.prepare()
    assert nursery.worker() is None


def test_whoever_waits_for_a_worker_in_vain_is_told():
    news, fate = os.pipe()
    process = Forked(news)
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.05)
    assert time.monotonic() - began >= 0.05
    os.write(fate, b'{"pid": 7}\n{"status": 3}\n')
    assert (process.pid, process.wait(timeout=5)) == (7, 3)
    os.close(fate)
