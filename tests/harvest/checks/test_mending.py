"""`--fix`: what is safe to change is changed, what is not is kept apart, and nothing is lost."""

import base64
import json

import pytest
from hypothesis import given, settings

from agentloop.base.errors import RecordError, StoreError
from agentloop.base.records import SERVICES, Method, faults
from agentloop.harvest import check, mend
from agentloop.harvest.checks import reading
from agentloop.harvest.checks.findings import Level
from tests.base.records.test_fault import damaged
from tests.harvest.checks.makers import (
    MAKERS,
    a_dpo,
    a_kto,
    an_rft,
    an_sft,
    changed,
    read,
    said,
    without,
    write,
)
from tests.makers import asks, real, returns, says, user

LINE = 7


@pytest.fixture
def mended(tmp_path):
    """What becomes of a good file with one other line."""

    def made(method, line, **options):
        rows = [line if n == LINE else MAKERS[method](100 + n) for n in range(1, 13)]
        path = write(tmp_path / "x.jsonl", rows)
        return mend(path, Method(method), to=tmp_path / "fixed.jsonl", **options)

    return made


def arguments(value):
    return changed(an_sft(), "messages", 2, "tool_calls", 0, "function", "arguments", to=value)


PAIR = a_dpo()
OLD_PAIR = {
    "input": PAIR["input"],
    "preferred_completion": PAIR["preferred_output"],
    "non_preferred_completion": PAIR["non_preferred_output"],
}


def called(arguments):
    """A call of a tool as TRL has it, or with its arguments as a text."""
    return changed(asks().to_dict(), "tool_calls", 0, "function", "arguments", to=arguments)


HI = {"role": "user", "content": "thanks"}

# method, the code that is mended, the line, what it becomes
SAFE = [
    ("sft", "extra_key", an_sft(trace_id="t", weight=1), an_sft()),
    ("dpo", "extra_key", a_dpo(margin=0.5), PAIR),
    ("dpo", "extra_key", OLD_PAIR, PAIR),
    ("dpo", "bad_output", a_dpo(preferred_output=PAIR["preferred_output"][0]), PAIR),
    ("sft", "bad_arguments", arguments({"id": 1}), an_sft()),
    ("sft", "bad_arguments", arguments(""), arguments("{}")),
    ("sft", "bad_tool_calls", without(an_sft(), "messages", 2, "tool_calls", 0, "type"), an_sft()),
    ("sft", "bad_tool_calls", changed(an_sft(), "messages", 4, "tool_calls", to=None), an_sft()),
    ("sft", "bad_tool_calls", changed(an_sft(), "messages", 4, "tool_calls", to=[]), an_sft()),
    ("sft", "bad_tools", an_sft(tools=json.dumps(an_sft()["tools"])), an_sft()),
    ("sft", "bad_tools", without(an_sft(), "tools", 0, "type"), an_sft()),
    ("sft", "bad_tools", an_sft(parallel_tool_calls=None), an_sft()),
    ("sft", "bad_name", changed(an_sft(), "messages", 1, "name", to=None), an_sft()),
    ("sft", "bad_weight", changed(an_sft(), "messages", 4, "weight", to=True),
     changed(an_sft(), "messages", 4, "weight", to=1)),
    ("sft", "bad_weight", changed(an_sft(), "messages", 1, "weight", to=0), an_sft()),
    ("sft", "bad_weight", changed(an_sft(), "messages", 4, "weight", to=None), an_sft()),
    ("sft", "bad_role", changed(an_sft(), "messages", 0, "role", to="developer"), an_sft()),
    ("kto", "extra_key", a_kto(margin=0.5), a_kto()),
    ("kto", "bad_output", a_kto(completion=a_kto()["completion"][0]), a_kto()),
    ("kto", "bad_arguments", a_kto(completion=[called('{"id": 1}')]),
     a_kto(completion=[called({"id": 1})])),
    ("kto", "bad_role", changed(a_kto(), "prompt", 0, "role", to="developer"), a_kto()),
    ("rft", "bad_role", changed(an_rft(), "messages", 0, "role", to="system"), an_rft()),
    ("sft", "ends_without_assistant", said(an_sft(), *an_sft()["messages"], HI, HI), an_sft()),
    ("sft", "ends_without_assistant", said(an_sft(), *an_sft()["messages"][:4]),
     said(an_sft(), *an_sft()["messages"][:3])),
    ("rft", "ends_without_user", said(an_rft(), *an_rft()["messages"], says()), an_rft()),
    ("sft", "mixed_keys", said(without(an_sft(), "tools"), user(), says()),
     said(an_sft(tools=[]), user(), says())),
    ("dpo", "mixed_keys", changed(PAIR, "input", "parallel_tool_calls", to=True),
     changed(PAIR, "input", "parallel_tool_calls", to=True)),
]  # fmt: skip

