"""Each kind of fault, made by hand in the 7th line of a good file, is found there."""

import json
import re
from pathlib import Path

import pytest

from agentloop.base.records import SERVICES, Method, RowRules
from agentloop.harvest import check
from agentloop.harvest.checks import doubts, file, findings, reading, whole
from agentloop.harvest.checks.findings import Level
from tests.harvest.checks.makers import MAKERS, a_dpo, an_rft, an_sft, changed, without, write
from tests.makers import asks, real, says, user

LINE = 7


def said(row, *messages):
    """The row with other messages."""
    bodies = [m if isinstance(m, dict) else m.to_dict() for m in messages]
    return changed(row, "messages", to=bodies)


def raw(role, **fields):
    return {"role": role, **fields}


def deep(depth):
    return b'{"messages": ' + b"[" * depth + b"]" * depth + b"}"


IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
PICTURES = raw("user", content=[IMAGE] * 11)
CALL = asks().to_dict()

# What servers refuse: code, method, the line, and the code and a part of the words of a server.
REFUSED = [
    ("byte_order_mark", "sft", b"\xef\xbb\xbf{}", None, "line 1"),
    ("invalid_json", "sft", b"{half", "invalid_training_file",
     "Example 7 cannot be parsed. Error: line contains invalid json: "),
    ("invalid_json", "dpo", b'{"a": NaN}', "invalid_training_file", "Example 7 cannot be parsed."),
    ("invalid_json", "rft", deep(100_000), "invalid_training_file", "Example 7 cannot be parsed."),
    ("not_utf8", "sft", b'{"a": "\xff"}', "invalid_training_file", "Example 7 cannot be parsed."),
    ("not_an_object", "sft", [], "invalid_training_file", "Example 7: a row is a JSON object"),
    ("wrong_method", "dpo", an_sft(), "invalid_training_file",
     ("Input file x.jsonl is in the fine-tune-chat format, but the specified fine-tuning job is "
     "not using 'supervised' as the training method (provided method=dpo).")),
    ("wrong_method", "sft", a_dpo(), "invalid_training_file", "fine-tune-preference format"),
    ("wrong_method", "rft", a_dpo(), "invalid_training_file", "(provided method=reinforcement)."),
    ("extra_key", "sft", an_sft(weight=1), "invalid_file_format",
     ('The job failed due to a file format error in the training file. Invalid file format. '
     'Example 7 contains an extra "weight"')),
    ("extra_key", "dpo", a_dpo(margin=1), "invalid_file_format", 'contains an extra "margin"'),
    ("missing_key", "sft", {"tools": []}, "invalid_file_format",
     "Invalid file format. Example 7 is missing key 'messages'"),
    ("missing_key", "dpo", {"preferred_output": []}, "invalid_file_format",
     "Example 7 is missing key 'input'"),
    ("missing_key", "rft", {"reference": "x"}, "invalid_file_format", "is missing key 'messages'"),
    ("mixed_keys", "sft", without(an_sft(), "tools"), "invalid_file_format",
     "Example 7 is missing key 'tools'"),
    ("mixed_keys", "sft", an_sft(parallel_tool_calls=True), "invalid_file_format",
     'Example 7 contains an extra "parallel_tool_calls"'),
    ("mixed_keys", "dpo", changed(a_dpo(), "input", "tools", to=[]), "invalid_file_format",
     'Example 7 contains an extra "tools"'),
    ("bad_messages", "sft", {"messages": [], "tools": []}, "invalid_training_file", "Example 7"),
    ("bad_message", "sft", said(an_sft(), says()) | {"messages": ["x"]}, "invalid_training_file",
     "Example 7"),
    ("bad_role", "sft", said(an_sft(), user(), {"content": "x"}), "invalid_training_file",
     "Invalid file format. Example 7, message 2 Discriminator 'role' is missing in value"),
    ("bad_role", "sft", said(an_sft(), raw("robot", content="x")), "invalid_training_file",
     "Example 7"),
    ("bad_role", "rft", said(an_rft(), raw("system", content="x"), user()),
     "invalid_training_file", "Example 7"),
    ("missing_content", "sft", said(an_sft(), user(), raw("assistant")), "invalid_training_file",
     "Example 7"),
    ("bad_content", "sft", said(an_sft(), raw("user", content=7), says()),
     "invalid_training_file", "Example 7"),
    ("bad_weight", "sft", said(an_sft(), user(), raw("assistant", content="x", weight=0.5)),
     "invalid_training_file", "Example 7"),
    ("bad_name", "sft", said(an_sft(), raw("user", content="x", name=7), says()),
     "invalid_training_file", "Example 7"),
    ("missing_tool_call_id", "sft", said(an_sft(), user(), CALL, raw("tool", content="x"), says()),
     "invalid_training_file", "Example 7"),
    ("tool_without_call", "sft",
     said(an_sft(), user(), raw("tool", content="x", tool_call_id="c1"), says()),
     "invalid_training_file",
     "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'."),
    ("unanswered_tool_call", "sft", said(an_sft(), user(), CALL, says()), "invalid_training_file",
     ("An assistant message with 'tool_calls' must be followed by tool messages responding to each "
     "'tool_call_id'.")),
    ("unanswered_tool_call", "dpo", changed(a_dpo(), "input", "messages", to=[
        user().to_dict(), CALL]), "invalid_training_file", "Example 7"),
    ("bad_tool_calls", "sft", said(an_sft(), user(), raw("assistant", tool_calls=[{}])),
     "invalid_training_file", "Example 7"),
    ("bad_arguments", "sft", said(an_sft(), user(), asks(arguments="{")),
     "invalid_training_file", "Example 7"),
    ("bad_tools", "sft", an_sft(tools=[{"type": "function"}]), "invalid_training_file",
     "Example 7"),
    ("ends_without_assistant", "sft", said(an_sft(), user(), says(), user()),
     "invalid_training_file", "Example 7"),
    ("nothing_to_learn", "sft", said(an_sft(), user(), raw("assistant", content="x", weight=0)),
     "invalid_training_file", "Example 7"),
    ("ends_without_user", "rft", said(an_rft(), user(), says()), "invalid_training_file",
     "Example 7"),
    ("bad_input", "dpo", a_dpo(input="x"), "invalid_training_file", "Example 7"),
    ("bad_output", "dpo", a_dpo(preferred_output=[]), "invalid_training_file", "Example 7"),
    ("equal_outputs", "dpo", a_dpo(non_preferred_output=a_dpo()["preferred_output"]),
     "invalid_training_file", "Example 7"),
]  # fmt: skip

