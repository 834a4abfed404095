"""`/v1/fine_tuning/jobs` and the graders beside it: what is taken, what is refused."""

import json
from typing import Any

import openai
import pytest

from tests.local.parrot import SYSTEM, TOOLS, says, user
from tests.local.serving import events, finished, upload

ROWS: list[Any] = [{"messages": [SYSTEM, user("hi"), says("Hello!")], "tools": TOOLS}] * 10
CHECK = {
    "type": "string_check",
    "name": "right",
    "input": "{{sample.output_text}}",
    "reference": "{{item.label}}",
    "operation": "eq",
}


@pytest.fixture(scope="module")
def file(client):
    return upload(client, ROWS)


def refused(client, kind=openai.BadRequestError, **fields):
    with pytest.raises(kind) as caught:
        client.fine_tuning.jobs.create(**{"model": "parrot", **fields})
    return caught.value.body


def test_a_base_that_is_not_there_is_refused_with_what_is(client, file):
    error = refused(client, model="gpt-4.1", training_file=file)
    assert error["code"] == "model_not_available"
    assert "gpt-4.1 is not available for fine-tuning or does not exist" in error["message"]
    assert "parrot" in error["message"]


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_that_is_not_there_is_refused(client, file, param):
    error = refused(client, **{"training_file": file, param: "file-nope"})
    assert error["param"] == param
    assert "file-nope" in error["message"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"suffix": ""}, "suffix", "invalid_value"),
        ({"suffix": "x" * 65}, "suffix", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"seed": 2**31}, "seed", "invalid_value"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "invalid_value"),
        ({"metadata": {"k": "x" * 513}}, "metadata", "invalid_value"),
        ({"metadata": {"k": 1}}, "metadata.k", "invalid_type"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs", "invalid_type"),
        ({"hyperparameters": {"batch_size": 1.5}}, "hyperparameters.batch_size", "invalid_type"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
            "invalid_value",
        ),
        ({"hyperparameters": {"colour": 1}}, "hyperparameters.colour", "unknown_parameter"),
        ({"extra_body": {"colour": 1}}, "colour", "unknown_parameter"),
        ({"integrations": [{"type": "wandb"}]}, "integrations", "unsupported_value"),
        ({"method": {"type": "kto"}}, "method.type", "invalid_value"),
        ({"method": {}}, "method.type", "missing_required_parameter"),
        ({"method": {"type": "dpo", "supervised": {}}}, "method", "invalid_value"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.5}}}},
            "method.dpo.hyperparameters.beta",
            "invalid_value",
        ),
        ({"method": {"type": "reinforcement"}}, "method", "missing_required_parameter"),
        (
            {"method": {"type": "reinforcement", "reinforcement": {}}},
            "method.reinforcement.grader",
            "missing_required_parameter",
        ),
        (
            {"method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "x"}}}},
            "method.reinforcement.grader",
            "invalid_grader",
        ),
        (
            {
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {"grader": CHECK, "response_format": {}},
                }
            },
            "method.reinforcement.response_format.type",
            "missing_required_parameter",
        ),
        (
            {
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {"grader": CHECK, "tools": [{"name": "x"}]},
                }
            },
            "method.reinforcement.tools[0].server_url",
            "missing_required_parameter",
        ),
        (
            {
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {
                        "grader": CHECK,
                        "hyperparameters": {"reasoning_effort": "low"},
                    },
                }
            },
            "method.reinforcement.hyperparameters.reasoning_effort",
            "invalid_value",
        ),
    ],
)
def test_a_bad_parameter_is_named(client, file, fields, param, code):
    error = refused(client, training_file=file, **fields)
    assert (error["param"], error["code"]) == (param, code), error


def test_hyperparameters_have_one_place(client, file):
    fields = {"method": {"type": "supervised"}, "hyperparameters": {"n_epochs": 1}}
    assert refused(client, training_file=file, **fields)["param"] == "hyperparameters"


@pytest.mark.parametrize(
    ("rows", "method", "code", "part"),
    [
        (ROWS[:7], "supervised", "invalid_n_examples", "has 7 example(s), but must have at least"),
        ([*ROWS, {"weight": 1, **ROWS[0]}], "supervised", "invalid_file_format", "Example 11"),
        ([*ROWS, {"messages": [user("x")]}], "supervised", "invalid_training_file", "Example 11"),
        (ROWS, "dpo", "invalid_training_file", "fine-tune-chat format"),
        (ROWS, "reinforcement", "invalid_training_file", "Example 1"),
    ],
)
def test_a_broken_file_fails_the_job_with_the_example(client, rows, method, code, part):
    section = {"grader": CHECK} if method == "reinforcement" else {}
    job = client.fine_tuning.jobs.create(
        model="parrot",
        training_file=upload(client, rows),
        method={"type": method, method: section},
    )
    job = finished(client, job.id)
    assert (job.status, job.error.code, job.error.param) == ("failed", code, "training_file")
    assert part in job.error.message
    assert job.finished_at
    last = events(client, job.id)[-1]
    assert (last.level, last.message) == ("error", job.error.message)


def test_a_broken_validation_file_is_said_to_be_that(client, file):
    broken = upload(client, [{"messages": []}])
    job = client.fine_tuning.jobs.create(model="parrot", training_file=file, validation_file=broken)
    job = finished(client, job.id)
    assert (job.status, job.error.param) == ("failed", "validation_file")


def test_a_row_that_is_no_json_is_found_by_its_number(client):
    body = b"\n".join([*(json.dumps(row).encode() for row in ROWS), b"{oops"])
    made = client.files.create(file=("x.jsonl", body), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="parrot", training_file=made.id)
    job = finished(client, job.id)
    assert job.error.code == "invalid_training_file"
    assert "Example 11 cannot be parsed" in job.error.message


def test_jobs_are_listed_in_pages_and_by_metadata(client):
    # They fail at once, so that nothing is trained for it.
    few = upload(client, ROWS[:1])
    made = [
        client.fine_tuning.jobs.create(
            model="parrot", training_file=few, metadata={"list": "mine", "n": str(n)}
        ).id
        for n in range(4)
    ]
    page = client.fine_tuning.jobs.list(limit=3)
    assert [job.id for job in page.data] == made[:0:-1]
    assert page.has_more
    assert client.fine_tuning.jobs.list(after=made[1], limit=1).data[0].id == made[0]
    mine = client.fine_tuning.jobs.list(metadata={"list": "mine"})
    assert [job.id for job in mine] == made[::-1]
    two = client.fine_tuning.jobs.list(metadata={"list": "mine", "n": "2"})
    assert [job.id for job in two] == [made[2]]
    assert not {*made} & {job.id for job in client.fine_tuning.jobs.list(metadata=None).data[4:]}
    for id in made:
        finished(client, id)


def test_a_job_that_is_over_cannot_be_cancelled(client):
    job = client.fine_tuning.jobs.create(model="parrot", training_file=upload(client, ROWS[:1]))
    finished(client, job.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.cancel(job.id)
    assert "already completed" in str(caught.value)


def test_a_job_that_is_not_there(client):
    for call in (
        client.fine_tuning.jobs.retrieve,
        client.fine_tuning.jobs.cancel,
        client.fine_tuning.jobs.list_events,
        client.fine_tuning.jobs.checkpoints.list,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call("ftjob-nope")
        assert caught.value.code == "fine_tune_not_found"


def test_a_job_that_is_over_is_neither_paused_nor_resumed(client):
    job = client.fine_tuning.jobs.create(model="parrot", training_file=upload(client, ROWS[:1]))
    finished(client, job.id)
    for call in (client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.BadRequestError, match="is failed") as caught:
            call(job.id)
        assert caught.value.code == "invalid_status"
        with pytest.raises(openai.NotFoundError):
            call("ftjob-nope")


def test_graders_are_tried_before_a_job_is(client):
    graders = client.fine_tuning.alpha.graders
    assert graders.validate(grader=CHECK).grader.name == "right"
    good = graders.run(grader=CHECK, model_sample="x", item={"label": "x"})
    assert (good.reward, good.metadata.type) == (1.0, "string_check")
    lost = graders.run(grader=CHECK, model_sample="x", item={})
    assert lost.reward == 0
    assert lost.metadata.errors.invalid_variable_error
    with pytest.raises(openai.BadRequestError) as caught:
        graders.validate(grader={**CHECK, "operation": "near"})
    assert caught.value.code == "invalid_grader"
    assert "operation" in str(caught.value)
