"""Messages and tools in the shapes of the conventions: valid there, and whole on the way back."""

import json

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentloop.base.records import Message
from agentloop.base.records.message import verbatim
from agentloop.capture.telemetry import names, shapes
from tests.makers import TOOL, calls, message, real, returns, says, system, user

TALK = [
    system("You help."),
    user("Where is order 42?"),
    calls(("find_order", '{"order_id":"42"}', "c1"), ("find", '{"q": 1.0}', "c2"), content="One…"),
    returns("shipped", "c1"),
    returns("", "c2"),
    says("It ships."),
]

ODD = [
    message("user", ""),
    message("assistant", "", tool_calls=calls(("f", "{}", "c")).to_dict()["tool_calls"]),
    message("user", [{"type": "text", "text": "alone"}]),
    message("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    message("user", [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]),
    message("user", [{"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}}]),
    message("user", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]),
    message("user", [{"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}]),
    message("tool", [{"type": "text", "text": "a part"}], tool_call_id="c1"),
    message("assistant", None, refusal="No."),
    Message.model_validate({"role": "assistant", "refusal": "No."}),
    message("user", "hi", name="ann"),
    message("user", "hi", parts=[1], finish_reason="x"),
    message(
        "user", [{"type": "tool_call", "id": "x"}, {"type": "text", "text": 3}, {"no": "type"}]
    ),
    calls(("f", "not json", "c1"), ("f", "[1]", "c2"), ("f", '{"a":1,"a":2}', "c3")),
]


def again(said):
    """What is read of what is told, over a wire that is JSON."""
    return shapes.chat_messages(json.loads(verbatim(shapes.messages(said))))


@pytest.mark.parametrize("said", [*TALK, *ODD], ids=repr)
def test_a_message_comes_back_as_it_was(said):
    assert again([said]) == [said.to_dict()]


def test_arguments_are_an_object_where_that_keeps_every_byte_of_them():
    told = shapes.messages([TALK[2]])[0]["parts"]
    assert told[1]["arguments"] == {"order_id": "42"}
    assert told[2]["arguments"] == '{"q": 1.0}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.text(), json_values.map(json.dumps), st.text() | st.none())
def test_any_message_comes_back_as_it_was(content, name, arguments, result):
    said = [
        user(content),
        calls((name, arguments, "c1"), content=result),
        calls((name, content, "c1")),
        message("tool", result, tool_call_id=name),
    ]
    assert again(said) == [one.to_dict() for one in said]


@pytest.mark.parametrize(
    "schema",
    [
        TOOL,
        {"type": "function", "function": {"strict": True, "name": "f", "parameters": {"b": 1}}},
        {"type": "function", "function": {"name": "f", "type": "odd"}},
        {"type": "web_search"},
        {"type": "custom", "custom": {"name": "x"}},
    ],
    ids=repr,
)
def test_a_tool_comes_back_as_it_was(schema):
    (told,) = shapes.chat_tools(json.loads(verbatim(shapes.tools([schema]))))
    assert verbatim(told) == verbatim(schema)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("gen-ai-input-messages.json", shapes.messages([*TALK, *ODD[:-1]])),
        ("gen-ai-output-messages.json", shapes.answer(TALK[2], None)),
        ("gen-ai-tool-definitions.json", shapes.tools([TOOL, {"type": "web_search"}])),
    ],
    ids=["input", "output", "tools"],
)
def test_what_is_told_is_valid_by_the_conventions_own_schemas(file, told):
    schema = json.loads(real("otel-semconv", file).read_text())
    schema = json.loads(
        json.dumps(schema).replace("http://json-schema.org/draft-07/schema#", "#/x")
    )
    schema["x"] = {"type": "object"}  # no schema of schemas from the network
    jsonschema.validate(told, schema)


def test_all_names_of_the_conventions_are_theirs():
    """Against the names that OpenTelemetry's own package has; ours begin with `agentloop.`."""
    theirs = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {value for name, value in vars(theirs).items() if name.startswith("GEN_AI_")}
    mine = [v for n, v in vars(names).items() if n.isupper() and isinstance(v, str)]
    mine += names.SETTINGS.values()
    used = {name for name in mine if name.startswith("gen_ai.")} - {names.EVALUATION}
    assert len(used) > 30
    assert used <= known