# What would be a guess: code, method, the line.
APART = [
    ("invalid_json", "sft", b"{half"),
    ("not_an_object", "sft", 7),
    ("wrong_method", "sft", a_dpo()),
    ("missing_key", "sft", {"tools": []}),
    ("extra_key", "sft", an_sft(response_format={"type": "json_object"})),
    ("extra_key", "dpo", changed(PAIR, "input", "functions", to=[{"name": "f"}])),
    ("bad_weight", "sft", changed(an_sft(), "messages", 4, "weight", to=0.5)),
    ("bad_arguments", "sft", arguments("{")),
    ("bad_role", "sft", changed(an_sft(), "messages", 1, "role", to="robot")),
    ("missing_content", "sft", changed(an_sft(), "messages", 1, "content", to=None)),
    ("unanswered_tool_call", "sft", said(an_sft(), user(), asks(), says())),
    ("tool_without_call", "sft", without(an_sft(), "messages", 2)),
    ("nothing_to_learn", "sft", changed(an_sft(), "messages", 4, "weight", to=0)
     | {"messages": [user().to_dict(), {"role": "assistant", "content": "x", "weight": 0}]}),
    ("equal_outputs", "dpo", a_dpo(non_preferred_output=PAIR["preferred_output"])),
    ("ends_without_user", "rft", said(an_rft(), user(), asks(), returns())),
    ("duplicate", "sft", an_sft(101)),
]  # fmt: skip


@pytest.mark.parametrize(("method", "code", "line", "becomes"), SAFE)
def test_what_is_safe_to_change_is_changed_and_logged(mended, method, code, line, becomes):
    done = mended(method, line)
    assert (done.kept, done.apart) == (12, 0)
    assert read(done.places.fixed)[LINE - 1] == becomes
    assert done.report.fit
    assert done.did.keys() == {code}
    log = read(done.places.changes)
    assert len(log) == sum(done.did.values())
    for change in log:
        assert change["code"] == code
        assert change["did"]
    if code != "mixed_keys" or method == "sft":
        assert {(change["line"], change["now"]) for change in log} == {(LINE, LINE)}
        assert done.changed == 1


@pytest.mark.parametrize(("code", "method", "line"), APART)
def test_what_would_be_a_guess_is_kept_apart_with_the_reasons(mended, code, method, line):
    done = mended(method, line)
    assert (done.kept, done.changed, done.apart) == (11, 0, 1)
    assert done.did == {code: 1}
    (apart,) = read(done.places.apart)
    assert apart["line"] == LINE
    assert [reason["code"] for reason in apart["reasons"]] == [code]
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    assert apart["text"].encode() == text
    assert done.report.fit


def test_a_line_that_is_no_text_is_kept_as_it_was(mended):
    done = mended("sft", b'{"a": "\xff"}')
    (apart,) = read(done.places.apart)
    assert base64.b64decode(apart["base64"]) == b'{"a": "\xff"}'


def test_rows_that_need_nothing_stay_byte_for_byte(tmp_path):
    odd = b'{ "messages":[{"role":"user","content":"\\u00e9"},{"content":"b","role":"assistant"}] }'
    rows = [odd, *[said({}, user(f"{n}"), says(f"{n}")) for n in range(10)]]
    path = write(tmp_path / "x.jsonl", rows)
    done = mend(path, Method.SFT, to=tmp_path / "y.jsonl")
    assert done.places.fixed.read_bytes() == path.read_bytes()
    assert done.places.changes.read_bytes() == done.places.apart.read_bytes() == b""


def test_a_byte_order_mark_and_empty_lines_go_and_the_row_stays(tmp_path):
    path = write(tmp_path / "x.jsonl", [an_sft(n) for n in range(12)])
    clean = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + clean.replace(b"\n", b"\r\n\r\n"))
    done = mend(path, Method.SFT, to=tmp_path / "y.jsonl")
    assert done.places.fixed.read_bytes() == clean
    assert done.did == {"byte_order_mark": 1}


def test_what_was_taken_out_is_in_the_log(mended):
    done = mended("sft", an_sft(trace_id="t-9"))
    assert read(done.places.changes) == [
        {
            "line": LINE,
            "now": LINE,
            "code": "extra_key",
            "did": "left out the key 'trace_id'",
            "was": "t-9",
        }
    ]


def test_lines_of_the_new_file_are_told_beside_those_of_the_old(tmp_path):
    rows = [b"{half", *[an_sft(n) for n in range(10)], an_sft(50, x=1)]
    done = mend(write(tmp_path / "x.jsonl", rows), Method.SFT, to=tmp_path / "y.jsonl")
    assert [(c["line"], c["now"]) for c in read(done.places.changes)] == [(12, 11)]


