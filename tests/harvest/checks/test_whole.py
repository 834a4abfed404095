"""What only whole files show: too few rows, one answer for all, leaks, and any length."""

import json
import tracemalloc

import pytest

from agentloop.base.records import SERVICES, Method, RowRules
from agentloop.harvest import check
from agentloop.harvest.checks import doubts, reading
from agentloop.harvest.checks.findings import Level
from tests.harvest.checks.makers import MAKERS, a_dpo, an_rft, an_sft, changed, said, write
from tests.makers import asks, real, says, user


def whole_file(report):
    return [(f.level.value, f.code) for f in report.findings if f.line is None]


def test_too_few_rows_are_said_in_the_words_of_servers(tmp_path):
    path = write(tmp_path / "x.jsonl", [an_sft(n) for n in range(7)])
    report = check(path, Method.SFT)
    (finding,) = report.findings
    assert (finding.level, finding.line) == (Level.ERROR, None)
    assert finding.provider == (
        "invalid_n_examples",
        "Training file has 7 example(s), but must have at least 10 examples",
        "training_file",
    )
    assert check(path, Method.SFT, rules=SERVICES["fireworks"]).fit


def test_a_service_says_how_much_it_takes_and_of_what(tmp_path):
    path = write(tmp_path / "x.jsonl", [an_sft(n) for n in range(12)])
    rules = RowRules(methods=(Method.DPO, Method.RFT), most_rows=11, most_bytes=1000)
    report = check(path, Method.SFT, rules=rules)
    assert whole_file(report) == [
        ("error", "too_many_rows"),
        ("error", "file_too_large"),
        ("error", "method_not_offered"),
    ]
    assert "does not offer sft; it offers dpo, rft" in report.findings[-1].message


@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("sft", lambda n: changed(an_sft(n), "messages", 4, "content", to="Always this.")),
        ("dpo", lambda n: a_dpo(0) | {"input": a_dpo(n)["input"]}),
        ("rft", lambda n: an_rft(n, reference="always this")),
    ],
)
def test_rows_that_all_teach_the_same_are_doubtful(tmp_path, method, row):
    report = check(write(tmp_path / "x.jsonl", map(row, range(12))), Method(method))
    assert whole_file(report) == [("warning", "same_output")]


@pytest.mark.parametrize(("declined", "told"), [(2, False), (3, True)])
@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("sft", lambda n, text: changed(an_sft(n), "messages", 4, "content", to=text)),
        ("dpo", lambda n, text: changed(a_dpo(n), "preferred_output", 0, "content", to=text)),
    ],
)
def test_the_share_of_answers_that_decline_is_told(tmp_path, method, row, declined, told):
    texts = ["I'm sorry, but I can't help with that."] * declined + ["It is there."] * 10
    rows = [row(n, f"{text} {n}") for n, text in enumerate(texts)]
    report = check(write(tmp_path / "x.jsonl", rows), Method(method))
    assert (report.declined, report.answers) == (declined, 10 + declined)
    assert ("warning", "refusal_share") in whole_file(report) or not told
    assert report.fit
    if told:
        assert "3 of 13 answers decline" in report.findings[-1].message
        assert "lines 1, 2, 3" in report.findings[-1].message
    else:
        assert report.findings == ()


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("I’m sorry, but I can’t assist with that request.", True),
        ("I cannot provide legal advice.", True),
        ("Unfortunately, I am not able to share that.", True),
        ("As an AI language model, I don't have opinions.", True),
        ("I must decline.", True),
        ("I'm sorry, but I couldn't find that order. What is its number?", False),
        ("Sorry for the delay! It ships today.", False),
        ("I was unable to find a company of that name.", False),
        ("You can't return it after 30 days.", False),
        ("I can help you with that.", False),
        ("Done. " * 100 + "I'm sorry, I can't do that.", False),
    ],
)
def test_an_answer_that_declines_is_told_from_one_that_regrets(text, declines):
    assert doubts.declines({"role": "assistant", "content": text}) is declines


