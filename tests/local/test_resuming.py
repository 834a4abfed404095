"""Training that stops and goes on in another process ends where it would have ended."""

import csv
import io
import json
import warnings

import pytest
import torch
from safetensors.torch import load_file

from agentloop.local.disk.models import Models
from agentloop.local.disk.standing import ask_to_pause, standing
from agentloop.local.inference.weights import quiet
from agentloop.local.training.report import Report
from agentloop.local.training.task import Task
from tests.local.parrot import KNOWN, SYSTEM, TOOLS, user
from tests.local.test_adapters import small_ranks as small_ranks
from tests.local.test_adapters import theirs
from tests.local.test_disk import a_job

LESSONS = [{"messages": talk, "tools": TOOLS} for talk in KNOWN] * 2
PAIRS = [
    {
        "input": {"messages": talk[:-1], "tools": TOOLS},
        "preferred_output": [talk[-1]],
        "non_preferred_output": [KNOWN[0][-1]],
    }
    for talk in (KNOWN[1], KNOWN[3], KNOWN[5])
] * 2
QUESTIONS = [{"messages": [SYSTEM, user(talk[1]["content"])]} for talk in KNOWN]
GRADER = {
    "type": "string_check",
    "name": "short",
    "input": "{{sample.output_text}}",
    "reference": "o",
    "operation": "like",
}
JOB = "ftjob-abcdefgh12345678"
NUMBERS = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1}
METHODS = {
    "supervised": (LESSONS, NUMBERS, {}),
    "dpo": (PAIRS, {**NUMBERS, "beta": 0.1}, {}),
    "reinforcement": (
        QUESTIONS,
        {
            **NUMBERS,
            "compute_multiplier": 0.25,
            "eval_interval": 2,
            "eval_samples": 1,
            "reasoning_effort": "default",
        },
        {"grader": GRADER},
    ),
}


class Heard(Report):
    """Remembers what was told, and asks for a pause once a step has been."""

    def __init__(self, folder, pause_after):
        super().__init__(io.BytesIO())
        self._folder, self._pause_after = folder, pause_after
        self.said = []

    @property
    def steps(self):
        return [what["data"]["step"] for about, what in self.said if about == "event"]

    def count(self, about):
        return sum(1 for told, _ in self.said if told == about)

    def _tell(self, about, what):
        self.said.append((about, what))
        if about == "event" and what["data"].get("step") == self._pause_after:
            ask_to_pause(self._folder, True)


@pytest.fixture(scope="module", autouse=True)
def training():
    """The modules that import TRL, whose imports warn of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet()
        from agentloop.local.training import preference, reinforcement, supervised
    return {"supervised": supervised, "dpo": preference, "reinforcement": reinforcement}


@pytest.fixture
def trained(tmp_path, base, training, monkeypatch):
    """Trains a job by a method in this process, up to a pause if there is one."""
    # Which of the two is faster is measured, and the machine may change its mind.
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    monkeypatch.setattr("agentloop.local.training.task.faster_in_bf16", lambda: False)

    def train(method, name, *, pause_after=None, save_every=1e9):
        rows, numbers, more = METHODS[method]
        folder, models = tmp_path / name, tmp_path / f"{name}-models"
        folder.mkdir(exist_ok=True)
        models.mkdir(exist_ok=True)
        ask_to_pause(folder, False)
        for file in ("train.jsonl", "valid.jsonl"):
            (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows[:12]))
        section = {"hyperparameters": numbers, **more}
        job = a_job(id=JOB, method={"type": method, method: section}, model="parrot", seed=3)
        heard = Heard(folder, pause_after)
        assignment = {
            "job": job.model_dump(mode="json"),
            "tuned_name": job.tuned_name,
            "base": Models(models, {"parrot": base}).get("parrot").model_dump(mode="json"),
            "on_base": True,
            "folder": str(folder),
            "models": str(models),
            "save_every": save_every,
        }
        with theirs():
            training[method].train(Task.of(assignment, heard))
        return heard

    return train


def weights(tmp_path, name):
    (file,) = (tmp_path / f"{name}-models" / JOB).rglob("*model.safetensors")
    return load_file(file)


def figures(tmp_path, name):
    text = (tmp_path / name / "step_metrics.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return [{key: float(value or 0) for key, value in row.items()} for row in rows]


@pytest.mark.parametrize("pause_after", [1, 3], ids=["within an epoch", "at the end of one"])
@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_a_job_that_was_paused_learns_the_same(trained, tmp_path, method, pause_after):
    plain = trained(method, "plain")
    assert plain.count("done") == 1
    first = trained(method, "paused", pause_after=pause_after)
    assert first.count("done") == 0
    stopped = standing(tmp_path / "paused").step
    # The end of an epoch still comes after what is told of its last step.
    assert stopped in (pause_after, pause_after + 1)
    second = trained(method, "paused")
    assert second.count("done") == 1
    assert min(second.steps) == stopped + 1
    assert first.count("checkpoint") + second.count("checkpoint") == plain.count("checkpoint") == 3
    rows = zip(figures(tmp_path, "paused"), figures(tmp_path, "plain"), strict=True)
    for row, expected in rows:
        assert row == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(weights(tmp_path, "paused"), weights(tmp_path, "plain"))


@pytest.mark.usefixtures("small_ranks")
def test_an_adapter_that_was_paused_learns_the_same(trained, tmp_path):
    assert trained("supervised", "plain").count("done") == 1
    assert trained("supervised", "paused", pause_after=1).count("done") == 0
    assert trained("supervised", "paused").count("done") == 1
    torch.testing.assert_close(weights(tmp_path, "paused"), weights(tmp_path, "plain"))
    assert any("lora" in name for name in weights(tmp_path, "paused"))


def test_a_reinforcement_job_goes_on_at_the_next_step(trained, tmp_path):
    first = trained("reinforcement", "paused", pause_after=1)
    assert first.count("done") == 0
    assert standing(tmp_path / "paused").step == 1
    second = trained("reinforcement", "paused")
    assert second.count("done") == 1
    assert [row["step"] for row in figures(tmp_path, "paused")] == [1, 2, 3]


def test_states_are_saved_on_the_way_and_only_the_latest_is_kept(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("agentloop.local.training.resuming.THRIFT", 0)
    heard = trained("supervised", "often", save_every=0)
    assert heard.count("done") == 1
    assert [path.name for path in (tmp_path / "often").glob("*resume-*")] == ["resume-8"]
