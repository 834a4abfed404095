"""The contract, told to any server that speaks it: ours, or the one at AGENTLOOP_CONFORMANCE_URL.

    AGENTLOOP_CONFORMANCE_URL    with /v1; without it our own server on loopback is asked
    AGENTLOOP_CONFORMANCE_KEY    what it wants to be shown
    AGENTLOOP_CONFORMANCE_MODEL  a base that it can tune

Everything goes through OpenAI's own client, unmodified, or plain HTTP. Whatever comes back is
remembered and held against OpenAI's published schemas and the types of the client at the end.
"""

import asyncio
import csv
import json
import os
import re
from typing import NamedTuple

import httpx2
import jsonschema
import openai
import pytest
from openai.types import FileDeleted, FileObject, Model, ModelDeleted, Upload
from openai.types.fine_tuning.alpha import GraderRunResponse, GraderValidateResponse
from openai.types.uploads import UploadPart

from tests.local.parrot import SYSTEM, says, user
from tests.local.serving import finished, until
from tests.local.test_schemas import published
from tests.makers import DATA

URL, KEY, MODEL = (f"AGENTLOOP_CONFORMANCE_{name}" for name in ("URL", "KEY", "MODEL"))

ROWS = [{"messages": [SYSTEM, user(f"count to {n}"), says(f"one to {n}")]} for n in range(10)]
BODY = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "{{item.label}}",
    "operation": "eq",
}
METHOD = {
    "type": "supervised",
    "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 5}},
}

SHAPES = [
    ("GET", r"/files", [FileObject]),
    ("GET", r"/models", [Model]),
    ("POST", r"/files", FileObject),
    ("GET", r"/files/[^/]+", FileObject),
    ("DELETE", r"/files/[^/]+", FileDeleted),
    ("POST", r"/uploads(/[^/]+/(complete|cancel))?", Upload),
    ("POST", r"/uploads/[^/]+/parts", UploadPart),
    ("GET", r"/models/.+", Model),
    ("DELETE", r"/models/.+", ModelDeleted),
    ("POST", r"/fine_tuning/jobs(/[^/]+/(cancel|pause|resume))?", "FineTuningJob"),
    ("GET", r"/fine_tuning/jobs/[^/]+", "FineTuningJob"),
    ("GET", r"/fine_tuning/jobs", ["FineTuningJob"]),
    ("GET", r"/fine_tuning/jobs/[^/]+/events", ["FineTuningJobEvent"]),
    ("GET", r"/fine_tuning/jobs/[^/]+/checkpoints", ["FineTuningJobCheckpoint"]),
    ("POST", r"/fine_tuning/alpha/graders/validate", GraderValidateResponse),
    ("POST", r"/fine_tuning/alpha/graders/run", GraderRunResponse),
    ("POST", r"/chat/completions", "CreateChatCompletionResponse"),
]
"""What answers a request: a published schema, a type of the client, or a list of one."""


class Told(NamedTuple):
    """An answer that came back."""

    method: str
    path: str
    status: int
    body: bytes


class Host:
    """A server that is told the contract."""

    def __init__(self, url, key, model):
        self.url, self.key, self.model = url.rstrip("/"), key, model
        self.told = []

    def note(self, response):
        response.read()
        self._keep(response)

    async def note_later(self, response):
        await response.aread()
        self._keep(response)

    def ask(self, method, path, **fields):
        """Plain HTTP; the answer, good or bad."""
        headers = {"authorization": f"Bearer {self.key}"}
        answer = httpx2.request(method, self.url + path, headers=headers, timeout=60, **fields)
        self._keep(answer)
        return answer

    def _keep(self, response):
        path = response.request.url.path.removeprefix(httpx2.URL(self.url).path)
        told = Told(response.request.method, path, response.status_code, response.content)
        self.told.append(told)


@pytest.fixture(scope="module")
def host(request):
    if url := os.environ.get(URL):
        return Host(url, os.environ.get(KEY, "none"), os.environ[MODEL])
    return Host(f"{request.getfixturevalue('server').url}/v1", "none", "parrot")


@pytest.fixture(scope="module")
def client(host):
    heard = openai.DefaultHttpxClient(event_hooks={"response": [host.note]})
    with openai.OpenAI(base_url=host.url, api_key=host.key, http_client=heard) as opened:
        yield opened


def together(host, use):
    """What `use` makes of the client for programs that wait for many things at once."""

    async def run():
        heard = openai.DefaultAsyncHttpxClient(event_hooks={"response": [host.note_later]})
        async with openai.AsyncOpenAI(
            base_url=host.url, api_key=host.key, http_client=heard
        ) as opened:
            return await use(opened)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def job(host, client):
    """A supervised job at its end."""
    file = client.files.create(file=("rows.jsonl", BODY), purpose="fine-tune")
    made = client.fine_tuning.jobs.create(
        model=host.model,
        training_file=file.id,
        validation_file=file.id,
        method=METHOD,
        suffix="conform",
        seed=1,
        metadata={"for": "conformance"},
    )
    assert made.status in ("validating_files", "queued")
    return finished(client, made.id)


