"""`data diff`, `data row`, marks, `harvest --update` and `erase` on the command line."""

import json

import pytest

from tests.ui.test_cli import filled, one_line, run

__all__ = ["filled", "run"]


@pytest.fixture
def made(filled):
    """The id of a dataset of 20 rows."""
    return json.loads(filled("harvest", "sft", "support", "--out", "d1", "--json").stdout)[
        "dataset"
    ]


def parsed(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_what_changed_since_is_told_and_harvested_anew(filled, made):
    assert parsed(filled("data", "list", "--json"))[0]["marks"] == []
    filled("outcome", "t3", "resolved", "false")
    filled("correct", "t4", "--text", "Over there.", "--by", "ann")
    sentence = "2 of 20 rows rest on feedback that has changed since"
    (told,) = parsed(filled("data", "list", "--json"))
    assert told["marks"] == [{"reason": "feedback", "rows": 2, "total": 20, "sentence": sentence}]
    shown = filled("data", "show", made).stdout
    assert sentence in shown
    assert f"agentloop harvest --update {made} --out DIR" in shown
    said = filled("harvest", "--update", made, "--out", "d2").stdout
    assert "18 rows in both (0 of them moved), 1 changed, 1 only in" in said
    assert "refused not_good: 10 -> 11" in said
    assert "18 rows in both" in filled("harvest", "--update", "d1", "--out", "d3").stdout
    again = one_line(filled("harvest", "--update", "d4", "--out", "d5"))
    assert again == "error: no dataset 'd4'; `agentloop data list` shows what there is"


def test_harvests_are_compared_by_id_and_by_folder(filled, made):
    filled("correct", "t4", "--text", "Over there.", "--by", "ann")
    new = parsed(filled("harvest", "--update", made, "--out", "d2", "--json"))
    assert new["parent"] == made
    by_id = parsed(filled("data", "diff", made, new["dataset"], "--json"))
    by_folder = parsed(filled("data", "diff", "d1", "d2", "--json"))
    assert by_id == new["difference"]
    assert {**by_folder, "a": made, "b": new["dataset"]} == by_id
    assert (by_id["both"], by_id["changed"]) == (19, 1)
    (changed,) = by_id["changed_rows"]
    assert changed["what"] == ["messages.2.content"]
    assert "messages.2.content" in filled("data", "diff", "d1", "d2").stdout


def test_a_harvest_to_which_nothing_came_is_refused_in_one_line(filled, made):
    said = one_line(filled("harvest", "--update", made, "--out", "d2"))
    assert said == f"error: nothing has changed: {made} is what a harvest gives today"


@pytest.mark.parametrize(
    "words",
    [
        ["harvest", "--out", "d"],
        ["harvest", "sft", "--out", "d"],
        ["harvest", "sft", "support", "--update", "sft-1", "--out", "d"],
        ["harvest", "--update", "sft-1", "--good", "0.5", "--out", "d"],
        ["harvest", "--update", "sft-1", "--no-redact", "--out", "d"],
        ["harvest", "--update", "sft-1"],
        ["erase", "--confirm"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_wrong_use(filled, words):
    assert filled(*words).exit_code == 2


def test_a_row_is_shown_with_where_it_came_from(filled, made):
    filled("rate", "t1", "up", "--by", "ann")
    shown = filled("data", "row", made, "2").stdout
    assert "where is 1?" in shown
    assert "trace t1: agent support, user u1, settles at 1.00" in shown
    told = parsed(filled("data", "row", made, "2", "--json"))
    assert (told["file"], told["line"]) == ("train.jsonl", 2)
    assert told["traces"][0]["trace"]["id"] == "t1"
    assert told["calls"][0]["id"] == told["row"]["calls"][0]
    by_hash = parsed(filled("data", "row", made, told["sha256"][:10], "--json"))
    assert by_hash == told
    assert "has no line 99" in one_line(filled("data", "row", made, "99"))


def test_a_trace_lists_the_rows_and_versions_that_learned_from_it(filled, made):
    told = parsed(filled("traces", "show", "t1", "--json"))
    assert told["datasets"] == [made]
    assert told["rows"] == [{"dataset": made, "file": "train.jsonl", "line": 2}]
    assert told["versions"] == []
    assert f"row {made} train.jsonl:2" in filled("traces", "show", "t1").stdout


def test_erasing_says_what_would_go_and_does_it_when_that_is_confirmed(filled, made):
    asked = filled("erase", "--user", "u1")
    assert asked.exit_code == 1
    assert "would go: 1 traces, 1 calls" in asked.stdout
    assert f"dataset {made}: 1 rows" in asked.stdout
    assert asked.stderr == "error: nothing was erased of 'u1'; --confirm does it\n"
    assert filled("traces", "show", "t1").exit_code == 0
    done = parsed(filled("erase", "--user", "u1", "--confirm", "--json"))
    assert (done["done"], done["traces"], done["rows"]) == (True, 1, {made: 1})
    assert filled("traces", "show", "t1").exit_code == 1
    assert "1 of 20 rows was erased" in filled("data", "show", made).stdout
    assert "what it said was erased" in filled("data", "row", made, "2").stdout
    assert "harvest --update" in one_line(filled("tune", made, "--base", "agentloop-tiny"))
    assert filled("store", "verify").exit_code == 0


def test_erasing_nobody_is_an_error(filled):
    said = one_line(filled("erase", "--user", "nobody", "--confirm"))
    assert said == "error: nothing in this store is of a user 'nobody'"
