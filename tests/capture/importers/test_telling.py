"""`--format auto`, files of any size, and strings of any kind."""

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentloop.base.errors import RecordError
from agentloop.base.store import Store
from agentloop.capture.importers import FORMATS, Imported, export_file, import_file, reading
from agentloop.capture.importers.telling import SIGNS, told
from tests.base.texts import naughty, texts
from tests.capture.importers.test_atif import step, trajectory
from tests.capture.importers.test_otlp import console, request
from tests.capture.importers.test_otlp import otlp as otlp_span
from tests.makers import real


def talk(text, arguments):
    """A conversation in which a text stands wherever one can."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [
        {"role": "system", "content": text},
        {"role": "user", "content": text},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": text, "tool_call_id": "c1"},
        {"role": "assistant", "content": text},
    ]


def parts(messages):
    """The same under the GenAI conventions."""
    for message in messages:
        said = [{"type": "text", "content": message["content"]}]
        if "tool_calls" in message:
            (call,) = message["tool_calls"]
            said = [{"type": "tool_call", "id": call["id"], **call["function"]}]
        if message["role"] == "tool":
            said = [{"type": "tool_call_response", "id": "c1", "response": message["content"]}]
        yield {"role": message["role"], "parts": said}


def as_chat(messages):
    return {"messages": messages}


def as_openai_trace(messages):
    return {
        "object": "trace.span",
        "id": "s",
        "trace_id": "t",
        "span_data": {"type": "generation", "input": messages[:-1], "output": messages[-1:]},
    }


def as_otlp(messages):
    said = list(parts(messages))
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps(said[:-1]),
        "gen_ai.output.messages": json.dumps(said[-1:]),
    }
    return request(otlp_span(attributes))


def as_openinference(messages):
    attributes = {"openinference.span.kind": "LLM"}
    for which, some in (("input", messages[:-1]), ("output", messages[-1:])):
        for n, message in enumerate(some):
            at = f"llm.{which}_messages.{n}.message"
            for key in ("role", "content", "tool_call_id"):
                if message.get(key) is not None:
                    attributes[f"{at}.{key}"] = message[key]
            for call in message.get("tool_calls", ()):
                attributes[f"{at}.tool_calls.0.tool_call.id"] = call["id"]
                for key, value in call["function"].items():
                    attributes[f"{at}.tool_calls.0.tool_call.function.{key}"] = value
    return console(attributes)


def as_langfuse(messages):
    span = {"id": "s", "traceId": "t", "type": "GENERATION", "name": "llm"}
    return {**span, "input": messages[:-1], "output": messages[-1]}


def as_atif(messages):
    system, user, asks, gives, says = messages
    function = asks["tool_calls"][0]["function"]
    return trajectory(
        step("system", system["content"]),
        step("user", user["content"]),
        step(
            "agent",
            "",
            tool_calls=[
                {
                    "tool_call_id": "c1",
                    "function_name": function["name"],
                    "arguments": function["arguments"],
                }
            ],
            observation={"results": [{"source_call_id": "c1", "content": gives["content"]}]},
        ),
        step("agent", says["content"]),
    )


FORMS = {
    "atif": as_atif,
    "chat": as_chat,
    "langfuse": as_langfuse,
    "openai-trace": as_openai_trace,
    "openinference": as_openinference,
    "otlp": as_otlp,
}


def test_every_format_is_told_apart_and_tried_here():
    assert set(SIGNS) == set(FORMATS) == set(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_a_file_tells_its_format(written, import_twice, name):
    messages = talk("hi", "{}")
    path = written("", FORMS[name](messages))
    assert told(path) == name
    (item,) = import_twice(path)
    assert item.trace.source == name
    assert [m.to_dict() for m in item.trace.conversation] == messages
    pretty = written(json.dumps(FORMS[name](messages), indent=1), name="pretty.json")
    if name != "chat":  # a format of lines
        assert told(pretty) == name
        assert isinstance(import_twice(pretty)[0], Imported)


def test_a_first_line_that_says_nothing_is_passed_over(written):
    assert told(written({"exported": "2026"}, "nonsense", as_openai_trace([{}, {}]))) == (
        "openai-trace"
    )


@pytest.mark.parametrize("text", ["", "{", "7", "[]", '{"a": {"b": 1}}', "[" * 100_000])
def test_what_is_of_no_format_is_an_error(written, text):
    with pytest.raises(RecordError, match="cannot tell the format; name it with --format"):
        told(written(text))


# ---------------------------------------------------------------------- any string


def named(value, id):
    """The same, of a trace with that id."""
    text = json.dumps(value)
    for key, old in (("traceId", "AB" * 16), ("trace_id", "0x" + "ab" * 16), ("trace_id", "t"),
                     ("traceId", "t"), ("session_id", "s")):  # fmt: skip
        text = text.replace(f'"{key}": "{old}"', f'"{key}": "{id}"')
    return json.loads(text) if text != json.dumps(value) else {**value, "id": id}


def there_and_back(folder, name, pairs):
    """Conversations with these texts and arguments, imported and exported; as they came out, and
    as they went in."""
    talks = {f"a{n:03d}": talk(*pair) for n, pair in enumerate(pairs)}
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text(
        "".join(json.dumps(named(FORMS[name](said), id)) + "\n" for id, said in talks.items())
    )
    with Store("sqlite://") as store:
        items = list(import_file(source, store, format=name, agent="a"))
        assert all(isinstance(item, Imported) for item in items), items
        export_file(target, store.all_judged())
    lines = [json.loads(line) for line in target.read_bytes().splitlines()]
    return {line["id"]: line["messages"] for line in lines}, talks


@pytest.mark.parametrize("name", FORMS)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(texts, st.one_of(texts, st.just('{ "a":\t1.0 }'))), min_size=1))
def test_any_string_comes_out_as_it_went_in(tmp_path, name, pairs):
    came, went = there_and_back(tmp_path, name, pairs)
    assert came == went


@pytest.mark.parametrize("name", FORMS)
def test_every_naughty_string_comes_out_as_it_went_in(tmp_path, name):
    real("blns", "blns.json")
    came, went = there_and_back(tmp_path, name, [(text, text) for text in naughty()])
    assert len(came) > 500
    assert came == went


# ---------------------------------------------------------------------- large files


def test_a_large_file_is_dealt_out_and_gives_the_same(written, import_twice, monkeypatch):
    spans = [
        {**as_openai_trace(talk(f"hi {n}", "{}")), "id": f"s{n}", "trace_id": f"t{n % 40}"}
        for n in range(120)
    ]
    path = written(*spans, "{")
    small = {i.trace.id: i.trace for i in import_twice(path) if isinstance(i, Imported)}
    monkeypatch.setattr(reading, "IN_MEMORY", 0)
    items = import_twice(path)
    large = {i.trace.id: i.trace for i in items if isinstance(i, Imported)}
    assert large == small
    assert len(large) == 40
    assert len(items) == 41


@pytest.mark.parametrize("name", ["openai-trace", "atif"])
def test_memory_does_not_grow_with_a_file(tmp_path, monkeypatch, name):
    monkeypatch.setattr(reading, "IN_MEMORY", 0)
    monkeypatch.setattr(reading, "BUCKETS", 50)
    form = FORMS[name](talk("x" * 2_000, "{}"))
    key = "session_id" if name == "atif" else "trace_id"

    path = tmp_path / "many.jsonl"
    with path.open("w") as file:
        for n in range(1_500):
            file.write(json.dumps({**form, key: f"t{n}"}) + "\n")
    tracemalloc.start()
    try:
        assert sum(isinstance(i, Imported) for i in FORMATS[name](path)) == 1_500
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 3
    finally:
        tracemalloc.stop()
