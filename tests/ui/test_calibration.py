"""`agentloop grader calibrate`: what it found, and what to do next."""

import json

import pytest

from tests.ui.test_cli import a_line, one_line, run

__all__ = ["run"]

SHIPPED = {
    "type": "string_check",
    "name": "shipped",
    "operation": "ilike",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference_answer}}",
}
JUDGE = {
    "type": "score_model",
    "name": "judge",
    "model": "m",
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
}


def a_talk(n, says, thumbs, *, by=("ann",)):
    line = a_line(n, outcome={"resolved": True}, reference="shipped")
    line["messages"][-1]["content"] = says
    return {**line, "feedback": [{"thumbs": thumbs, "by": name} for name in by]}


@pytest.fixture
def judged(run, tmp_path):
    """A store with 40 answers: people like all that say `shipped`, but one; and a grader."""

    def fill(lines):
        (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, lines)))
        assert run("import", "talks.jsonl").exit_code == 0
        (tmp_path / "g.json").write_text(json.dumps(SHIPPED))
        (tmp_path / "judge.json").write_text(json.dumps(JUDGE))
        return run

    return fill


def many(good=20, bad=20):
    liked = [a_talk(n, "It has shipped.", "up") for n in range(good)]
    return liked + [a_talk(n, "No idea.", "down") for n in range(good, good + bad)]


def test_what_it_found_and_what_to_do_next_is_said(judged):
    run = judged([*many(30, 29), a_talk(99, "It shipped, I guess.", "down")])
    said = run("grader", "calibrate", "g.json", "support")
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    assert lines[0] == "shipped and people: agrees"
    assert "of 30 answers that people reject it passes 1" in lines[1]
    figures = {line.split()[0]: line.split()[1] for line in lines[3:6]}
    assert figures == {"accuracy": "0.98", "kappa": "0.97", "spearman": "0.97"}
    assert [line.split() for line in lines if line.startswith("t99")] == [["t99", "0.000", "1.000"]]
    assert lines[-1] == (
        "next: train with it: agentloop tune DATASET --provider NAME --base MODEL --grader g.json"
    )


def test_the_figures_can_be_read_by_a_program(judged):
    said = judged(many())("grader", "calibrate", "g.json", "support", "--json")
    told = json.loads(said.stdout)
    assert told["says"] == "agrees"
    assert told["counts"] == {"both": 20, "grader": 0, "people": 0, "neither": 20}
    assert told["kappa"]["value"] == 1.0
    assert told["kappa"]["low"] > 0.6


def test_with_few_verdicts_of_people_it_says_what_is_missing(judged):
    """What rules say of an answer is no verdict of a person."""
    talks = [{**a_line(n), "outcome": {"resolved": n % 2 == 0}} for n in range(40)]
    said = judged([*talks, *(a_talk(n, "It has shipped.", "up") for n in range(50, 62))])(
        "grader", "calibrate", "g.json", "support"
    )
    assert said.exit_code == 0
    assert "cannot tell yet" in said.stdout
    assert "12 answers with a verdict of a person are known, and 20 are needed" in said.stdout
    assert "agentloop rate TRACE up|down" in said.stdout


def test_only_so_many_answers_are_looked_at(judged):
    said = judged(many())("grader", "calibrate", "g.json", "support", "--limit", "30", "--json")
    assert json.loads(said.stdout)["rated"] == 30


def test_a_judge_is_asked_only_when_that_is_confirmed(judged, monkeypatch):
    monkeypatch.setenv("AGENTLOOP_JUDGE_BASE_URL", "http://127.0.0.1:9/v1")
    refused = one_line(judged(many())("grader", "calibrate", "judge.json", "support"))
    assert "'judge' asks others, 40 times, which may cost money" in refused


def test_an_agent_that_has_not_run_is_an_error(judged):
    assert "no agent 'sales'" in one_line(judged(many())("grader", "calibrate", "g.json", "sales"))
