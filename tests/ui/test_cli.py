"""The command line: what it prints, where, and with which exit status."""

import errno
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from agentloop import harvest
from agentloop.ui.cli import app, demo
from agentloop.ui.cli.output import table

TALK = {
    "id": "t1",
    "agent": "support",
    "messages": [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "where is 1?"},
        {"role": "assistant", "content": "Here."},
    ],
}


def a_line(n, **fields):
    messages = [dict(m) for m in TALK["messages"]]
    messages[1]["content"] = f"where is {n}?"
    return {**TALK, "id": f"t{n}", "user": f"u{n}", "messages": messages, **fields}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("AGENTLOOP_DATABASE_URL", "OPENAI_API_KEY", "AGENTLOOP_LOCAL_URL"):
        monkeypatch.delenv(name, raising=False)
    runner = CliRunner()

    def invoke(*words, columns=200):
        return runner.invoke(app, [str(word) for word in words], env={"COLUMNS": str(columns)})

    return invoke


@pytest.fixture
def filled(run, tmp_path):
    """A store with 30 traces: 20 good, 10 bad."""
    lines = [a_line(n, outcome={"resolved": n < 20}) for n in range(30)]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run("import", "talks.jsonl").exit_code == 0
    return run


def one_line(result, status=1):
    """The one line that a refused command says on stderr."""
    assert result.exit_code == status, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


def commands(group=app, words=()):
    for command in group.registered_commands:
        yield [*words, command.name or command.callback.__name__.rstrip("_")]
    for sub in group.registered_groups:
        yield from commands(sub.typer_instance, [*words, sub.name])


ALL = list(commands())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_a_help_with_an_example_of_itself(run, words):
    help = run(*words, "--help").stdout
    assert f"Example: agentloop {' '.join(words)}" in re.sub(r"\s+", " ", help)
    assert "--json" in help


def test_an_unknown_command_is_wrong_use(run):
    assert run("fly").exit_code == 2


def test_a_bad_option_is_wrong_use(filled):
    assert filled("traces", "list", "--limit", "none").exit_code == 2
    assert filled("harvest", "karate", "support", "--out", "x").exit_code == 2


def test_it_says_its_version(run):
    assert run("--version").stdout.startswith("agentloop 0.")


def test_a_store_that_is_not_there_is_one_line_with_the_way_in(run, tmp_path):
    said = one_line(run("traces", "list"))
    assert said.startswith("error: there is no store at traces/loop.db; run an agent")
    assert list(tmp_path.iterdir()) == [], "nothing was made"


def test_importing_twice_adds_nothing(filled):
    again = filled("import", "talks.jsonl", "--json")
    assert json.loads(again.stdout)["imported"] == 30
    assert len(json.loads(filled("traces", "list", "--limit", 99, "--json").stdout)) == 30


def test_a_bad_line_is_told_with_its_number_and_stops_nothing(run, tmp_path):
    (tmp_path / "x.jsonl").write_text(f"{json.dumps(TALK)}\n{{bad\n{json.dumps(a_line(2))}\n")
    result = run("import", "x.jsonl")
    assert result.exit_code == 1
    assert "x.jsonl:2: no JSON" in result.stderr
    assert len(json.loads(run("traces", "list", "--json").stdout)) == 2


def test_a_file_that_is_not_there_is_one_line(run):
    assert "cannot read nowhere.jsonl" in one_line(run("import", "nowhere.jsonl"))


