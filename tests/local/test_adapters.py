"""LoRA: trained on top of each other, merged when they are served."""

import io
import json
import warnings
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from agentloop.local import recipes
from agentloop.local.disk.jobs import TuningJob
from agentloop.local.disk.models import Models
from agentloop.local.inference import weights
from agentloop.local.inference.dialect import Dialect
from agentloop.local.training.report import Report, Unfit
from agentloop.local.training.task import Task
from tests.local.parrot import KNOWN, TOOLS, calls, says, user

PAIR = {
    "input": {"messages": KNOWN[0][:-1], "tools": TOOLS},
    "preferred_output": [calls(("get_order", {"id": "7"}))],
    "non_preferred_output": [says("Hello! How can I help?")],
}
NUMBERS = {"n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": 50.0}


@contextmanager
def theirs():
    """Where TRL, PEFT and transformers warn of each other."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"trl|transformers|torch|peft|accelerate")
        yield


def served(model):
    with theirs():
        return weights.load(model)


@pytest.fixture(scope="module", autouse=True)
def training():
    """The modules that import TRL, whose imports warn of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights.quiet()
        from agentloop.local.training import preference, supervised
    return {"supervised": supervised.train, "dpo": preference.train}


@pytest.fixture
def room(tmp_path, base):
    (tmp_path / "models").mkdir()
    return Models(tmp_path / "models", {"parrot": base})


def train(room, training, tmp_path, number, kind, rows, on, **numbers):
    """The tuned model's name, after a job like those that a worker gets."""
    folder = tmp_path / f"job-{number}"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = TuningJob(
        id=f"ftjob-{number}2345678",
        created_at=1,
        model=on,
        method={"type": kind, kind: {"hyperparameters": {**NUMBERS, **numbers}}},
        training_file="file-1",
        seed=1,
    )
    model = room.get(on)
    pipe = io.BytesIO()
    task = Task(
        job=job,
        base=model,
        on_base=model.folder is None or model.weights != model.folder,
        tuned_name=job.tuned_name,
        folder=folder,
        models=tmp_path / "models",
        report=Report(pipe),
    )
    with theirs():
        training[kind](task)
    reports = [json.loads(line) for line in pipe.getvalue().splitlines()]
    assert reports[-1]["about"] == "done"
    for report in reports:
        if report["about"] == "checkpoint":
            room.adopt(tmp_path / "models" / report["what"]["folder"])
    return task, job.tuned_name


@pytest.fixture
def small_ranks(monkeypatch):
    """The tiny sizes trained as larger ones are."""
    for table in (recipes.SUPERVISED, recipes.DPO):
        monkeypatch.setitem(
            table, recipes.TINY, replace(table[recipes.TINY], lora=recipes.Lora(4, 8), bf16=False)
        )


def logits(model, dialect):
    ids = dialect.prompt(KNOWN[0][:-1], TOOLS).ids
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


def test_an_adapter_on_an_adapter_is_served_as_it_was_trained(
    room, training, tmp_path, base, small_ranks
):
    rows = [{"messages": talk, "tools": TOOLS} for talk in KNOWN] * 2
    first, name = train(room, training, tmp_path, 1, "supervised", rows, "parrot")
    model = room.get(name)
    assert (model.weights, len(model.adapters)) == (base, 1)
    assert not (model.folder / "model.safetensors").exists()

    second, other = train(room, training, tmp_path, 2, "dpo", [PAIR] * 10, name, beta=0.1)
    model = room.get(other)
    assert (model.weights, len(model.adapters)) == (base, 2)
    dialect = Dialect(base)
    plain, one, two = (logits(served(room.get(n)), dialect) for n in ("parrot", name, other))
    assert not torch.allclose(plain, one, atol=1e-2)
    assert not torch.allclose(one, two, atol=1e-2)
    # The tasks' own models are what TRL trained, adapters beside the weights.
    first.model.eval()
    second.model.eval()
    assert torch.allclose(logits(first.model, dialect), one, atol=1e-4)
    assert torch.allclose(logits(second.model, dialect), two, atol=1e-4)
    # The first may go; the second has what it needs.
    room.delete(name)
    assert torch.allclose(logits(served(room.get(other)), dialect), two, atol=1e-6)


def test_an_adapter_on_whole_weights_keeps_them_from_being_deleted(
    room, training, tmp_path, monkeypatch
):
    rows = [{"messages": talk, "tools": TOOLS} for talk in KNOWN] * 2
    _, name = train(room, training, tmp_path, 1, "supervised", rows, "parrot", n_epochs=1)
    table = recipes.SUPERVISED
    monkeypatch.setitem(table, recipes.TINY, replace(table[recipes.TINY], lora=recipes.Lora(4, 8)))
    _, other = train(room, training, tmp_path, 2, "supervised", rows, name, n_epochs=1)
    assert room.get(other).weights == room.get(name).folder
    assert room.leaning_on(room.get(name))[-1] == other


def test_weight_0_reaches_the_trainer_as_a_masked_label(base):
    from agentloop.local.training.supervised import _dataset, learn_from

    dialect = Dialect(base)
    talk = [*KNOWN[2][:3], KNOWN[2][3], KNOWN[2][4]]
    plain = learn_from([{"messages": talk}], dialect, param="training_file")
    masked = [{**talk[2], "weight": 0} if n == 2 else m for n, m in enumerate(talk)]
    zero = learn_from([{"messages": masked}], dialect, param="training_file")
    assert plain[0].ids == zero[0].ids

    def learned(lessons):
        (labels,) = _dataset(lessons)["labels"]
        return dialect.tokenizer.decode([label for label in labels if label != -100])

    assert learned(zero) == "It is shipped.<|im_end|>"
    assert learned(plain) == (
        '<tool_call>{"name": "get_order", "arguments": {"id": "7"}}</tool_call><|im_end|>'
        "It is shipped.<|im_end|>"
    )


def test_older_functions_are_tools(base):
    from agentloop.local.training.supervised import learn_from

    dialect = Dialect(base)
    functions = [tool["function"] for tool in TOOLS]
    (old,) = learn_from(
        [{"messages": KNOWN[0], "functions": functions}], dialect, param="training_file"
    )
    (new,) = learn_from([{"messages": KNOWN[0], "tools": TOOLS}], dialect, param="training_file")
    assert old == new


def test_a_row_that_the_template_refuses_is_named(base):
    from agentloop.local.training.supervised import learn_from

    image = {"type": "image_url", "image_url": {"url": "data:x"}}
    rows = [{"messages": KNOWN[0]}, {"messages": [user([image]), says("x")]}]
    with pytest.raises(Unfit, match="Example 2: content of type 'image_url'"):
        learn_from(rows, Dialect(base), param="training_file")