def test_a_refusal_says_that_it_is_one_and_a_tool_call_is_none():
    part = {"type": "refusal", "refusal": "No."}
    assert doubts.declines({"role": "assistant", "content": [part]})
    assert doubts.declines({"role": "assistant", "content": None, "refusal": "No."})
    assert not doubts.declines(asks(content="I'm sorry, I can't help.").to_dict())


def test_personal_data_is_told_by_whoever_knows_it(tmp_path):
    rows = [an_sft(n) for n in range(12)]
    rows[6] = changed(
        rows[6], "messages", 2, to=asks(arguments='{"to": "a\\u0040b.example"}').to_dict()
    )
    path = write(tmp_path / "x.jsonl", rows)
    report = check(path, Method.SFT, personal=lambda text: ["email"] * ("a@b" in text))
    assert [(f.level, f.line, f.code) for f in report.findings] == [
        (Level.WARNING, 7, "personal_data")
    ]
    assert "email in messages[2].tool_calls[0].function.arguments" in report.findings[0].message


# ---------------------------------------------------------------------- both sides of a split


def test_a_prompt_on_both_sides_of_the_split_is_a_leak(tmp_path):
    rows = [an_sft(n) for n in range(12)]
    valid = write(
        tmp_path / "v.jsonl",
        [an_sft(90), changed(an_sft(6), "messages", 4, "content", to="Elsewhere.")],
    )
    report = check(write(tmp_path / "x.jsonl", rows), Method.SFT, valid=valid)
    (finding,) = report.findings
    assert (finding.level, finding.line, finding.code) == (Level.WARNING, 7, "leak")
    assert "v.jsonl:2 asks the same" in finding.message


@pytest.mark.parametrize("method", ["dpo", "rft"])
def test_leaks_are_found_for_each_method(tmp_path, method):
    make = MAKERS[method]
    path = write(tmp_path / "x.jsonl", [make(n) for n in range(12)])
    valid = write(tmp_path / "v.jsonl", [make(50), make(6)])
    report = check(path, Method(method), valid=valid)
    assert [(f.line, f.code) for f in report.findings] == [(7, "leak")]


def test_a_row_that_goes_on_where_one_of_the_other_side_ends_is_a_leak(tmp_path):
    short = an_sft(6)
    longer = said(short, *short["messages"], user("and now?"), says("Gone."))
    rows = [an_sft(100 + n) for n in range(11)]
    for one, other in ((short, longer), (longer, short)):
        path = write(tmp_path / "x.jsonl", [*rows, one])
        report = check(path, Method.SFT, valid=write(tmp_path / "v.jsonl", [other]))
        assert [(f.line, f.code) for f in report.findings] == [(12, "leak")]


def test_neither_a_shared_greeting_nor_the_ids_of_tool_calls_decide_what_is_a_leak(tmp_path):
    def talk(n, id="c1"):
        again = json.loads(json.dumps(an_sft(n)).replace('"c1"', f'"{id}"'))
        hello = [user("hello").to_dict(), says("Hello!").to_dict()]
        return said(again, again["messages"][0], *hello, *again["messages"][1:])

    path = write(tmp_path / "x.jsonl", [talk(n) for n in range(12)])
    assert check(path, Method.SFT, valid=write(tmp_path / "v.jsonl", [talk(50)])).findings == ()
    report = check(path, Method.SFT, valid=write(tmp_path / "v.jsonl", [talk(6, "call_x")]))
    assert [f.line for f in report.findings] == [7]


def test_the_validation_file_is_checked_too_and_may_be_short(tmp_path):
    path = write(tmp_path / "x.jsonl", [an_sft(n) for n in range(12)])
    valid = write(tmp_path / "v.jsonl", [an_sft(50), b"{half"])
    report = check(path, Method.SFT, valid=valid)
    (finding,) = report.findings
    assert (finding.file, finding.line, finding.code) == (valid, 2, "invalid_json")
    assert report.rows == 12


# ---------------------------------------------------------------------- any length