def test_a_trace_is_shown_with_its_messages_and_its_verdict(filled):
    shown = filled("traces", "show", "t3").stdout
    assert "where is 3?" in shown
    assert "outcome resolved: True" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["traces", "show", "nope"], "no trace 'nope'"),
        (["rate", "nope", "up"], "no trace 'nope'"),
        (["rate", "t1", "great"], "'great' is no verdict"),
        (["correct", "nope", "--text", "x"], "no trace 'nope'"),
        (["outcome", "t1", "a b", "true"], "'a b' is no name"),
        (["outcome", "t1", "x", "true", "--reference", "{"], "--reference is no JSON"),
        (["traces", "list", "--agent", "nobody"], "no agent 'nobody'"),
        (["traces", "export", "x.jsonl", "--agent", "nobody"], "known: support"),
        (["harvest", "dpo", "support", "--good", "0.1", "--out", "d"], "must lie below good (0.1)"),
        (["advise", "nobody"], "no agent 'nobody'"),
        (["harvest", "sft", "nobody", "--out", "d"], "known: support"),
        (["harvest", "sft", "support", "--where", "scor > 1", "--out", "d"], "known names"),
        (["harvest", "sft", "support", "--where", "score > 2", "--out", "d"], "no row from 30"),
        (["harvest", "rft", "support", "--band", "x", "--out", "d"], "--band is two numbers"),
        (["data", "show", "sft-nope"], "no dataset 'sft-nope'"),
        (["data", "check", "nope.jsonl", "--method", "sft"], "cannot read nope.jsonl"),
        (["tune", "sft-nope", "--base", "m"], "no dataset 'sft-nope'"),
        (["tune", "x", "--base", "m", "--grader", "nope.json"], "cannot read nope.json"),
        (["tune", "x", "--base", "m", "--grader", "talks.jsonl"], "talks.jsonl is no JSON"),
        (["jobs", "show", "nope"], "no job 'nope'"),
        (["models", "show", "nope"], "no version 'nope'"),
        (["gate", "nope", "--agent", "support"], "no version 'nope'"),
        (["swap", "support", "nope"], "no version 'nope'"),
        (["swap", "suport", "own"], "no agent 'suport'"),
        (["gate", "nope", "--agent", "suport"], "known: support"),
        (["trial", "start", "support,biling", "nope"], "no agent 'biling'"),
        (["rollback", "support"], "on its own model"),
        (["trial", "start", "support", "nope"], "no version 'nope'"),
        (["trial", "stop", "nope"], "no trial 'nope'"),
        (["grader", "check", "nope.json"], "cannot read nope.json"),
        (["local", "serve", "--base", "x"], "NAME=FOLDER"),
        (["import", "talks.jsonl", "--format", "xml"], "no format 'xml'; known: auto, atif, chat"),
        (["traces", "list", "--store", "mysql://x"], "mysql"),
        (["traces", "list", "--store", "nonsense"], "'nonsense' is no database URL"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(filled, words, said, tmp_path):
    before = sorted(p.name for p in tmp_path.iterdir())
    assert said in one_line(filled(*words))
    assert sorted(p.name for p in tmp_path.iterdir()) == before, "nothing half-written"
    assert filled("traces", "list").exit_code == 0, "the next command works"


def test_feedback_from_the_command_line_settles(filled):
    assert "settles at 0.00" in filled("rate", "t1", "down", "--by", "ann").stdout
    assert "settles at 0.00" in filled("correct", "t1", "--text", "There.", "--by", "ann").stdout
    scored = filled("outcome", "t29", "resolved", "true", "--json").stdout
    assert json.loads(scored) == {"trace": "t29", "score": 1.0}


def test_feedback_from_a_file_settles_line_by_line(filled, tmp_path):
    lines = [
        '{"trace": "t1", "thumbs": "down", "by": "ann"}',
        '{"trace": "nope", "thumbs": "up"}',
        '{"trace": "t2", "outcome": {"csat": 0.9}}',
    ]
    (tmp_path / "f.jsonl").write_text("\n".join(lines))
    result = filled("feedback", "import", "f.jsonl")
    assert result.exit_code == 1
    assert "f.jsonl:2: no trace 'nope'" in result.stderr
    assert "2 lines stored" in result.stdout


def test_a_comment_in_a_file_may_hold_any_character(filled, tmp_path):
    said = {"trace": "t1", "comment": "two\u2028lines\x85", "by": "ann"}
    text = json.dumps(said, ensure_ascii=False)
    (tmp_path / "f.jsonl").write_text(f"\ufeff{text}\r\n", encoding="utf-8")
    assert "1 lines stored" in filled("feedback", "import", "f.jsonl").stdout
    assert said["comment"] in filled("traces", "show", "t1").stdout


def test_a_harvest_writes_five_files_and_tells_the_funnel(filled, tmp_path):
    result = filled("harvest", "sft", "support", "--out", "d", "--valid", "0.2")
    assert result.exit_code == 0, result.output
    assert "sft: 30 traces -> 30 considered -> 20 rows" in result.stdout
    assert "not_good" in result.stdout
    assert len(list((tmp_path / "d").iterdir())) == 5
    assert filled("data", "check", "d/train.jsonl", "--method", "sft").exit_code == 0


def told(run, tmp_path):
    """A store with a customer who leaves an address and a number, and asks for an order."""
    line = a_line("order 4155550132? I am ann@work.org, mail help@shop.com", outcome={"ok": True})
    (tmp_path / "told.jsonl").write_text(json.dumps(line))
    assert run("import", "told.jsonl").exit_code == 0


def test_rows_hold_pseudonyms_the_store_what_was_said_and_the_manifest_which(run, tmp_path):
    told(run, tmp_path)
    result = run("harvest", "sft", "support", "--out", "d", "--keep", "help@shop.com")
    assert "replaced by pseudonyms: 1 email" in result.stdout
    row = (tmp_path / "d" / "train.jsonl").read_text()
    assert "where is order 4155550132? I am person1@example.com, mail help@shop.com" in row
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    who = {"detector": "agentloop", "version": "1"}
    assert manifest["recipe"]["redact"] == {**who, "keep": ["help@shop.com"]}
    meta = json.loads((tmp_path / "d" / "rows.meta.jsonl").read_text())
    assert meta["redactions"] == {**who, "kinds": {"email": 1}}
    assert "ann@work.org" in run("traces", "show", meta["traces"][0]).stdout


def test_without_redaction_rows_are_as_said_and_the_manifest_says_so(run, tmp_path):
    told(run, tmp_path)
    printed = run("harvest", "sft", "support", "--out", "d", "--no-redact", "--json").stdout
    assert json.loads(printed)["recipe"]["redact"] is False
    assert "ann@work.org" in (tmp_path / "d" / "train.jsonl").read_text()
    assert "redactions" not in (tmp_path / "d" / "rows.meta.jsonl").read_text()
    assert run("harvest", "sft", "support", "--out", "d", "--no-redact", "--pii").exit_code == 2


def test_the_json_of_a_harvest_is_its_manifest(filled, tmp_path):
    printed = json.loads(filled("harvest", "sft", "support", "--out", "d", "--json").stdout)
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert printed == {**manifest, "out": "d"}
    assert [m["dataset"] for m in json.loads(filled("data", "list", "--json").stdout)] == [
        manifest["dataset"]
    ]
    shown = json.loads(filled("data", "show", manifest["dataset"], "--json").stdout)
    assert shown["versions"] == []


def test_a_folder_that_was_changed_by_hand_is_not_tuned_on(filled, tmp_path):
    filled("harvest", "sft", "support", "--out", "d")
    train = tmp_path / "d" / "train.jsonl"
    train.write_text(train.read_text() + "{}\n")
    assert "were changed since the harvest" in one_line(filled("tune", "d", "--base", "m"))


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"dataset": 7}'])
def test_a_folder_that_is_no_harvest_is_one_line(filled, tmp_path, manifest):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "manifest.json").write_text(manifest)
    (tmp_path / "d" / "train.jsonl").touch()
    assert "d is no harvest" in one_line(filled("tune", "d", "--base", "m"))