class TestFiles:
    def test_one_is_made_listed_read_and_deleted(self, client):
        made = client.files.create(file=("rows.jsonl", BODY), purpose="fine-tune")
        assert (made.bytes, made.filename) == (len(BODY), "rows.jsonl")
        assert client.files.retrieve(made.id).id == made.id
        assert client.files.content(made.id).read() == BODY
        assert made.id in [file.id for file in client.files.list(purpose="fine-tune", limit=100)]
        assert client.files.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(made.id)

    def test_one_comes_in_parts(self, client):
        upload = client.uploads.create(
            filename="x.jsonl", purpose="fine-tune", bytes=len(BODY), mime_type="text/jsonl"
        )
        parts = [
            client.uploads.parts.create(upload.id, data=BODY[n : n + 200]).id
            for n in range(0, len(BODY), 200)
        ]
        done = client.uploads.complete(upload.id, part_ids=parts)
        assert client.files.content(done.file.id).read() == BODY
        client.files.delete(done.file.id)

    def test_an_upload_can_be_given_up(self, client):
        upload = client.uploads.create(
            filename="x.jsonl", purpose="fine-tune", bytes=3, mime_type="text/jsonl"
        )
        assert client.uploads.cancel(upload.id).status == "cancelled"


class TestJobs:
    def test_one_ends_well_and_says_so(self, client, host, job):
        assert job.status == "succeeded", job.error
        assert job.fine_tuned_model.startswith(f"ft:{host.model}:")
        assert job.fine_tuned_model.split(":")[3] == "conform"
        assert job.trained_tokens > 0
        assert job.finished_at >= job.created_at
        assert job.method.supervised.hyperparameters.n_epochs == 2

    def test_its_events_tell_the_story_newest_first(self, client, job):
        events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
        assert events[-1].message == f"Created fine-tuning job: {job.id}"
        steps = [event.data["step"] for event in events if event.type == "metrics"]
        assert steps == sorted(steps, reverse=True)
        assert steps[0] == 4

    def test_its_checkpoints_can_be_called(self, client, job):
        kept = list(client.fine_tuning.jobs.checkpoints.list(job.id))
        assert [one.step_number for one in kept] == [4, 2]
        for one in kept:
            said = client.chat.completions.create(
                model=one.fine_tuned_model_checkpoint, messages=[user("hi")], max_tokens=2
            )
            assert said.choices

    def test_its_results_are_a_table(self, client, job):
        (id,) = job.result_files
        table = list(csv.DictReader(client.files.content(id).text.splitlines()))
        assert [row["step"] for row in table] == ["1", "2", "3", "4"]
        assert all(float(row["train_loss"]) > 0 for row in table)

    def test_another_goes_on_from_its_checkpoint(self, client, job):
        checkpoint = list(client.fine_tuning.jobs.checkpoints.list(job.id))[-1]
        made = client.fine_tuning.jobs.create(
            model=checkpoint.fine_tuned_model_checkpoint,
            training_file=job.training_file,
            method=METHOD,
        )
        second = finished(client, made.id)
        assert second.status == "succeeded", second.error
        first, *_ = second.fine_tuned_model.partition(":local:")
        assert second.model == checkpoint.fine_tuned_model_checkpoint
        assert job.fine_tuned_model.startswith(first)

    def test_one_is_found_by_its_metadata_and_page_by_page(self, client, job):
        found = client.fine_tuning.jobs.list(metadata={"for": "conformance"}, limit=1)
        assert found.data[0].metadata == {"for": "conformance"}
        assert job.id in [one.id for one in client.fine_tuning.jobs.list(limit=2)]

    def test_one_is_paused_resumed_and_cancelled(self, client, job):
        long = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50}}}
        made = client.fine_tuning.jobs.create(
            model=job.model, training_file=job.training_file, method=long
        )
        jobs = client.fine_tuning.jobs
        until(lambda: jobs.retrieve(made.id).status != "validating_files", "a check of the file")
        assert client.fine_tuning.jobs.pause(made.id).status == "paused"
        assert client.fine_tuning.jobs.resume(made.id).status in ("queued", "running")
        assert client.fine_tuning.jobs.cancel(made.id).status == "cancelled"
        assert client.fine_tuning.jobs.retrieve(made.id).fine_tuned_model is None