def test_of_each_code_a_thousand_findings_are_kept_and_all_are_counted(tmp_path):
    path = write(tmp_path / "x.jsonl", [an_sft(n, note=n) for n in range(1_100)])
    report = check(path, Method.SFT)
    assert report.counts == {"extra_key": 1_100}
    assert report.errors == 1_100
    assert [f.line for f in report.findings] == list(range(1, 1_001))


def test_a_line_without_end_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST", 5_000)
    rows = [an_sft(n) for n in range(12)]
    rows[6] = changed(rows[6], "messages", 1, "content", to="x" * 50_000)
    report = check(write(tmp_path / "x.jsonl", rows), Method.SFT)
    assert [(f.line, f.code) for f in report.findings] == [(7, "line_too_long")]
    assert report.rows == 12


def test_empty_lines_count_for_the_line_and_not_for_the_example(tmp_path):
    path = write(tmp_path / "x.jsonl", [b"", *[an_sft(n) for n in range(12)], b"  ", {}])
    (finding,) = check(path, Method.SFT).findings
    assert finding.line == 15
    assert "Example 13 is missing key 'messages'" in finding.provider.message


def test_memory_does_not_grow_with_the_file(tmp_path):
    def peak(rows):
        path = write(tmp_path / "x.jsonl", [an_sft(n) for n in range(rows)])
        tracemalloc.start()
        try:
            assert check(path, Method.SFT).findings == ()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is loaded and compiled once
    assert peak(3_000) < peak(300) + 50_000, "bytes"


# ---------------------------------------------------------------------- files of others

FOUNDRY = "foundry-fine-tuning"
STOCKS = f"{FOUNDRY}/Sample_Datasets/Supervised_Fine_Tuning/Tool-Calling/stock_toolcall"
ORCA = f"{FOUNDRY}/Sample_Datasets/Direct_Preference_Optimization/orca_dpo_pairs/validation.jsonl"
TOOLS = f"{FOUNDRY}/Demos/Agentic_RFT_PrivatePreview/RFT_ToolCall/data"
COUNTDOWN = f"{FOUNDRY}/Demos/RFT_Countdown/data/countdown"

SETS = [
    ("sft", "openai-cookbook/drone_training.jsonl", None, []),
    ("sft", "tau2-bench/sierra-sft/test_sft-v1-small.jsonl", None, []),
    ("sft", f"{STOCKS}_training.jsonl", f"{STOCKS}_validation.jsonl", []),
    ("dpo", ORCA, None, []),
    ("rft", f"{TOOLS}/train_tool.jsonl", f"{TOOLS}/valid_tool.jsonl", []),
    ("rft", f"{COUNTDOWN}_train_100.jsonl", f"{COUNTDOWN}_valid_50.jsonl", []),
    ("rft", f"{COUNTDOWN}_train_25.jsonl", f"{COUNTDOWN}_valid_15.jsonl", []),
    ("rft", f"{FOUNDRY}/Demos/ZavaRetailAgent/data/rft_train.jsonl", None, []),
    # Five rows, one without instructions, one in which nobody asks: true, all of it.
    ("sft", "openai-cookbook/toy_chat_fine_tuning.jsonl", None,
     [(3, "no_system"), (4, "no_user"), (None, "invalid_n_examples")]),
]  # fmt: skip


@pytest.mark.parametrize(("method", "name", "valid", "codes"), SETS, ids=[s[1] for s in SETS])
def test_nothing_untrue_is_said_of_the_training_files_of_others(method, name, valid, codes):
    beside = None if valid is None else real(*valid.split("/"))
    report = check(real(*name.split("/")), Method(method), valid=beside)
    assert [(f.line, f.code) for f in report.findings] == codes


def test_the_file_of_another_format_is_refused_in_every_line():
    report = check(real("llama-factory", "reason_tool_use_demo_50.jsonl"), Method.SFT)
    assert {f.line for f in report.findings if f.code == "bad_tools"} == set(range(1, 51))
