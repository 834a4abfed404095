"""Each kind of fault, made by hand in the 7th line of a good file, is found there."""

import re
from pathlib import Path

import pytest

from agentloop.base.records import SERVICES, Method
from agentloop.harvest import check
from agentloop.harvest.checks import doubts, file, findings, personal, reading, whole
from agentloop.harvest.checks.findings import Level
from tests.harvest.checks.makers import (
    MAKERS,
    a_dpo,
    a_kto,
    an_rft,
    an_sft,
    changed,
    said,
    without,
    write,
)
from tests.makers import asks, says, user

LINE = 7


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
    learned = {Method.RFT: 0, Method.KTO: 6}  # a bad answer is not learned
    assert check(path, method) == ((12, (), {}, 0, learned.get(method, 12), 0))
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


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("bad_label", a_kto(7, label="up")),
        ("missing_key", without(a_kto(7), "label")),
        ("bad_arguments", a_kto(7, completion=[CALL])),
        ("invalid_json", b"{half"),
    ],
)
def test_of_what_is_wrong_with_rows_for_kto_no_service_says_a_word(found, code, line):
    report = found("kto", line)
    assert not report.fit
    (finding,) = (f for f in report.findings if f.level is Level.ERROR)
    assert (finding.code, finding.line, finding.provider) == (code, LINE, None)


def test_rows_for_kto_may_be_few_and_differ_in_what_they_offer(tmp_path):
    path = write(tmp_path / "x.jsonl", [a_kto(1), a_kto(2, tools=[])])
    report = check(path, Method.KTO)
    assert report.fit
    assert [f.code for f in report.findings] == ["mixed_keys"]


def test_no_service_offers_kto(tmp_path):
    path = write(tmp_path / "x.jsonl", [a_kto(n) for n in range(12)])
    report = check(path, Method.KTO, rules=SERVICES["local"])
    assert [f.code for f in report.findings] == ["method_not_offered"]


def test_a_leak_is_found_in_a_row_that_a_service_refuses_as_well(tmp_path):
    rows = [an_sft(n, parallel_tool_calls=True) for n in range(12)]
    path, valid = write(tmp_path / "x.jsonl", rows), write(tmp_path / "v.jsonl", rows[6:7])
    report = check(path, Method.SFT, rules=SERVICES["together"], valid=valid)
    assert [f.line for f in report.findings if f.code == "leak"] == [7]


def test_every_code_has_a_test():
    """Those of rows are those of `faults`, which `tests/base/records/test_fault.py` counts."""
    here = {code for code, *_ in (*REFUSED, *LET_PASS, *PROVIDERS)} | {
        *("leak", "personal_data", "same_output", "refusal_share", "line_too_long"),
        "bad_label",
        *("invalid_n_examples", "too_many_rows", "file_too_large", "method_not_offered"),
    }
    written = set()
    for module in (doubts, file, findings, personal, reading, whole):
        written |= set(re.findall(r'Fault\(\s*"(\w+)"', Path(module.__file__).read_text()))
    assert written <= here
    faults = (Path(file.__file__).parents[2] / "base/records").glob("*.py")
    for path in faults:
        assert set(re.findall(r'Fault\(\s*"(\w+)"', path.read_text())) <= here, path
