"""What every record shares."""

from datetime import datetime, timedelta, timezone
from math import nan

import pydantic
import pytest
from hypothesis import given

from agentloop.base import records
from agentloop.base.errors import RecordError
from agentloop.base.records import Interval, Opinion, Record, Span, Trace, Usage
from agentloop.base.records.record import of_json
from tests.base.texts import json_values, texts
from tests.makers import (
    START,
    a_call,
    a_job,
    a_row,
    a_span,
    a_trace,
    a_trial,
    a_version,
    an_opinion,
    an_outcome,
    asks,
    at,
    returns,
    says,
    system,
    user,
)

SOME = [
    a_call(system(), user(), asks()),
    a_job(),
    a_row(),
    a_span(data={"input": None}),
    a_trace(system(), user(), asks(), returns(), says(), user("bye"), metadata={"k": None}),
    a_trial(),
    a_version(),
    an_opinion(correction=says()),
    an_outcome(reference={"a": [None]}),
]
one_of_each = pytest.mark.parametrize("record", SOME, ids=lambda r: type(r).__name__)


@one_of_each
def test_a_record_is_frozen(record):
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        record.id = "other"


@one_of_each
def test_a_record_is_closed_to_unknown_fields(record):
    with pytest.raises(RecordError, match="colour"):
        type(record).of({**record.model_dump(), "colour": "red"})


@one_of_each
def test_a_line_reads_back_equal_and_is_one_line(record):
    line = record.to_line()
    assert "\n" not in line
    assert type(record).from_line(line) == record
    assert type(record).from_line(line.encode()) == record
    assert type(record).from_line(line).to_line() == line


def test_every_public_record_says_what_it_is():
    for name in records.__all__:
        thing = getattr(records, name)
        if isinstance(thing, type) and issubclass(thing, Record):
            assert thing.__doc__, name


def test_naive_datetimes_are_refused():
    with pytest.raises(RecordError, match=r"started_at: .*timezone"):
        Trace.of({"id": "t", "agent": "a", "started_at": datetime(2026, 1, 1)})  # noqa: DTZ001


def test_any_offset_is_brought_to_utc():
    east = START.astimezone(timezone(timedelta(hours=9)))
    assert a_trace(started_at=east).started_at.isoformat() == START.isoformat()


@given(texts, json_values)
def test_any_text_and_any_json_reads_back_equal(text, value):
    span = a_span(name=text, data={"v": value, text: text}, error={"message": text})
    assert Span.from_line(span.to_line()) == span


def test_what_has_no_json_form_stands_as_its_text():
    odd = {"zone": at(0).tzinfo, "at": at(0), "set": {2}, "pair": Interval(0.0, 1.0), "nan": nan}
    read = {"zone": "UTC", "at": "2026-11-23T12:00:00+00:00", "set": [2], "pair": [0.0, 1.0]}
    assert Span.from_line(a_span(data=odd).to_line()).data == read | {"nan": None}
    line = a_span(data=odd | {"inner": {1: "\ud800"}}).to_line()
    assert Span.from_line(line).data == read | {"nan": None, "inner": {"1": "\ud800"}}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "no JSON"),
        ("nope", "no JSON"),
        ('{"id": "o", "trace_id', "no JSON"),
        ("[" * 100_000, "no JSON"),
        (b"\xff\xfe{", "no JSON"),
        ("[]", "Opinion"),
        ('{"id": 7}', "id: "),
        ('{"id": "\\ud800"}', "trace_id: Field required"),
    ],
)
def test_a_line_that_is_no_record_says_why(line, why):
    with pytest.raises(RecordError, match=why):
        Opinion.from_line(line)


def test_usage_adds_up():
    calls = [a_call(usage=Usage(input_tokens=3, output_tokens=n)) for n in (1, 2)]
    assert a_trace(calls=calls).usage == Usage(input_tokens=6, output_tokens=3)
    assert a_trace(calls=calls).usage.total_tokens == 9


@pytest.mark.parametrize("text", ['["\ud800"]', '["\\ud800"]'])
def test_half_a_character_is_read_escaped_or_not(text):
    assert of_json(text) == ["\ud800"]