class TestModels:
    def test_they_are_listed_and_say_when_they_end(self, client, host, job):
        names = [model.id for model in client.models.list()]
        assert {host.model, job.fine_tuned_model} <= {*names}
        assert client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model

    def test_graders_are_tried_before_a_job_is(self, client):
        graders = client.fine_tuning.alpha.graders
        assert graders.validate(grader=GRADER).grader.name == "same"
        ran = graders.run(grader=GRADER, model_sample="x", item={"label": "x"})
        assert ran.reward == 1


class TestTogether:
    """The same through the other client."""

    def test_a_job_is_made_watched_and_cancelled(self, host, job):
        async def use(client):
            made = await client.fine_tuning.jobs.create(
                model=host.model, training_file=job.training_file, method=METHOD
            )
            listed = [one.id async for one in client.fine_tuning.jobs.list(limit=2)]
            ended = await client.fine_tuning.jobs.cancel(made.id)
            events = await client.fine_tuning.jobs.list_events(made.id)
            return made, listed, ended, events

        made, listed, ended, events = together(host, use)
        assert made.id in listed
        assert ended.status == "cancelled"
        assert events.data

    def test_a_file_is_made_and_read(self, host):
        async def use(client):
            made = await client.files.create(file=("x.jsonl", BODY), purpose="fine-tune")
            content = await client.files.content(made.id)
            await client.files.delete(made.id)
            return content.content

        assert together(host, use) == BODY


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/fine_tuning/jobs", {}, 400),
        ("POST", "/fine_tuning/jobs", {"model": 1, "training_file": "x"}, 400),
        ("POST", "/fine_tuning/jobs", {"model": "nope", "training_file": "file-nope"}, 400),
        ("POST", "/fine_tuning/jobs/ftjob-nope/cancel", None, 404),
        ("POST", "/fine_tuning/jobs/ftjob-nope/pause", None, 404),
        ("GET", "/fine_tuning/jobs/ftjob-nope", None, 404),
        ("GET", "/fine_tuning/jobs/ftjob-nope/events", None, 404),
        ("GET", "/fine_tuning/jobs?limit=none", None, 400),
        ("GET", "/files/file-nope", None, 404),
        ("GET", "/files/file-nope/content", None, 404),
        ("DELETE", "/files/file-nope", None, 404),
        ("POST", "/files", {"purpose": "fine-tune"}, 400),
        ("POST", "/uploads", {"purpose": "fine-tune"}, 400),
        ("POST", "/uploads/upload_nope/complete", {"part_ids": ["part_nope"]}, 404),
        ("GET", "/models/nope", None, 404),
        ("POST", "/chat/completions", {"model": "nope", "messages": [user("hi")]}, 404),
        ("POST", "/fine_tuning/alpha/graders/validate", {"grader": {"type": "nope"}}, 400),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_every_error_has_one_shape(host, method, path, body, status):
    answer = host.ask(method, path, json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)


def test_integrations_are_refused_by_name(host, client, job):
    wandb = {"type": "wandb", "wandb": {"project": "x"}}
    if os.environ.get(URL):
        pytest.skip("others may have them")
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(
            model=host.model, training_file=job.training_file, integrations=[wandb]
        )
    assert caught.value.param == "integrations"


def shape(told):
    """What the answer was to be like."""
    for method, path, kind in SHAPES:
        if told.method == method and re.fullmatch(path, told.path):
            return kind
    return None


def answers(host, sort):
    """What came back, thing by thing, with the schema or the type that it was to have."""
    for told in host.told:
        if not 200 <= told.status < 300 or (kind := shape(told)) is None:
            continue
        value = json.loads(told.body)
        listed = isinstance(kind, list)
        for item in value["data"] if listed else [value]:
            if isinstance(one := kind[0] if listed else kind, sort):
                yield one, item


def test_all_that_came_back_is_as_the_client_expects(host, client):
    client.models.list()
    came = list(answers(host, type))
    assert came
    for kind, item in came:
        kind.model_validate_json(json.dumps(item), strict=True)


def test_all_that_came_back_is_as_published(host, client):
    if not DATA.joinpath("openai-openapi").exists():
        pytest.skip("the published schemas are not beside the project")
    message = {"role": "user", "content": "hi"}
    client.chat.completions.create(model=host.model, messages=[message], max_tokens=1)
    check, came = published(), list(answers(host, str))
    assert came
    for name, item in came:
        # The published list of states lacks the one that the published example of `pause` has.
        states = {"status": "queued"} if item.get("status") == "paused" else {}
        check(name, {**item, **states})


def test_what_is_published_refuses_what_is_wrong():
    if not DATA.joinpath("openai-openapi").exists():
        pytest.skip("the published schemas are not beside the project")
    with pytest.raises(jsonschema.ValidationError):
        published()("FineTuningJob", {"id": "ftjob-1"})
