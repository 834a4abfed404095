"""`agentloop data check`: what it prints, what it writes, and with which exit status it ends."""

import json
import re

import pytest
from typer.testing import CliRunner

from agentloop.ui.cli import app
from tests.harvest.checks.makers import a_dpo, an_sft, read, write
from tests.makers import asks, says


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def invoke(*words):
        return runner.invoke(app, ["data", "check", *map(str, words)], env={"COLUMNS": "200"})

    return invoke


@pytest.fixture
def bad(tmp_path):
    """11 good rows, one that can be mended, and one that cannot."""
    rows = [*[an_sft(n) for n in range(11)], an_sft(50, weight=1), b"{half"]
    return write(tmp_path / "x.jsonl", rows)


def test_a_good_file_is_fit(run, tmp_path):
    write(tmp_path / "x.jsonl", [an_sft(n) for n in range(12)])
    result = run("x.jsonl", "--method", "sft", "--provider", "openai")
    assert result.exit_code == 0
    assert result.stdout == "12 rows, fit for sft at openai\n"


def test_the_words_of_a_named_provider_are_told(run, bad):
    result = run("x.jsonl", "--method", "sft", "--provider", "openai")
    assert result.exit_code == 1
    assert 'x.jsonl:12: error: extra_key: the row contains an extra "weight"' in result.stdout
    assert (
        "    openai: invalid_file_format: The job failed due to a file format error in the "
        'training file. Invalid file format. Example 12 contains an extra "weight"'
    ) in result.stdout
    assert result.stderr == "error: x.jsonl has 2 faults that a provider would refuse\n"
    assert "openai:" not in run("x.jsonl", "--method", "sft").stdout


def test_json_holds_every_finding_with_line_code_sentence_and_the_words_of_servers(run, bad):
    report = json.loads(run("x.jsonl", "--method", "sft", "--json").stdout)
    assert (report["rows"], report["fit"], report["errors"]) == (13, False, 2)
    assert report["counts"] == {"extra_key": 1, "invalid_json": 1}
    first, second = report["findings"]
    assert (first["level"], first["line"], first["code"]) == ("error", 12, "extra_key")
    assert first["file"] == "x.jsonl"
    assert first["provider_code"] == "invalid_file_format"
    assert second["provider_message"].startswith("The job failed due to an invalid training file.")


@pytest.mark.parametrize(
    ("provider", "status"), [("openai", 1), ("local", 0), ("fireworks", 1), (None, 0)]
)
def test_pairs_of_tool_calls_are_for_providers_that_take_them(run, tmp_path, provider, status):
    call = asks().to_dict()
    write(tmp_path / "x.jsonl", [a_dpo(n, preferred_output=[call]) for n in range(12)])
    more = ("--provider", provider) if provider else ()
    result = run("x.jsonl", "--method", "dpo", *more)
    assert result.exit_code == status
    assert ("tool_calls_in_pair" in result.stdout) is (provider != "local")


def test_a_provider_that_nobody_knows_is_refused_with_the_known_ones(run, bad):
    result = run("x.jsonl", "--method", "sft", "--provider", "nope")
    assert result.exit_code == 1
    assert re.search(r"no provider 'nope'; known: bedrock, .*openai", result.stderr)


def test_fix_writes_beside_the_file_and_never_over_it(run, bad, tmp_path):
    before = bad.read_bytes()
    result = run("x.jsonl", "--method", "sft", "--fix")
    assert result.exit_code == 0, result.output
    assert bad.read_bytes() == before
    assert read(tmp_path / "x.fixed.jsonl") == [*[an_sft(n) for n in range(11)], an_sft(50)]
    assert [r["line"] for r in read(tmp_path / "x.fixed.changes.jsonl")] == [12]
    assert [r["text"] for r in read(tmp_path / "x.fixed.apart.jsonl")] == ["{half"]
    assert "12 rows -> x.fixed.jsonl, 1 of them changed" in result.stdout
    assert "1 lines apart -> x.fixed.apart.jsonl" in result.stdout
    again = run("x.jsonl", "--method", "sft", "--fix")
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


def test_fix_over_the_file_itself_wants_to_be_told(run, bad):
    said = ("x.jsonl", "--method", "sft", "--fix", "--out", "x.jsonl")
    result = run(*said)
    assert result.exit_code == 1
    assert "x.jsonl is the file that is read" in result.stderr
    done = json.loads(run(*said, "--overwrite", "--json").stdout)["fix"]
    assert (done["kept"], done["changed"], done["lines_apart"]) == (12, 1, 1)
    assert done["did"] == {"extra_key": 1, "invalid_json": 1}
    assert done["report"]["fit"]
    assert len(read(bad)) == 12


def test_what_cannot_be_mended_enough_is_still_an_error(run, tmp_path):
    write(tmp_path / "x.jsonl", [an_sft(n) for n in range(3)])
    result = run("x.jsonl", "--method", "sft", "--fix")
    assert result.exit_code == 1
    assert "x.fixed.jsonl has 1 faults" in result.stderr


def test_a_place_without_fix_is_wrong_use(run, bad):
    assert run("x.jsonl", "--method", "sft", "--out", "y.jsonl").exit_code == 2


def test_strict_makes_warnings_fail(run, tmp_path):
    write(tmp_path / "x.jsonl", [an_sft(n) for n in range(12)])
    write(tmp_path / "v.jsonl", [an_sft(6)])
    said = ("x.jsonl", "--method", "sft", "--valid", "v.jsonl")
    result = run(*said)
    assert result.exit_code == 0
    assert "x.jsonl:7: warning: leak: v.jsonl:1 asks the same" in result.stdout
    strict = run(*said, "--strict")
    assert strict.exit_code == 1
    assert strict.stderr == "error: x.jsonl has 1 warnings\n"


def test_personal_data_is_a_warning_with_its_place_unless_it_is_not_looked_for(run, tmp_path):
    hello = says("Hello.").to_dict()
    told = [{"role": "user", "content": "I am ann@work.org"}, hello]
    rows = [*[an_sft(n) for n in range(11)], an_sft(messages=told)]
    write(tmp_path / "x.jsonl", rows)
    result = run("x.jsonl", "--method", "sft")
    assert result.exit_code == 0
    assert (
        "x.jsonl:12: warning: personal_data: the row holds personal data: email in "
        "messages[0].content; redact it before it leaves"
    ) in result.stdout
    assert "ann@work.org" not in result.output
    for said in (["--no-personal"], ["--keep", "ann@work.org"], ["--keep", "@work.org"]):
        assert "personal_data" not in run("x.jsonl", "--method", "sft", *said).stdout
    assert run("x.jsonl", "--method", "sft", "--no-personal", "--keep", "@a.org").exit_code == 2
    fixed = json.loads(run("x.jsonl", "--method", "sft", "--fix", "--json").stdout)["fix"]
    assert fixed["report"]["counts"]["personal_data"] == 1


def test_more_findings_than_are_told_are_counted(run, tmp_path):
    write(tmp_path / "x.jsonl", [an_sft(n, note=n) for n in range(1_003)])
    result = run("x.jsonl", "--method", "sft")
    assert "x.jsonl: extra_key: 3 more like these" in result.stdout
    assert "has 1003 faults" in result.stderr