def test_a_disk_that_is_full_is_one_line(filled, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "d/train.jsonl")

    monkeypatch.setattr(harvest, "write", full)
    said = one_line(filled("harvest", "sft", "support", "--out", "d"))
    assert said == "error: d/train.jsonl: No space left on device"


def test_what_a_terminal_cannot_print_is_printed_escaped(run, tmp_path):
    messages = [{"role": "user", "content": "x \ud800"}, {"role": "assistant", "content": "é"}]
    (tmp_path / "x.jsonl").write_text(json.dumps({**TALK, "messages": messages}))
    run("import", "x.jsonl")
    (call,) = json.loads(run("traces", "show", "t1", "--json").stdout)["trace"]["calls"]
    assert call["context"][0]["content"] == "x \ud800"
    assert r"x \ud800" in run("traces", "show", "t1").stdout


def test_an_id_in_a_table_is_never_broken_in_two(capsys):
    id = f"job_{'0' * 24}"
    table(("job", *"abcdef"), [(id, *["a longer value"] * 6)])
    assert id in capsys.readouterr().out


def test_the_demo_ends_with_the_port_at_which_its_versions_answer(tmp_path, capsys):
    ending = SimpleNamespace(lines=[], verdict=None, winner=None, seconds=1.0, peak_mb=1.0)
    demo._show(ending, tmp_path, "http://127.0.0.1:4711/v1")
    assert f"local serve --root {tmp_path}/local --port 4711" in capsys.readouterr().out


