"""`agentloop harvest`: the options that clean, and what is told of it."""

import json

import pytest

from tests.ui.test_cli import a_line, filled, one_line, run

__all__ = ["filled", "run"]

LONG = " ".join(f"word{n}" for n in range(300))


@pytest.fixture
def shop(run, tmp_path):
    """Six conversations: two nearly the same, and of the others one with another tool."""
    lines = []
    for n, text in enumerate([LONG, f"{LONG} please", "a", "b", "c", "d"]):
        name = "refund" if text == "d" else "find"
        line = a_line(n, outcome={"resolved": True})
        function = {"name": name, "arguments": "{}"}
        call = {"id": "c1", "type": "function", "function": function}
        line["messages"] = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "here"},
            {"role": "assistant", "content": "There."},
        ]
        tools = [{"type": "function", "function": {"name": t}} for t in ("find", "refund")]
        lines.append({**line, "tools": tools})
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run("import", "talks.jsonl").exit_code == 0

    def harvest(*options):
        return run("harvest", "sft", "support", "--out", "d", "--valid", "0", *options)

    return harvest


def test_a_harvest_tells_what_was_nearly_the_same_and_what_its_rows_teach(shop):
    said = " ".join(shop().stdout.split())
    assert "6 considered -> 5 rows" in said
    assert "1 near_duplicate Nearly the same is in the dataset already" in said
    assert "rows that teach: 4 find, 1 refund" in said


def test_near_zero_keeps_them(shop):
    assert "6 considered -> 6 rows" in shop("--near", "0").stdout


def test_a_test_set_keeps_its_rows_out(shop, tmp_path):
    (tmp_path / "test.jsonl").write_text('"a"\n"b"\n')
    manifest = json.loads(shop("--against", "test.jsonl", "--json").stdout)
    assert manifest["refused"]["contaminated"] == 2


def test_rows_are_balanced_and_split_as_asked(shop):
    options = ("--balance", "1", "--split-by", "conversation", "--json")
    manifest = json.loads(shop(*options).stdout)
    assert manifest["teaches"] == {"find": 1, "refund": 1}
    assert manifest["recipe"]["split_by"] == "conversation"
    assert json.loads(shop("--balance", "1x", "--json").stdout)["refused"]["too_common"] == 3


def test_tokens_are_counted_and_rows_too_long_are_refused(shop):
    pytest.importorskip("bpe_openai")
    result = shop("--tokenizer", "gpt-4.1", "--max-tokens", "200")
    assert "too_long" in result.stdout
    assert "tokens to train on:" in result.stdout
    windowed = shop("--tokenizer", "gpt-4.1", "--max-tokens", "200", "--window", "--json")
    assert json.loads(windowed.stdout)["recipe"]["window"] is True


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--max-tokens", "200"], "max_tokens and window need a tokenizer"),
        (["--tokenizer", "nobody"], "no tokenizer 'nobody'"),
        (["--balance", "much"], "balance"),
        (["--split-by", "day"], "split_by"),
        (["--against", "none.jsonl"], "cannot read none.jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_line(shop, options, why):
    assert why in one_line(shop(*options))