SAYS_NOTHING = [raw("assistant", content=" ")]

# What servers let pass and should not.
LET_PASS = [
    ("consecutive_assistants", "sft", said(an_sft(), user(), says("a"), says("b"))),
    ("consecutive_assistants", "dpo", changed(a_dpo(), "input", "messages", to=[
        m.to_dict() for m in (user(), says("a"), says("b"), user())])),
    ("consecutive_assistants", "rft", said(an_rft(), user(), says("a"), says("b"), user())),
    ("no_system", "sft", said(an_sft(), user(), says("x"))),
    ("no_user", "sft", said(an_sft(), raw("system", content="x"), says())),
    ("empty_output", "sft", said(an_sft(), user(), *SAYS_NOTHING)),
    ("empty_output", "dpo", a_dpo(preferred_output=SAYS_NOTHING)),
    ("empty_output", "dpo", a_dpo(non_preferred_output=[raw("assistant", content="")])),
    ("unknown_tool", "sft", an_sft(tools=[])),
    ("unknown_tool", "dpo", a_dpo(preferred_output=[CALL])),
    ("tool_calls_in_pair", "dpo", a_dpo(preferred_output=[CALL])),
    ("row_too_long", "sft", said(an_sft(), user("x " * 140_000), says())),
    ("duplicate", "sft", an_sft(3)),
    ("duplicate", "dpo", dict(reversed(a_dpo(3).items()))),
    ("duplicate", "rft", an_rft(3)),
    ("opposite_pair", "dpo", a_dpo(3, preferred_output=a_dpo(3)["non_preferred_output"],
                                   non_preferred_output=a_dpo(3)["preferred_output"])),
    ("mixed_keys", "rft", an_rft(10, level=3)),
]  # fmt: skip

# What single services refuse that others take: code, service, method, the line.
PROVIDERS = [
    ("consecutive_assistants", "foundry", "sft", said(an_sft(), user(), says("a"), says("b"))),
    ("consecutive_assistants", "together", "sft", said(an_sft(), user(), says("a"), says("b"))),
    ("tool_calls_in_pair", "openai", "dpo", a_dpo(preferred_output=[CALL])),
    ("tool_turns_in_pair", "fireworks", "dpo", changed(a_dpo(), "input", "messages", to=[
        user().to_dict(), CALL, raw("tool", content="x", tool_call_id="c1"), user().to_dict()])),
    ("key_not_taken", "together", "sft", an_sft(parallel_tool_calls=True)),
    ("too_many_images", "openai", "sft", said(an_sft(), PICTURES, says())),
    ("too_many_images", "foundry", "rft", said(an_rft(), raw("user", content=[IMAGE]))),
    ("missing_key", "bedrock", "rft", an_rft(7)),
]  # fmt: skip