def test_what_costs_money_is_not_started_without_a_confirmation(filled):
    filled("harvest", "sft", "support", "--out", "d")
    result = filled("tune", "d", "--provider", "openai", "--base", "gpt-4.1")
    assert result.exit_code == 1
    assert "error: this job costs about $0." in result.stderr
    assert json.loads(filled("jobs", "list", "--json").stdout) == []


def test_a_provider_that_does_not_run_is_one_line_and_the_job_can_be_resumed(filled, monkeypatch):
    monkeypatch.setenv("AGENTLOOP_LOCAL_URL", "http://127.0.0.1:9/v1")
    filled("harvest", "sft", "support", "--out", "d", "--valid", "0")
    result = filled("tune", "d", "--base", "agentloop-tiny")
    assert result.exit_code == 1
    assert "start it with `agentloop local serve`" in result.stderr
    (job,) = json.loads(filled("jobs", "list", "--json").stdout)
    assert job["state"] == "submitting", "the ledger knows the job before the provider does"
    again = one_line(filled("jobs", "resume", job["id"]))
    assert "start it with `agentloop local serve`" in again
    shown = filled("jobs", "show", job["id"], "--json")
    assert json.loads(shown.stdout)["state"] == "submitting", "as the ledger knows it"


def test_a_file_check_names_line_code_and_way_out(run, tmp_path):
    good = {"messages": TALK["messages"]}
    lines = [good] * 10 + [{"messages": TALK["messages"], "weight": 1}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{half\n")
    result = run("data", "check", "x.jsonl", "--method", "sft")
    assert result.exit_code == 1
    assert 'x.jsonl:11: error: extra_key: the row contains an extra "weight"' in result.stdout
    assert "x.jsonl:12: error: invalid_json" in result.stdout
    assert "x.jsonl:2: warning: duplicate" in result.stdout
    report = json.loads(run("data", "check", "x.jsonl", "--method", "sft", "--json").stdout)
    assert (report["rows"], report["fit"]) == (12, False)


@pytest.mark.parametrize("depth", [600, 100_000])
def test_a_file_check_survives_a_row_that_is_nested_without_end(run, tmp_path, depth):
    row = '{"messages": [{"role": "user", "content": "hi"}], "x": ' + "[" * depth + "]" * depth
    (tmp_path / "x.jsonl").write_text(f"{row}}}\n")
    result = run("data", "check", "x.jsonl", "--method", "rft")
    assert "x.jsonl:1: error: invalid_json" in result.stdout


def test_a_grader_is_checked_and_run(run, tmp_path):
    spec = {
        "type": "string_check",
        "name": "exact",
        "operation": "eq",
        "input": "{{sample.output_text}}",
        "reference": "{{item.label}}",
    }
    (tmp_path / "g.json").write_text(json.dumps(spec))
    assert run("grader", "check", "g.json").exit_code == 0
    graded = run("grader", "run", "g.json", "--sample", "yes", "--item", '{"label": "yes"}')
    assert graded.stdout == "reward 1.0000\n"
    (tmp_path / "bad.json").write_text('{"type": "astrology"}')
    assert "astrology" in one_line(run("grader", "check", "bad.json"))


def test_traces_go_out_and_come_in_again_as_they_were(filled, tmp_path):
    assert "30 lines" in filled("traces", "export", "out.jsonl").stdout
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert filled("import", "out.jsonl", "--store", other).exit_code == 0
    shown = [
        json.loads(filled("traces", "show", "t7", "--json", *store).stdout)
        for store in ([], ["--store", other])
    ]
    for body in shown:
        for stamp in ("opinions", "outcomes"):
            body.pop(stamp, None)
    assert shown[0] == shown[1]


def test_advice_says_what_is_missing(filled):
    advice = json.loads(filled("advise", "support", "--json").stdout)
    assert advice["says"] == "few-shot"
    assert advice["evidence"]["good"] == 20
    lacking = {one["method"]: one["more"] for one in advice["suggestions"]}
    assert lacking == {"prompt": None, "few-shot": None, "sft": 30, "dpo": 50, "rft": 30}
    assert "30 more good or corrected runs" in filled("advise", "support").stdout


def test_advice_fits_a_narrow_terminal_and_breaks_no_word_and_no_command(filled):
    advice = json.loads(filled("advise", "support", "--json").stdout)
    narrow = filled("advise", "support", columns=60).stdout
    commands = [line for line in narrow.splitlines() if line.startswith("  $ ")]
    others = [one["next"] for one in advice["suggestions"] if one["method"] != "few-shot"]
    assert commands == [f"  $ {command}" for command in (advice["next"], *others)]
    assert all(len(line) <= 60 for line in narrow.splitlines() if line not in commands)
    wide = filled("advise", "support", columns=200).stdout
    assert narrow.split() == wide.split()


def test_what_advice_says_to_run_runs(filled, tmp_path):
    advice = json.loads(filled("advise", "support", "--json").stdout)
    for one in advice["suggestions"]:
        program, *words = shlex.split(one["next"])
        assert program == "agentloop"
        result = filled(*words)
        # Where there is nothing to harvest yet, it says so.
        assert result.exit_code == 0 or re.search("no row|nothing to harvest", one_line(result))
    assert len((tmp_path / "data/examples/train.jsonl").read_text().splitlines()) == 10


def test_the_doctor_says_what_to_do_about_what_is_missing(run, monkeypatch):
    monkeypatch.setenv("AGENTLOOP_LOCAL_URL", "http://127.0.0.1:9/v1")
    result = run("doctor")
    assert result.exit_code == 0
    assert "agentloop local serve" in result.stdout


def test_the_doctor_survives_an_address_that_is_none(run, monkeypatch):
    monkeypatch.setenv("AGENTLOOP_LOCAL_URL", "http://[::1")
    assert "does not answer at http://[::1" in run("doctor").stdout


def test_the_doctor_shows_the_local_provider_its_key(run, monkeypatch, httpx2_mock):
    monkeypatch.setenv("AGENTLOOP_LOCAL_KEY", "s3cret")
    models = httpx2_mock.get("http://127.0.0.1:8421/v1/models").respond(401, json={"error": {}})
    local = next(f for f in doctor(run) if f["what"] == "local provider")
    assert (local["ok"], local["do"]) == (False, "set AGENTLOOP_LOCAL_KEY to the server's")
    assert models.calls.last.request.headers["authorization"] == "Bearer s3cret"
    httpx2_mock.get("http://127.0.0.1:8421/v1/models").respond(json={"data": [{"id": "m"}]})
    assert next(f for f in doctor(run) if f["what"] == "local provider")["ok"]


def doctor(run):
    return json.loads(run("doctor", "--json").stdout)


def test_a_store_that_is_whole_is_said_to_be_so(filled):
    told = json.loads(filled("store", "verify", "--json").stdout)
    assert (told["sound"], told["damage"]) == (True, [])
    assert told["checked"]["trace"] == 30
    assert "is sound: 32 messages" in filled("store", "verify").stdout


def test_damage_is_told_and_is_exit_status_1(filled, tmp_path):
    with sqlite3.connect(tmp_path / "traces/loop.db") as store:
        store.execute("UPDATE message SET body = replace(body, 'where is 7', 'where is 8')")
    store.close()
    result = filled("store", "verify", "--json")
    assert result.exit_code == 1
    (damage,) = json.loads(result.stdout)["damage"]
    assert damage["table"] == "message"
    assert result.stderr.startswith("error: 1 things are damaged; restore sqlite:///")
    assert damage["key"] in filled("store", "verify").stdout


def test_the_sizes_of_a_store_are_told(filled):
    told = json.loads(filled("store", "stats", "--json").stdout)
    assert (told["messages_seen"], told["messages_stored"]) == (90, 32)
    assert told["bytes"] > told["tables"]["message"]["content"] > 1000
    assert told["tables"]["trace"]["rows"] == 30
    said = filled("store", "stats").stdout
    assert "90 messages in model calls, each stored once: 32" in said
    assert re.search(r"trace +30 +[\d.]+ kB", said)


def test_output_that_nobody_reads_to_its_end_is_no_error(filled, tmp_path):
    command = f"{sys.executable} -m agentloop traces list --limit 30 --json | head -1"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr
