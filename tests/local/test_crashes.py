"""kill -9 at any point: what was finished is served, what was not says so, nothing is half."""

import os
import signal
from pathlib import Path

import openai
import pytest

from tests.local.parrot import KNOWN, SYSTEM, TOOLS, user
from tests.local.serving import children, events, finished, running, served, until, upload

ROWS = [{"messages": talk, "tools": TOOLS} for talk in KNOWN] * 4
LONG = {"n_epochs": 50, "batch_size": 1}
SHORT = {"n_epochs": 1, "batch_size": 24}


def start(client, numbers):
    return client.fine_tuning.jobs.create(
        model="parrot", training_file=upload(client, ROWS), hyperparameters=numbers
    ).id


def stepping(client, id):
    """Wait until the job is in the midst of its steps."""
    until(lambda: any(e.type == "metrics" for e in events(client, id)), f"{id} to make steps")


def worker(server):
    """The process that trains."""

    def trains(pid):
        return b"agentloop.local.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()

    return next(pid for pid in children(server.process.pid) if trains(pid))


@pytest.fixture(scope="module")
def story(tmp_path_factory, base):
    """One server's life: a job that ends, one whose worker dies, two at the death of the server."""
    root = tmp_path_factory.mktemp("crashes")
    told = {"root": root, "base": base}
    with served(root, {"parrot": base}, warm=False) as server, server.client() as client:
        told["good"] = finished(client, start(client, SHORT))

        id = start(client, LONG)
        stepping(client, id)
        os.kill(worker(server), signal.SIGKILL)
        told["killed"] = finished(client, id)

        told["running"] = start(client, LONG)
        told["queued"] = start(client, SHORT)
        stepping(client, told["running"])
        told["worker"] = worker(server)
        server.stop(signal.SIGKILL)
    return told


@pytest.fixture(scope="module")
def again(story):
    """The next server in the same folder."""
    root = story["root"]
    assert (root / "server.json").exists()
    half = root / "models" / ".agentloop-ftjob-x.1"
    half.mkdir()
    with served(root, {"parrot": story["base"]}, warm=False) as server:
        assert not half.exists()
        with server.client() as client:
            yield client


def test_a_worker_that_is_killed_fails_its_job_by_name(story):
    job = story["killed"]
    assert (job.status, job.error.code) == ("failed", "worker_died")
    assert "was killed by SIGKILL" in job.error.message
    assert job.fine_tuned_model is None


def test_a_worker_ends_with_its_server(story):
    until(lambda: not running(story["worker"]), "the worker to end", seconds=20)


def test_what_was_finished_is_served_again(story, again):
    job = again.fine_tuning.jobs.retrieve(story["good"].id)
    assert job == story["good"]
    answer = again.chat.completions.create(
        model=job.fine_tuned_model, messages=[SYSTEM, user("hi")], tools=TOOLS, temperature=0
    )
    assert answer.choices[0].message.content == "Hello! How can I help?"
    assert again.files.content(job.result_files[0]).text.startswith("step,")
    assert list(again.fine_tuning.jobs.checkpoints.list(job.id))


def test_no_model_of_a_failed_job_is_left(story, again):
    names = [model.id for model in again.models.list()]
    assert names[:1] == ["parrot"]
    assert not any(story["killed"].id[-8:] in name for name in names)


def test_a_job_that_ran_begins_again_and_can_be_cancelled(story, again):
    id = story["running"]
    until(lambda: again.fine_tuning.jobs.retrieve(id).status == "running", "the job to run again")
    told = [event for event in events(again, id) if event.level == "warn"]
    assert len(told) == 1
    assert "starts again from the beginning" in told[0].message
    before = len(events(again, id))
    until(lambda: len(events(again, id)) > before + 3, "the job to make steps again")
    assert again.fine_tuning.jobs.cancel(id).status == "cancelled"
    ended = again.fine_tuning.jobs.retrieve(id)
    assert (ended.status, ended.fine_tuned_model, ended.error) == ("cancelled", None, None)
    assert ended.finished_at
    with pytest.raises(openai.BadRequestError):
        again.fine_tuning.jobs.cancel(id)
    # Then it is the turn of the one that waited.
    assert finished(again, story["queued"]).status == "succeeded"
    # Of the cancelled one the whole checkpoints are left, if it got to one, and no other model.
    left = {one.fine_tuned_model_checkpoint for one in again.fine_tuning.jobs.checkpoints.list(id)}
    assert {model.id for model in again.models.list() if id[-8:] in model.id} == left