def test_rows_that_the_validation_file_asks_too_go_apart_and_it_stays(tmp_path):
    path = write(tmp_path / "x.jsonl", [an_sft(n) for n in range(12)])
    valid = write(tmp_path / "v.jsonl", [an_sft(6), b"{half"])
    before = valid.read_bytes()
    done = mend(path, Method.SFT, to=tmp_path / "y.jsonl", valid=valid)
    assert (done.kept, done.apart) == (11, 1)
    assert read(done.places.apart)[0]["reasons"][0]["code"] == "leak"
    assert valid.read_bytes() == before
    assert not any(f.code == "leak" for f in done.report.findings)


def test_a_service_that_takes_no_such_key_gets_none(tmp_path):
    rows = [an_sft(n, parallel_tool_calls=False) for n in range(12)]
    path = write(tmp_path / "x.jsonl", rows)
    rules = SERVICES["together"]
    assert not check(path, Method.SFT, rules=rules).fit
    done = mend(path, Method.SFT, to=tmp_path / "y.jsonl", rules=rules)
    assert done.report.fit
    assert read(done.places.fixed) == [an_sft(n) for n in range(12)]
    assert all(change["was"] is False for change in read(done.places.changes))


def test_mending_twice_changes_nothing_more(tmp_path):
    lines = [line for method, _, line, _ in SAFE if method == "sft"]
    apart = [line for _, method, line in APART if method == "sft"]
    path = write(tmp_path / "x.jsonl", [*lines, *apart, *[an_sft(n) for n in range(20, 32)]])
    once = mend(path, Method.SFT, to=tmp_path / "a.jsonl")
    assert once.report.fit
    assert once.kept + once.apart == len(lines) + len(apart) + 12
    twice = mend(once.places.fixed, Method.SFT, to=tmp_path / "b.jsonl")
    assert twice.places.fixed.read_bytes() == once.places.fixed.read_bytes()
    assert (twice.changed, twice.apart) == (0, 0)


@pytest.mark.parametrize("name", ["x.jsonl", "there.jsonl"])
def test_no_file_is_written_over_unasked(tmp_path, name):
    path = write(tmp_path / "x.jsonl", [an_sft(n, x=1) for n in range(12)])
    write(tmp_path / "there.jsonl", [b"mine"])
    before = (tmp_path / name).read_bytes()
    with pytest.raises(RecordError, match="--overwrite"):
        mend(path, Method.SFT, to=tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    done = mend(path, Method.SFT, to=tmp_path / name, overwrite=True)
    assert read(tmp_path / name) == [an_sft(n) for n in range(12)]
    assert done.report.fit


def test_the_validation_file_is_never_written_over(tmp_path):
    path = write(tmp_path / "x.jsonl", [an_sft(n) for n in range(12)])
    valid = write(tmp_path / "v.jsonl", [an_sft(50)])
    with pytest.raises(RecordError, match="is the validation file"):
        mend(path, Method.SFT, to=valid, valid=valid, overwrite=True)


def test_where_nothing_can_be_written_nothing_is_left(tmp_path):
    path = write(tmp_path / "x.jsonl", [an_sft(n) for n in range(12)])
    with pytest.raises(StoreError, match="cannot write"):
        mend(path, Method.SFT, to=tmp_path / "nowhere" / "y.jsonl")
    with pytest.raises(RecordError, match="cannot read"):
        mend(tmp_path / "no.jsonl", Method.SFT, to=tmp_path / "y.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_line_that_is_too_long_to_keep_apart_stops_it(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST", 5_000)
    rows = [changed(an_sft(), "messages", 1, "content", to="x" * 50_000), an_sft(1)]
    path = write(tmp_path / "x.jsonl", rows)
    with pytest.raises(RecordError, match=r"line 1: .* take it out by hand"):
        mend(path, Method.SFT, to=tmp_path / "y.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_file_of_others_that_needs_nothing_is_copied(tmp_path):
    path = real("tau2-bench", "sierra-sft", "test_sft-v1-small.jsonl")
    done = mend(path, Method.SFT, to=tmp_path / "y.jsonl")
    assert (done.kept, done.changed, done.apart) == (24, 0, 0)
    assert done.places.fixed.read_bytes().rstrip() == path.read_bytes().rstrip()


@settings(max_examples=200, deadline=None)
@given(damaged())
def test_whatever_a_row_is_it_is_checked_mended_and_not_lost(tmp_path_factory, example):
    method, body = example
    folder = tmp_path_factory.mktemp("rows")
    path = write(folder / "x.jsonl", [MAKERS[method.value](1), body])
    wrong = [f for f in check(path, method).findings if f.line == 2 and f.level is Level.ERROR]
    assert {f.code for f in wrong} - {"wrong_method", "mixed_keys"} <= {
        fault.code for fault in faults(body, method)
    }
    done = mend(path, method, to=folder / "y.jsonl")
    assert done.kept + done.apart == 2
    for row in read(done.places.fixed):
        assert faults(row, method) == []
