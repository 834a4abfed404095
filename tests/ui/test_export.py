"""`agentloop data export`: from a store or a folder, to a folder for another library."""

import json

import pytest
from typer.testing import CliRunner

from agentloop import harvest
from agentloop.ui.cli import app
from tests.harvest.checks.makers import a_dpo, an_sft, read, said
from tests.harvest.exports.makers import a_dataset
from tests.makers import message, says


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENTLOOP_DATABASE_URL", raising=False)
    runner = CliRunner()

    def invoke(*words):
        return runner.invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})

    return invoke


@pytest.fixture
def harvested(run, tmp_path):
    """A store with a dataset, and the folder that it was harvested to; the dataset's id."""
    lines = [
        {
            "id": f"t{n}",
            "agent": "support",
            "user": f"u{n}",
            "messages": an_sft(n)["messages"],
            "tools": an_sft(n)["tools"],
            "outcome": {"resolved": True},
        }
        for n in range(4)
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run("import", "talks.jsonl").exit_code == 0
    done = run("harvest", "sft", "support", "--valid", 0, "--out", "sft", "--json")
    return json.loads(done.stdout)["dataset"]


def test_a_dataset_of_the_store_and_its_folder_give_the_same(run, harvested, tmp_path):
    by_id = run("data", "export", harvested, "--format", "trl", "--out", "a")
    assert by_id.exit_code == 0, by_id.output
    assert by_id.stdout == (
        f"{harvested} as language-modeling: 4 rows to train on, 0 to validate with -> a\n"
    )
    assert run("data", "export", "sft", "--format", "trl", "--out", "b").exit_code == 0
    assert (tmp_path / "a/train.jsonl").read_bytes() == (tmp_path / "b/train.jsonl").read_bytes()
    (first, *_) = read(tmp_path / "a" / "train.jsonl")
    assert first["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"id": 1}


def test_openai_is_the_default_and_json_says_what_was_written(run, harvested, tmp_path):
    done = run("data", "export", "sft", "--out", "a", "--json")
    assert json.loads(done.stdout) == {
        "dataset": harvested,
        "format": "openai",
        "form": None,
        "rows": {"train": 4, "valid": 0},
        "left": {},
        "out": "a",
    }
    assert (tmp_path / "a/train.jsonl").read_bytes() == (tmp_path / "sft/train.jsonl").read_bytes()


def test_what_was_left_out_is_told_with_what_to_do(run, tmp_path):
    image = message("user", [{"type": "image_url", "image_url": {"url": "data:image/png,"}}])
    rows = [an_sft(1), said(an_sft(), image, says("A cat."))]
    harvest.write(a_dataset(rows=rows), tmp_path / "in")
    done = run("data", "export", "in", "--format", "trl", "--out", "a")
    assert done.exit_code == 0
    assert "media" in done.stdout
    assert "export it as openai" in done.stdout


def test_what_is_there_is_refused_in_one_line(run, tmp_path):
    harvest.write(a_dataset("dpo", rows=[a_dpo(1)]), tmp_path / "in")
    words = ("data", "export", "in", "--format", "kto", "--out", "a")
    assert run(*words).exit_code == 0
    again = run(*words)
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    assert again.stderr == "error: a is there; name another place with --out, or --overwrite\n"
    assert run(*words, "--overwrite").exit_code == 0


def test_a_dataset_that_nobody_knows_is_refused(run, harvested):
    done = run("data", "export", "sft-nope", "--out", "a")
    assert done.exit_code == 1
    assert "no dataset 'sft-nope'" in done.stderr


def test_a_format_that_nobody_knows_is_wrong_use(run):
    assert run("data", "export", "in", "--format", "csv", "--out", "a").exit_code == 2
