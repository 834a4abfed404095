"""Personal data in a training file: which kinds, in which row, where; never what it is."""

import json
import tracemalloc

import pytest

from agentloop.base.records import Method
from agentloop.harvest import Redactor, check, kinds, mend
from agentloop.harvest.checks.personal import LONGEST_REMEMBERED, Look
from agentloop.harvest.rows import _body
from tests.harvest.checks.makers import (
    MAKERS,
    a_dpo,
    a_kto,
    an_rft,
    an_sft,
    changed,
    read,
    said,
    write,
)
from tests.harvest.redaction.makers import an_example
from tests.makers import TOOL, asks, returns, says, system, user

CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "find", "arguments": {"phone": "4155550132"}},
}


def told(row, method="sft"):
    """What is said of a row's personal data; None: it has none."""
    found = Look(kinds).fault(row, Method(method))
    return found and found.message.removeprefix("the row holds personal data: ").split(";")[0]


@pytest.mark.parametrize(
    ("row", "method", "where"),
    [
        (
            said(an_sft(), user("I am ann@work.org"), says("Hello.")),
            "sft",
            "email in messages[0].content",
        ),
        (
            said(an_sft(), user("hi"), asks(arguments='{"to": "ann\\u0040work.org"}'), says("x")),
            "sft",
            "email in messages[1].tool_calls[0].function.arguments",
        ),
        (
            said(an_sft(), user("hi"), asks(), returns('{"phone": "4155550132"}'), says("x")),
            "sft",
            "phone in messages[2].content",
        ),
        (
            said(
                an_sft(),
                {"role": "user", "content": [{"type": "text", "text": "card 4111111111111111"}]},
                says("x"),
            ),
            "sft",
            "card in messages[0].content[0].text",
        ),
        (
            an_sft(tools=[changed(TOOL, "function", "description", to="Ask help@shop.com")]),
            "sft",
            "email in tools",
        ),
        (
            a_dpo(preferred_output=[says("Write to ann@work.org").to_dict()]),
            "dpo",
            "email in preferred_output[0].content",
        ),
        (
            changed(a_dpo(), "input", "messages", 1, to=user("I am ann@work.org").to_dict()),
            "dpo",
            "email in input.messages[1].content",
        ),
        (
            a_kto(completion=[{**says("").to_dict(), "tool_calls": [CALL]}]),
            "kto",
            "phone in completion[0].tool_calls[0].function.arguments.phone",
        ),
        (an_rft(customer={"phone": "4155550132"}), "rft", "phone in customer.phone"),
        (an_rft(customer={"phone": 4155550132}), "rft", "phone in customer.phone"),
        (an_rft(phone="4155550132"), "rft", "phone in phone"),
        (an_rft(seen=[1, ["from 58.74.121.78"]]), "rft", "ip in seen[1][0]"),
    ],
)
def test_the_kind_and_the_place_are_told(row, method, where):
    assert told(row, method) == where


@pytest.mark.parametrize("method", MAKERS)
def test_of_a_row_without_any_nothing_is_said(method):
    assert told(MAKERS[method](), method) is None


def test_ids_of_tool_calls_and_names_of_the_protocol_are_no_texts():
    row = said(
        an_sft(), user("hi"), asks(id="4155550132"), returns("x", id="4155550132"), says("x")
    )
    assert told(row) is None


def test_each_kind_is_told_once_with_its_first_place_and_how_many_more_there_are():
    row = said(
        an_sft(),
        user("I am ann@work.org, call +44 20 7183 8750"),
        says("ann@work.org?"),
        user("No, bo@work.org"),
        says("Fine."),
    )
    assert told(row) == (
        "email in messages[0].content and 2 other places, phone in messages[0].content"
    )


def test_the_value_is_never_told_not_even_as_a_key(tmp_path):
    row = an_rft(note="I am ann@work.org", people={"bo@work.org": {"phone": "4155550132"}})
    assert told(row, "rft") == "email in note and 1 other place, phone in people.….phone"
    path = write(tmp_path / "x.jsonl", [an_rft(n) for n in range(11)] + [row])
    report = check(path, Method.RFT, personal=kinds)
    (found,) = [f for f in report.findings if f.code == "personal_data"]
    assert (found.line, found.level) == (12, "warning")
    assert not any(value in json.dumps(found.wire) for value in ("ann@", "bo@", "4155550132"))


def test_rows_that_were_harvested_with_redaction_hold_none():
    """It looks where redaction looks, so it never asks for what redaction has done."""
    dirty = an_example(
        system("You are the agent of help@shop.com"),
        user("I am ann@work.org, my card is 4111 1111 1111 1111"),
        asks(arguments='{"phone": "4155550132", "to": "ann\\u0040work.org"}'),
        returns('{"contact": "0171 2345678", "ip": "58.74.121.78", "ssn": "531-21-7351"}'),
        says("I wrote to ann@work.org, and to DE89370400440532013000."),
        tools=(changed(TOOL, "function", "description", to="Ask help@shop.com"),),
    )
    assert told(_body(dirty)[0]) is not None
    (clean,), _ = Redactor().all([dirty])
    assert told(_body(clean)[0]) is None


def test_what_many_rows_hold_is_looked_at_once():
    seen = []

    def none(text):
        seen.append(text)
        return ()

    look = Look(none)
    for n in range(3):
        look.fault(an_sft(n), Method.SFT)
    assert seen.count(system().content) == 1
    assert seen.count(json.dumps([TOOL], ensure_ascii=False)) == 1
    assert [f"where is {n}?" for n in range(3)] == [t for t in seen if t.startswith("where")]


def test_long_instructions_are_not_held_in_memory():
    look = Look(lambda text: ())
    rules = "x" * (LONGEST_REMEMBERED + 1)
    tracemalloc.start()
    try:
        for n in range(100):
            row = changed(an_sft(n), "messages", 0, "content", to=f"{n}{rules}")
            look.fault(row, Method.SFT)
        assert tracemalloc.get_traced_memory()[0] < 20 * len(rules)
    finally:
        tracemalloc.stop()


def test_mending_tells_it_and_leaves_it(tmp_path):
    rows = [an_sft(n) for n in range(11)]
    rows.append(said(an_sft(), system(), user("I am ann@work.org"), says("Hello.")))
    path = write(tmp_path / "x.jsonl", [*rows, b"{half"])
    mended = mend(path, Method.SFT, to=tmp_path / "y.jsonl", personal=kinds)
    assert read(mended.places.fixed) == rows
    assert [(f.line, f.code) for f in mended.report.findings] == [(12, "personal_data")]
