"""Every answer against the published schemas."""

import json
from typing import Any

import httpx2
import jsonschema
import pytest

from tests.local.parrot import KNOWN, SYSTEM, TOOLS, user
from tests.local.serving import finished, upload
from tests.makers import real

SCHEMAS = ("openai-openapi", "finetune_jobs_and_chat.f85dbe2.schema.json")
GRADER = {
    "type": "string_check",
    "name": "g",
    "input": "{{sample.output_text}}",
    "reference": "x",
    "operation": "ne",
}
METHODS: dict[str, Any] = {
    "supervised": ({}, [{"messages": talk, "tools": TOOLS} for talk in KNOWN] * 2),
    "dpo": (
        {},
        [
            {
                "input": {"messages": KNOWN[0][:-1]},
                "preferred_output": [KNOWN[0][-1]],
                "non_preferred_output": [KNOWN[5][-1]],
            }
        ]
        * 10,
    ),
    "reinforcement": ({"grader": GRADER}, [{"messages": [user("hi")]}] * 2),
}


def _exclusive(schema):
    """OpenAPI 3.0's `exclusiveMinimum: true`, which JSON Schema would read as the number 1."""
    if schema.get("exclusiveMinimum") is True:
        schema["exclusiveMinimum"] = schema.pop("minimum")
    return schema


def published():
    """Holds a value against the schema of that name."""
    schemas = json.loads(real(*SCHEMAS).read_text(), object_hook=_exclusive)

    def check(name, value):
        schema = {"$ref": f"#/$defs/{name}", "$defs": schemas["$defs"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    return check


@pytest.fixture(scope="module")
def fits():
    return published()


@pytest.fixture
def get(server):
    def fetch(path, body=None):
        method = "GET" if body is None else "POST"
        answer = httpx2.request(method, f"{server.url}/v1/{path}", json=body, timeout=60)
        assert answer.is_success, answer.text
        return answer.json()

    return fetch


@pytest.mark.parametrize("method", METHODS)
def test_jobs_events_and_checkpoints_are_as_published(client, get, fits, method):
    section, rows = METHODS[method]
    numbers = {"hyperparameters": {"n_epochs": 1, "batch_size": 2}}
    body = {
        "model": "parrot",
        "training_file": upload(client, rows),
        "validation_file": upload(client, rows[:2]),
        "method": {"type": method, method: {**section, **numbers}},
        "metadata": {"for": "schemas"},
    }
    fits("CreateFineTuningJobRequest", body)
    job = get("fine_tuning/jobs", body)
    fits("FineTuningJob", job)
    assert finished(client, job["id"]).status == "succeeded"
    fits("FineTuningJob", get(f"fine_tuning/jobs/{job['id']}"))
    for name, path in (
        ("FineTuningJobEvent", "events"),
        ("FineTuningJobCheckpoint", "checkpoints"),
    ):
        listed = get(f"fine_tuning/jobs/{job['id']}/{path}")
        assert listed["object"] == "list"
        assert listed["data"]
        for item in listed["data"]:
            fits(name, item)
    fits("FineTuningJob", get("fine_tuning/jobs")["data"][0])


def test_a_failed_job_is_as_published(client, get, fits):
    body = {"model": "parrot", "training_file": upload(client, [{"messages": []}])}
    job = finished(client, get("fine_tuning/jobs", body)["id"])
    fits("FineTuningJob", get(f"fine_tuning/jobs/{job.id}"))


@pytest.mark.parametrize("talk", KNOWN, ids=range(len(KNOWN)))
def test_answers_are_as_published(get, fits, talk):
    body = {"model": "parrot", "messages": talk[:-1], "tools": TOOLS, "temperature": 0, "n": 2}
    fits("CreateChatCompletionRequest", body)
    fits("CreateChatCompletionResponse", get("chat/completions", body))


def test_the_history_that_a_request_takes_is_as_published(get, fits):
    body = {"model": "parrot", "messages": [SYSTEM, *KNOWN[2][1:], user("hi")], "max_tokens": 2}
    fits("CreateChatCompletionRequest", body)
    fits("CreateChatCompletionResponse", get("chat/completions", body))


STRICT: Any = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
NAMED = {"type": "function", "function": {"name": "get_order"}}


@pytest.mark.parametrize(
    "options",
    [
        {"logprobs": True, "top_logprobs": 3},
        {"response_format": {"type": "json_object"}, "max_tokens": 9},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": True, "schema": STRICT},
            }
        },
        {"tools": TOOLS, "tool_choice": NAMED, "parallel_tool_calls": False, "max_tokens": 60},
        {
            "tools": TOOLS,
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [NAMED]},
            },
        },
    ],
    ids=["logprobs", "json_object", "json_schema", "named", "allowed"],
)
def test_what_is_wished_for_is_asked_and_answered_as_published(get, fits, options):
    body = {"model": "parrot", "messages": KNOWN[0][:-1], "temperature": 0, **options}
    fits("CreateChatCompletionRequest", body)
    fits("CreateChatCompletionResponse", get("chat/completions", body))