def a_file(path, method, line, *, at=LINE, rows=12):
    """A good file, with `line` in one place."""
    return write(path, [line if n == at else MAKERS[method](100 + n) for n in range(1, rows + 1)])


@pytest.fixture
def found(tmp_path):
    """What a check finds in a good file with one other line: `(level, line) -> findings`."""

    def checked(method, line, *, at=LINE, **options):
        path = tmp_path / "x.jsonl"
        if line is not None and not isinstance(line, bytes) and line == MAKERS[method](3):
            rows = [line, *[MAKERS[method](100 + n) for n in range(5)], line]
            write(path, [*rows, *[MAKERS[method](200 + n) for n in range(5)]])
        else:
            a_file(path, method, line, at=at)
        return check(path, Method(method), **options)

    return checked


@pytest.mark.parametrize("method", Method)
def test_nothing_is_said_of_a_good_file(tmp_path, method):
    path = a_file(tmp_path / "x.jsonl", method, MAKERS[method](1))
    assert check(path, method) == ((12, (), {}, 0, 0 if method is Method.RFT else 12, 0))
    assert check(path, method).fit


@pytest.mark.parametrize(("code", "method", "line", "theirs", "words"), REFUSED)
def test_what_a_server_refuses_is_an_error_in_its_line_with_its_code_and_words(
    found, code, method, line, theirs, words
):
    at = 1 if code == "byte_order_mark" else LINE
    report = found(method, line, at=at)
    assert not report.fit
    finding = next(f for f in report.findings if f.code == code)
    assert (finding.level, finding.line) == (Level.ERROR, at)
    assert {f.code for f in report.findings if f.level is Level.ERROR} == {code}
    if theirs is None:
        assert (
            "every line is a JSON dictionary. Line 1 is not a dictionary (HINT: line starts w"
            in (finding.provider.message)
        )
    else:
        assert finding.provider.code == theirs
        assert words in finding.provider.message


@pytest.mark.parametrize(("code", "method", "line"), LET_PASS)
def test_what_servers_let_pass_is_a_warning_in_its_line(tmp_path, code, method, line):
    rows = [MAKERS[method](100 + n) for n in range(12)]
    rows[2], rows[LINE - 1] = MAKERS[method](3), line
    report = check(write(tmp_path / "x.jsonl", rows), Method(method))
    assert report.fit
    finding = next(f for f in report.findings if f.code == code)
    assert (finding.level, finding.line, finding.provider) == (Level.WARNING, LINE, None)


@pytest.mark.parametrize(("code", "service", "method", "line"), PROVIDERS)
def test_what_one_service_refuses_is_an_error_there_and_none_elsewhere(
    found, code, service, method, line
):
    report = found(method, line, rules=SERVICES[service])
    assert next((f.level, f.line) for f in report.findings if f.code == code) == (
        Level.ERROR,
        1 if code == "missing_key" else LINE,
    )
    elsewhere = found(method, line)
    assert code not in {f.code for f in elsewhere.findings if f.level is Level.ERROR}


def test_every_code_has_a_test():
    """Those of rows are those of `faults`, which `tests/base/records/test_fault.py` counts."""
    here = {code for code, *_ in (*REFUSED, *LET_PASS, *PROVIDERS)} | {
        *("leak", "personal_data", "same_output", "refusal_share", "line_too_long"),
        *("invalid_n_examples", "too_many_rows", "file_too_large", "method_not_offered"),
    }
    written = set()
    for module in (doubts, file, findings, reading, whole):
        written |= set(re.findall(r'Fault\(\s*"(\w+)"', Path(module.__file__).read_text()))
    assert written <= here
    faults = (Path(file.__file__).parents[2] / "base/records").glob("*.py")
    for path in faults:
        assert set(re.findall(r'Fault\(\s*"(\w+)"', path.read_text())) <= here, path


# ---------------------------------------------------------------------- the file as a whole


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
    assert "(email)" in report.findings[0].message


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
