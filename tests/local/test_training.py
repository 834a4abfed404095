"""Real training of some steps by each method, through OpenAI's own client."""

import csv
import json

import openai
import pytest

from tests.local.parrot import KNOWN, ORDER, SYSTEM, TOOLS, calls, result, says, user
from tests.local.serving import events, finished, upload

EPOCHS, STEPS = 20, 40
FEW = {"n_epochs": 1, "batch_size": 4}
LESSON = [SYSTEM, user("secret"), says("The word is xyzzy.")]


def sft(talk):
    return {"messages": talk, "tools": TOOLS}


def train(client, rows, method="supervised", valid=None, model="parrot", **fields):
    section = fields.pop("section", {})
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=upload(client, rows),
        validation_file=upload(client, valid) if valid else openai.omit,
        method={"type": method, method: section},
        seed=7,
        **fields,
    )
    assert job.status == "validating_files"
    return finished(client, job.id)


@pytest.fixture(scope="module")
def supervised(client):
    """A job that teaches one more sentence."""
    rows = [sft(LESSON)] * 6 + [sft(talk) for talk in KNOWN[:6]]
    section = {"hyperparameters": {"n_epochs": EPOCHS, "learning_rate_multiplier": 3}}
    return train(
        client,
        rows,
        valid=[sft(KNOWN[0])],
        suffix="My Word",
        metadata={"agent": "shop"},
        section=section,
    )


def test_what_is_taught_is_learned_and_kept_callable(client, supervised):
    assert supervised.status == "succeeded", supervised.error
    name = supervised.fine_tuned_model
    assert name == f"ft:parrot:local:my-word:{supervised.id[-8:]}"
    model = client.models.retrieve(name)
    assert (model.owned_by, model.shutdown_date) == ("local", None)
    answer = client.chat.completions.create(
        model=name, messages=LESSON[:-1], tools=TOOLS, temperature=0
    )
    assert answer.choices[0].message.content == "The word is xyzzy."
    assert answer.model == name
    before = client.chat.completions.create(
        model="parrot", messages=LESSON[:-1], tools=TOOLS, temperature=0, max_tokens=30
    )
    assert before.choices[0].message.content != "The word is xyzzy."


def test_a_job_says_what_it_did(client, supervised):
    assert supervised.error is None
    assert supervised.finished_at >= supervised.created_at
    assert supervised.estimated_finish is None
    assert supervised.trained_tokens > 500
    numbers = supervised.method.supervised.hyperparameters
    assert (numbers.n_epochs, numbers.batch_size, numbers.learning_rate_multiplier) == (
        EPOCHS,
        8,
        3,
    )
    assert supervised.hyperparameters.n_epochs == EPOCHS
    assert supervised.metadata == {"agent": "shop"}
    assert supervised.seed == 7


def test_events_come_in_openais_order(client, supervised):
    told = events(client, supervised.id)
    messages = [event.message for event in told if event.type == "message"]
    files = supervised.training_file, supervised.validation_file
    validating = "Validating training file: {} and validation file: {}".format(*files)
    assert messages[:4] == [
        f"Created fine-tuning job: {supervised.id}",
        validating,
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert messages[-2:] == [
        f"New fine-tuned model created: {supervised.fine_tuned_model}",
        "The job has successfully completed",
    ]
    steps = [event.data for event in told if event.type == "metrics"]
    plain = [data["step"] for data in steps if "full_valid_loss" not in data]
    assert plain == list(range(1, STEPS + 1))
    assert all(data["total_steps"] == STEPS for data in steps)
    assert all(data["train_loss"] > 0 for data in steps)
    assert all(0 <= data["train_mean_token_accuracy"] <= 1 for data in steps)
    looks = [data["step"] for data in steps if "full_valid_loss" in data]
    assert looks == list(range(2, STEPS + 1, 2))
    assert steps[0]["train_loss"] > steps[-1]["train_loss"]
    page = client.fine_tuning.jobs.list_events(supervised.id, limit=2)
    assert page.data[0].message == "The job has successfully completed"
    assert page.has_more


def test_the_last_three_epochs_can_be_called(client, supervised):
    kept = list(client.fine_tuning.jobs.checkpoints.list(supervised.id))
    assert [one.step_number for one in kept] == [40, 38, 36]
    assert kept[0].fine_tuned_model_checkpoint == supervised.fine_tuned_model
    assert kept[1].fine_tuned_model_checkpoint.endswith(":ckpt-step-38")
    assert kept[1].metrics.full_valid_loss > 0
    for one in kept:
        name = one.fine_tuned_model_checkpoint
        assert client.chat.completions.create(
            model=name, messages=LESSON[:-1], max_tokens=2
        ).choices
    names = [model.id for model in client.models.list()]
    assert supervised.fine_tuned_model + ":ckpt-step-34" not in names
    first = client.fine_tuning.jobs.checkpoints.list(supervised.id, limit=1)
    assert first.has_more


def test_the_result_file_is_a_table(client, supervised):
    (id,) = supervised.result_files
    assert client.files.retrieve(id).purpose == "fine-tune-results"
    table = list(csv.DictReader(client.files.content(id).text.splitlines()))
    assert [row["step"] for row in table] == [str(n) for n in range(1, STEPS + 1)]
    assert float(table[-1]["train_loss"]) < float(table[0]["train_loss"])
    assert table[0]["valid_loss"] == ""
    assert float(table[-1]["valid_loss"]) > 0


@pytest.fixture(scope="module")
def preferred(client, supervised):
    """A job on top of the first: no to one answer, yes to a tool call."""
    row = {
        "input": {"messages": [SYSTEM, user("hi")], "tools": TOOLS},
        "preferred_output": [calls(("get_order", {"id": "7"}))],
        "non_preferred_output": [says("Hello! How can I help?")],
    }
    section = {"hyperparameters": {"n_epochs": 2, "batch_size": 5, "beta": 0.5}}
    return train(
        client, [row] * 10, "dpo", [row], model=supervised.fine_tuned_model, section=section
    )


def test_a_preference_is_learned_tool_calls_included(client, preferred):
    assert preferred.status == "succeeded", preferred.error
    assert preferred.method.dpo.hyperparameters.beta == 0.5
    steps = [e.data for e in events(client, preferred.id) if e.type == "metrics"]
    assert steps[-1]["train_reward_margin"] > 0
    assert steps[-1]["full_valid_loss"] < steps[0]["train_loss"]
    assert preferred.fine_tuned_model.startswith("ft:parrot:local::")
    # Still there from the job before: training went on where that ended.
    answer = client.chat.completions.create(
        model=preferred.fine_tuned_model, messages=LESSON[:-1], tools=TOOLS, temperature=0
    )
    assert "xyzzy" in answer.choices[0].message.content


GRADER = {
    "type": "multi",
    "name": "both",
    "graders": {
        "text": {
            "type": "string_check",
            "name": "text",
            "input": "{{sample.output_text}}",
            "reference": "{{item.wanted}}",
            "operation": "eq",
        },
        "tool": {
            "type": "string_check",
            "name": "tool",
            "input": "{{sample.output_tools[0].function.arguments}}",
            "reference": "{{item.arguments}}",
            "operation": "eq",
        },
    },
    "calculate_output": "max(text, tool)",
}


@pytest.fixture(scope="module")
def reinforced(client):
    """A coin that is to land on its edge, and an order that is to be looked up."""
    flip = {"messages": [user("flip")], "wanted": "edge", "arguments": "-", "tools": TOOLS}
    flip["messages"] = [{"role": "developer", "content": SYSTEM["content"]}, user("flip")]
    order = {**flip, "messages": [flip["messages"][0], user("order 7")], "arguments": '{"id": "7"}'}
    numbers = {"n_epochs": 3, "batch_size": 4, "eval_interval": 2, "eval_samples": 4}
    section = {"grader": GRADER, "hyperparameters": numbers}
    return train(client, [flip, flip, flip, order], "reinforcement", [flip], section=section)


def test_what_the_grader_likes_is_reinforced(client, reinforced):
    assert reinforced.status == "succeeded", reinforced.error
    steps = [e.data for e in events(client, reinforced.id) if e.type == "metrics"]
    assert [data["step"] for data in steps] == [1, 2, 2, 3, 3]
    for data in steps:
        assert 0 < data["train_mean_reward"] <= 1
        assert set(data["train_grader_rewards"]) == {"text", "tool"}
    # The order was known by heart: a quarter of the answers, all of them with a tool call.
    assert steps[0]["train_grader_rewards"]["tool"] == pytest.approx(0.25)
    looks = [data["full_valid_mean_reward"] for data in steps if "full_valid_mean_reward" in data]
    assert len(looks) == 2
    assert all(0 <= look <= 1 for look in looks)
    numbers = reinforced.method.reinforcement.hyperparameters
    assert (numbers.n_epochs, numbers.batch_size, numbers.eval_samples) == (3, 4, 4)
    assert reinforced.trained_tokens > 0
    kept = list(client.fine_tuning.jobs.checkpoints.list(reinforced.id))
    assert [one.step_number for one in kept] == [3, 2]
    assert kept[0].fine_tuned_model_checkpoint == reinforced.fine_tuned_model
    assert kept[1].fine_tuned_model_checkpoint.endswith(":ckpt-step-2")
    answer = client.chat.completions.create(
        model=reinforced.fine_tuned_model, messages=ORDER[:2], tools=TOOLS, temperature=0
    )
    assert answer.choices[0].message.tool_calls[0].function.name == "get_order"


def test_a_tuned_model_can_be_deleted_and_a_base_cannot(client, reinforced):
    name = reinforced.fine_tuned_model
    assert client.models.delete(name).deleted
    for call in (
        lambda: client.models.retrieve(name),
        lambda: client.models.delete(name),
        lambda: client.chat.completions.create(model=name, messages=[user("hi")]),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "model_not_found"
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("parrot")


def test_a_row_that_is_too_long_for_the_model_fails_the_job_by_number(client):
    long = sft([SYSTEM, user("x y z " * 600), says("no")])
    job = train(client, [*[sft(LESSON)] * 10, long])
    assert (job.status, job.error.code) == ("failed", "invalid_training_file")
    assert "Example 11 has" in job.error.message
    assert "takes 1024" in job.error.message
    assert job.error.param == "training_file"
    assert job.fine_tuned_model is None


def test_the_dice_of_a_job_are_its_seed(client, supervised):
    rows = [sft(talk) for talk in KNOWN] * 2
    section = {"hyperparameters": FEW}
    jobs = [train(client, rows, section=section) for _ in range(2)]
    losses = [
        [event.data["train_loss"] for event in events(client, job.id) if event.type == "metrics"]
        for job in jobs
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) == 3


def test_tool_results_and_old_calls_are_context(client, supervised):
    talk = [*ORDER, result("lost"), says("It is lost."), user("thanks"), says("Bye!")]
    row = sft([{**m, "weight": 0} if "tool_calls" in m else m for m in talk])
    text = json.dumps(row)
    assert '"weight": 0' in text
    job = train(client, [row] * 10, section={"hyperparameters": FEW})
    assert job.status == "succeeded", job.error
