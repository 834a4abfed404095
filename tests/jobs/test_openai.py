"""Against recorded replies. `httpx2_mock` is respx for httpx2; it lets nothing through."""

import json

import openai
import pytest

from agentloop.base.errors import ProviderBusy, ProviderRefused
from agentloop.base.records import Job, Method, Plan, State, now
from agentloop.jobs.local import Local
from agentloop.jobs.openai import OpenAI
from tests.jobs.replies import API, FILE, a_job, an_event, error, page

TRAIN = b'{"messages": []}\n'


def a_plan(**fields):
    return Plan(
        **{
            "dataset": "sft-1",
            "dataset_sha": "abc",
            "method": Method.SFT,
            "provider": "openai",
            "base_model": "gpt-4.1-mini",
            "rows": 20,
            "valid_rows": 0,
            "tokens": 100,
            **fields,
        }
    )


def a_record(**fields):
    return Job(**{"id": "job_1", "plan": a_plan(), "created_at": now(), **fields})


@pytest.fixture
def provider():
    return OpenAI(API, openai.OpenAI(api_key="test", base_url=API, max_retries=0))


def test_start_uploads_the_rows_and_creates_a_job_that_carries_our_id(provider, httpx2_mock):
    files = httpx2_mock.post(f"{API}/files").respond(json=FILE)
    jobs = httpx2_mock.post(f"{API}/fine_tuning/jobs").respond(json=a_job())

    job = provider.start(a_record(plan=a_plan(suffix="s", seed=3)), TRAIN, None)

    assert (job.provider_job, job.state) == ("ftjob-1", State.QUEUED)
    assert TRAIN in files.calls.last.request.content
    body = json.loads(jobs.calls.last.request.content)
    assert body["training_file"] == "file-1"
    assert body["metadata"]["agentloop_job"] == "job_1"
    assert (body["suffix"], body["seed"]) == ("s", 3)
    assert body["method"] == {"type": "supervised", "supervised": {}}
    assert "validation_file" not in body


def test_a_reinforcement_job_carries_its_grader_and_validation_rows(provider, httpx2_mock):
    httpx2_mock.post(f"{API}/files").respond(json=FILE)
    jobs = httpx2_mock.post(f"{API}/fine_tuning/jobs").respond(json=a_job())
    grader = {"type": "string_check"}
    plan = a_plan(method=Method.RFT, grader=grader, hyperparameters={"n_epochs": 2})

    provider.start(a_record(plan=plan), TRAIN, TRAIN)

    body = json.loads(jobs.calls.last.request.content)
    assert body["validation_file"] == "file-1"
    assert body["method"] == {
        "type": "reinforcement",
        "reinforcement": {"hyperparameters": {"n_epochs": 2}, "grader": grader},
    }


def test_a_job_is_created_once_even_when_the_answer_is_an_error(httpx2_mock, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    httpx2_mock.post(f"{API}/files").respond(json=FILE)
    jobs = httpx2_mock.post(f"{API}/fine_tuning/jobs").respond(500, json=error("boom"))
    with pytest.raises(ProviderBusy, match="boom"):
        OpenAI(API).start(a_record(), TRAIN, None)
    assert jobs.call_count == 1


def test_a_job_that_got_there_before_a_crash_is_found_by_our_id(provider, httpx2_mock):
    ours = a_job(metadata={"agentloop_job": "job_1"})
    route = httpx2_mock.get(f"{API}/fine_tuning/jobs").respond(json=page(ours))
    assert provider.find(a_record()).provider_job == "ftjob-1"
    assert route.calls.last.request.url.params["metadata[agentloop_job]"] == "job_1"
    httpx2_mock.get(f"{API}/fine_tuning/jobs").respond(json=page())
    assert provider.find(a_record()) is None


def test_a_service_that_lists_all_jobs_does_not_pass_another_job_off_as_ours(provider, httpx2_mock):
    others = page(a_job(id="ftjob-8"), a_job(id="ftjob-9", metadata={"agentloop_job": "job_9"}))
    httpx2_mock.get(f"{API}/fine_tuning/jobs").respond(json=others)
    assert provider.find(a_record()) is None


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("validating_files", State.QUEUED),
        ("running", State.RUNNING),
        ("paused", State.PAUSED),
        ("a_word_of_next_year", State.RUNNING),
        ("cancelled", State.CANCELLED),
    ],
)
def test_their_status_becomes_our_state(provider, httpx2_mock, status, state):
    httpx2_mock.get(f"{API}/fine_tuning/jobs/ftjob-1").respond(json=a_job(status=status))
    assert provider.refresh(a_record(provider_job="ftjob-1")).state is state


