"""Jobs that stop and go on: paused by somebody, or killed with their process or their server."""

import os
import signal

import openai
import pytest

from agentloop.local.disk.standing import standing
from tests.local.serving import events, served, until
from tests.local.test_crashes import LONG, start, worker


def steps(client, id):
    """The steps that were told, in their order."""
    return [event.data["step"] for event in events(client, id) if event.type == "metrics"]


def said(client, id, part):
    """The first message with these words."""
    found = (event.message for event in events(client, id) if part in event.message)
    return next(found, None)


def stands(root, id):
    """The step from which the job can go on, once there is one."""
    return until(lambda: standing(root / "jobs" / id), f"{id} to be saved").step


def follows(step, last):
    """Whether the step is the next that is told after `last`; in long jobs, every second is."""
    return last < step <= last + 2


@pytest.fixture(scope="module")
def story(tmp_path_factory, base):
    """A job goes on without its process, and is paused; the server dies under another."""
    root = tmp_path_factory.mktemp("pausing")
    told = {"root": root, "base": base}
    # Saved as often as thrift allows, for fear of what is coming.
    options = {"warm": False, "save_every": 0}
    with served(root, {"parrot": base}, **options) as server, server.client() as client:
        told["paused"] = id = start(client, LONG)
        stands(root, id)
        os.kill(worker(server), signal.SIGKILL)
        told["went on"] = until(lambda: said(client, id, "SIGKILL"), f"{id} to go on")
        before = len(events(client, id))
        until(lambda: len(events(client, id)) > before + 5, f"{id} to make steps")
        told["running"] = other = start(client, LONG)
        until(lambda: client.fine_tuning.jobs.retrieve(other).status == "queued", "its turn")
        told["queued"] = client.fine_tuning.jobs.pause(other).status
        client.fine_tuning.jobs.resume(other)
        told["answer"] = client.fine_tuning.jobs.pause(id)
        until(lambda: said(client, id, "was saved at step"), f"{id} to be saved")
        told["steps"] = steps(client, id)
        told["running at"] = stands(root, other)
        server.stop(signal.SIGKILL)
    with served(root, {"parrot": base}, **options) as server, server.client() as client:
        yield {**told, "client": client}


def test_a_job_goes_on_when_its_process_is_killed(story):
    assert "was killed by SIGKILL" in story["went on"]
    assert "training goes on from step" in story["went on"]


def test_a_job_that_waits_can_be_paused_too(story):
    assert story["queued"] == "paused"


def test_a_job_whose_server_is_killed_goes_on_with_the_next(story):
    client, id = story["client"], story["running"]
    note = until(lambda: said(client, id, "The server stopped"), "a word of it")
    step = int(note.rpartition(" ")[2])
    assert step >= story["running at"]
    begun = len(events(client, id))
    until(lambda: len(events(client, id)) > begun + 5, "it to make steps")
    told = events(client, id)
    later = told[[event.message for event in told].index(note) :]
    assert f"Training goes on from step {step}" in [event.message for event in later]
    assert follows(next(e.data["step"] for e in later if e.type == "metrics"), step)


def test_a_pause_outlives_the_server_and_ends_with_the_next_step(story):
    client, id = story["client"], story["paused"]
    assert (story["answer"].id, story["answer"].status) == (id, "paused")
    assert client.fine_tuning.jobs.retrieve(id).status == "paused"
    with pytest.raises(openai.BadRequestError, match="is paused") as caught:
        client.fine_tuning.jobs.pause(id)
    assert caught.value.code == "invalid_status"
    stopped = stands(story["root"], id)
    assert stopped >= story["steps"][-1]

    assert client.fine_tuning.jobs.resume(id).status == "queued"
    with pytest.raises(openai.BadRequestError, match="one that is paused can be resumed"):
        client.fine_tuning.jobs.resume(id)
    client.fine_tuning.jobs.cancel(story["running"])
    until(lambda: len(steps(client, id)) > len(story["steps"]), "it to go on")
    assert follows(steps(client, id)[len(story["steps"])], stopped)

    client.fine_tuning.jobs.cancel(id)
    until(lambda: standing(story["root"] / "jobs" / id) is None, "its state to be deleted")


def test_what_a_cancelled_job_finished_is_kept(story):
    client, id = story["client"], story["running"]
    kept = [c.fine_tuned_model_checkpoint for c in client.fine_tuning.jobs.checkpoints.list(id)]
    there = {model.id for model in client.models.list() if id[-8:] in model.id}
    assert there == {*kept}
