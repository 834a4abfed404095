"""The queue when the ground gives way: no room on the disk, a base that is gone."""

import errno
import threading

import pytest

from agentloop.local.disk import atomic
from agentloop.local.disk.files import Files
from agentloop.local.disk.jobs import Jobs, Status, TuningJob
from agentloop.local.disk.models import Models
from agentloop.local.disk.root import Root
from agentloop.local.queue import foreman
from agentloop.local.queue.foreman import Foreman
from tests.local.serving import until
from tests.local.test_disk import a_job


@pytest.fixture
def root(tmp_path):
    made = Root(tmp_path)
    made.hold()
    yield made
    made.release()


@pytest.fixture
def jobs(root):
    """Jobs of models that this server does not have."""
    return Jobs(root.jobs)


@pytest.fixture
def queue(root, jobs, monkeypatch):
    monkeypatch.setattr(foreman, "AGAIN", 0.01)
    made = Foreman(root, jobs, Files(root.files), Models(root.models, {}), ready=None)
    yield made
    made.close()


def queued(jobs: Jobs, n: int) -> TuningJob:
    return jobs.add(a_job(id=f"ftjob-{n}", serial=n, status=Status.QUEUED), {})


def failed(jobs: Jobs, id: str) -> str:
    """Why the job failed, once it has."""
    until(lambda: jobs.get(id).done, f"{id} to end", seconds=20)
    error = jobs.get(id).error
    assert error is not None
    return str(error["message"])


def test_a_job_whose_base_is_gone_fails_and_says_so(jobs, queue):
    queued(jobs, 1)
    queue.start()
    assert "the model 'tiny' is gone" in failed(jobs, "ftjob-1")
    until(lambda: jobs.events("ftjob-1")[0]["level"] == "error", "an event that says so")


def test_a_full_disk_fails_a_job_by_name_and_the_next_one_has_its_turn(jobs, queue, monkeypatch):
    queued(jobs, 1)
    full, refused = threading.Event(), threading.Event()

    def written(path, value):
        if full.is_set():
            refused.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        atomic.write_json(path, value)

    monkeypatch.setattr("agentloop.local.disk.jobs.write_json", written)
    full.set()
    queue.start()
    assert refused.wait(20)
    full.clear()
    assert "No space left on device" in failed(jobs, "ftjob-1")
    queued(jobs, 2)
    queue._queued.put("ftjob-2")
    assert "is gone" in failed(jobs, "ftjob-2")


def test_what_a_worker_left_unfinished_is_deleted_with_its_job(root, jobs, queue):
    queue.start()
    queued(jobs, 1)
    half = root.models / ".agentloop-ftjob-1.1"
    half.mkdir()
    queue._tidy("ftjob-1")
    assert not half.exists()


def a_checkpoint(step, reward=None):
    metrics = {"step": step} if reward is None else {"step": step, "full_valid_mean_reward": reward}
    return {"step_number": step, "metrics": metrics}


def steps(checkpoints):
    return [one["step_number"] for one in checkpoints]


@pytest.mark.parametrize(
    ("rewards", "kept", "gone"),
    [
        ([0.2, 0.9, 0.4, 0.5], [4, 3, 2], [1]),
        ([0.9, 0.1, 0.8, 0.7], [4, 3, 1], [2]),
        ([0.5, 0.5, 0.5, 0.5], [4, 3, 2], [1]),
        ([0.9, 0.8, 0.7, 0.1], [3, 2, 1], [4]),
        ([None, None, None, None], [4, 3, 2], [1]),
        ([0.1, 0.2], [2, 1], []),
    ],
)
def test_of_reinforcement_the_best_three_are_kept_newest_first(rewards, kept, gone):
    newest_first = [a_checkpoint(n, reward) for n, reward in enumerate(rewards, 1)][::-1]
    best, rest = foreman._best(newest_first)
    assert (steps(best), steps(rest)) == (kept, gone)


def test_a_job_that_begins_again_loses_the_models_that_it_never_told_of(root, jobs, queue):
    queued(jobs, 1)
    jobs.advance("ftjob-1", Status.RUNNING)
    (root.models / "ftjob-1-step-3").mkdir()
    queue.start()
    assert not (root.models / "ftjob-1-step-3").exists()
    assert "starts again from the beginning" in jobs.events("ftjob-1")[-1]["message"]