def test_a_job_that_succeeded_has_a_model_and_its_tokens(provider, httpx2_mock):
    done = a_job(
        status="succeeded", fine_tuned_model="ft:x", trained_tokens=9, finished_at=1_700_000_009
    )
    httpx2_mock.get(f"{API}/fine_tuning/jobs/ftjob-1").respond(json=done)
    job = provider.refresh(a_record(provider_job="ftjob-1"))
    assert (job.tuned_model, job.trained_tokens, job.done) == ("ft:x", 9, True)
    assert job.base_url == API


def test_a_job_that_failed_says_why(provider, httpx2_mock):
    failed = a_job(
        status="failed",
        error={"code": "invalid_training_file", "message": "Example 3 …", "param": None},
    )
    httpx2_mock.get(f"{API}/fine_tuning/jobs/ftjob-1").respond(json=failed)
    job = provider.refresh(a_record(provider_job="ftjob-1"))
    assert (job.state, job.error) == (State.FAILED, "Example 3 …")


def test_events_come_oldest_first_without_those_that_are_known(provider, httpx2_mock):
    newest_first = page(an_event(2, "Step 2", step=2), an_event(1, "Started"))
    httpx2_mock.get(f"{API}/fine_tuning/jobs/ftjob-1/events").respond(json=newest_first)
    job = a_record(provider_job="ftjob-1")
    assert [event.message for event in provider.events(job)] == ["Started", "Step 2"]
    assert [event.data for event in provider.events(job, after=1)] == [{"step": 2}]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ProviderRefused), (403, ProviderRefused), (404, ProviderRefused), (429, ProviderBusy)],
)
def test_their_http_status_becomes_our_error(provider, httpx2_mock, status, kind):
    refusal = error("no  more\njobs", "training_not_available")
    httpx2_mock.get(f"{API}/fine_tuning/jobs/ftjob-1").respond(status, json=refusal)
    with pytest.raises(kind, match="openai: no more jobs"):
        provider.refresh(a_record(provider_job="ftjob-1"))


def test_the_code_of_a_refusal_is_kept(provider, httpx2_mock):
    refusal = error("winding down", "training_not_available")
    httpx2_mock.post(f"{API}/files").respond(403, json=refusal)
    with pytest.raises(ProviderRefused) as caught:
        provider.start(a_record(), TRAIN, None)
    assert (caught.value.code, caught.value.provider) == ("training_not_available", "openai")


def test_how_long_to_wait_is_taken_from_the_answer(provider, httpx2_mock):
    httpx2_mock.get(f"{API}/fine_tuning/jobs/ftjob-1").respond(
        429, json=error("slow"), headers={"retry-after": "7"}
    )
    with pytest.raises(ProviderBusy) as caught:
        provider.refresh(a_record(provider_job="ftjob-1"))
    assert caught.value.retry_after == 7.0


def test_without_a_key_the_variable_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ProviderRefused, match="OPENAI_API_KEY"):
        OpenAI(API).refresh(a_record(provider_job="x"))


def test_a_local_provider_that_does_not_run_says_how_to_start_it(unused_port):
    local = Local(f"http://127.0.0.1:{unused_port}/v1")
    with pytest.raises(ProviderBusy, match="agentloop local serve"):
        local.refresh(a_record(provider_job="x"))


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
