"""OpenTelemetry's spans, under both conventions and in every form that they are written in."""

import json

import pytest

from agentloop.base.records import Source
from agentloop.capture.importers import Imported, Problem
from tests.makers import DATA, real

QUESTION = [{"role": "user", "content": "Weather?"}]
ARGUMENTS = '{ "city":"Paris" }'
ASKED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": ARGUMENTS}}
    ],
}
GAVE = {"role": "tool", "content": "rain", "tool_call_id": "c1"}
SAID = {"role": "assistant", "content": "It rains."}
TALK = [*QUESTION, ASKED, GAVE, SAID]

GENAI = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.input.messages": json.dumps(
        [
            {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
            {
                "role": "assistant",
                "parts": [
                    {"type": "tool_call", "id": "c1", "name": "look", "arguments": ARGUMENTS}
                ],
            },
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}],
            },
        ]
    ),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "It rains."}]}]
    ),
    "gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "look"}]),
}

OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "m",
    "llm.invocation_parameters": '{"temperature": 0.5}',
    "llm.token_count.prompt": 7,
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "Weather?",
    "llm.input_messages.1.message.role": "assistant",
    "llm.input_messages.1.message.tool_calls.0.tool_call.id": "c1",
    "llm.input_messages.1.message.tool_calls.0.tool_call.function.name": "look",
    "llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments": ARGUMENTS,
    "llm.input_messages.2.message.role": "tool",
    "llm.input_messages.2.message.tool_call_id": "c1",
    "llm.input_messages.2.message.content": "rain",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "It rains.",
    "llm.tools.0.tool.json_schema": '{"type": "function", "function": {"name": "look"}}',
}

NESTED = {
    "openinference": {"span": {"kind": "LLM"}},
    "llm": {
        "model_name": "m",
        "invocation_parameters": '{"temperature": 0.5}',
        "token_count": {"prompt": 7},
        "input_messages": [
            {"message": {"role": "user", "content": "Weather?"}},
            {
                "message": {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "tool_call": {
                                "id": "c1",
                                "function": {"name": "look", "arguments": ARGUMENTS},
                            }
                        }
                    ],
                }
            },
            {"message": {"role": "tool", "tool_call_id": "c1", "content": "rain"}},
        ],
        "output_messages": [{"message": {"role": "assistant", "content": "It rains."}}],
        "tools": [{"tool": {"json_schema": '{"type": "function", "function": {"name": "look"}}'}}],
    },
}

EVENTS = [
    {"name": "gen_ai.user.message", "attributes": {"content": "Weather?"}},
    {
        "name": "gen_ai.assistant.message",
        "attributes": {"tool_calls": json.dumps(ASKED["tool_calls"])},
    },
    {"name": "gen_ai.tool.message", "attributes": {"content": "rain", "id": "c1"}},
    {
        "name": "gen_ai.choice",
        "attributes": {"message": '{"role": "assistant", "content": "It rains."}'},
    },
]

NUMBERED = {
    "gen_ai.request.model": "m",
    "gen_ai.prompt.0.role": "user",
    "gen_ai.prompt.0.content": "Weather?",
    "gen_ai.prompt.1.role": "assistant",
    "gen_ai.prompt.1.tool_calls.0.id": "c1",
    "gen_ai.prompt.1.tool_calls.0.name": "look",
    "gen_ai.prompt.1.tool_calls.0.arguments": ARGUMENTS,
    "gen_ai.prompt.2.role": "tool",
    "gen_ai.prompt.2.tool_call_id": "c1",
    "gen_ai.prompt.2.content": "rain",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "It rains.",
}


def typed(value):
    """A value as OTLP/JSON has it."""
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [typed(inner) for inner in value]}}
        case dict():
            pairs = [{"key": k, "value": typed(v)} for k, v in value.items()]
            return {"kvlistValue": {"values": pairs}}
    return {"stringValue": value}


def otlp(attributes, *, id="0a", parent="", at=1, name="chat m", **more):
    return {
        "traceId": "AB" * 16,
        "spanId": id,
        "parentSpanId": parent,
        "name": name,
        "startTimeUnixNano": str(1_700_000_000_000_000_000 + at * 1_000_000_000),
        "endTimeUnixNano": str(1_700_000_001_000_000_000 + at * 1_000_000_000),
        "attributes": [{"key": k, "value": typed(v)} for k, v in attributes.items()],
        **more,
    }


def request(*spans):
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def console(attributes, events=()):
    """As the Python SDK's console exporter writes a span."""
    return {
        "name": "chat m",
        "context": {"trace_id": "0x" + "ab" * 16, "span_id": "0x0a"},
        "parent_id": None,
        "start_time": "2026-01-01T00:00:00.000000Z",
        "end_time": "2026-01-01T00:00:01.000000Z",
        "status": {"status_code": "UNSET"},
        "attributes": attributes,
        "events": list(events),
    }


def phoenix(attributes):
    return {
        "name": "chat m",
        "span_kind": "LLM",
        "parent_id": None,
        "start_time": "2026-01-01T00:00:00+00:00",
        "end_time": "2026-01-01T00:00:01+00:00",
        "status_code": "OK",
        "attributes": attributes,
        "events": [],
        "context": {"trace_id": "ab" * 16, "span_id": "0a"},
    }


FORMS = {
    "OTLP/JSON": request(otlp(GENAI)),
    "OTLP/JSON, messages as values": request(
        otlp({k: json.loads(v) if "messages" in k else v for k, v in GENAI.items()})
    ),
    "OTLP/JSON of OpenInference": request(otlp(OPENINFERENCE)),
    "console": console(GENAI),
    "console of OpenInference": console(OPENINFERENCE),
    "Phoenix, flat": phoenix(OPENINFERENCE),
    "Phoenix, nested": phoenix(NESTED),
    "events": console({"gen_ai.request.model": "m"}, EVENTS),
    "numbered": console(NUMBERED),
    "bare": GENAI,
    "bare OpenInference": OPENINFERENCE,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_one_call_gives_the_same_messages(written, import_twice, form):
    (item,) = import_twice(written(FORMS[form]))
    assert isinstance(item, Imported), item
    (call,) = item.trace.calls
    assert [m.to_dict() for m in call.path] == TALK
    assert call.model == "m"
    assert item.notes == ()
    assert item.trace.source == ("openinference" if "llm" in str(FORMS[form]) else "otlp")
    if form not in ("events", "numbered"):
        assert call.settings == {"temperature": 0.5}
        assert call.usage.input_tokens == 7
        assert [tool["function"]["name"] for tool in call.tools] == ["look"]


def test_the_messages_of_a_call_may_stand_in_an_event_of_its_own(written, import_twice):
    about = {k: v for k, v in GENAI.items() if "messages" not in k}
    event = {
        "timeUnixNano": "1700000000000000000",
        "eventName": "gen_ai.client.inference.operation.details",
        "traceId": "AB" * 16,
        "spanId": "0a",
        "body": {},
        "attributes": [{"key": k, "value": typed(v)} for k, v in GENAI.items()],
    }
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [event]}]}]}
    (item,) = import_twice(written(logs, request(otlp(about))), format="otlp")
    assert [m.to_dict() for m in item.trace.conversation] == TALK


def test_a_run_is_a_tree_of_steps(written, import_twice):
    spans = [
        otlp(GENAI, id="0c", parent="0b"),
        otlp(
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look"},
            id="0d",
            parent="0b",
            at=2,
            status={"code": 2, "message": "no net"},
        ),
        otlp(
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "support",
                "gen_ai.conversation.id": "chat-9",
                "user.id": "u7",
            },
            id="0b",
            at=0,
            events=[
                {
                    "name": "gen_ai.evaluation.result",
                    "attributes": [
                        {"key": "gen_ai.evaluation.name", "value": typed("helpful")},
                        {"key": "gen_ai.evaluation.score.value", "value": typed(0.25)},
                    ],
                }
            ],
        ),
    ]
    (item,) = import_twice(written(*(request(span) for span in spans)))
    trace = item.trace
    assert (trace.agent, trace.session, trace.user) == ("support", "chat-9", "u7")
    assert trace.id == "ab" * 16
    assert [(s.id, s.parent_id, s.kind.value) for s in trace.spans] == [
        ("0b", None, "agent"),
        ("0c", "0b", "call"),
        ("0d", "0b", "tool"),
    ]
    assert trace.spans[2].error == {"message": "no net"}
    assert trace.metadata == {"service": "shop"}
    (opinion,) = item.opinions
    assert (opinion.source, opinion.author, opinion.score) == (Source.JUDGE, "helpful", 0.25)


def test_a_call_around_a_call_is_no_call(written, import_twice):
    outer = {"ai.operationId": "ai.generateText", "ai.prompt": '{"prompt": "x"}'}
    inner = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.prompt.messages": '[{"role": "user", "content": [{"type": "text", "text": "x"}]}]',
        "ai.response.text": "y",
    }
    (item,) = import_twice(
        written(request(otlp(outer, id="01"), otlp(inner, id="02", parent="01")))
    )
    (call,) = item.trace.calls
    assert [m.to_dict() for m in call.path] == [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y"},
    ]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (request(otlp({"http.method": "GET"}, id="01")), "no step of a model"),
        ({"resourceSpans": []}, "no span in it"),
        ({"resourceMetrics": [{}]}, "no span in it"),
        ("[7]", "no span in it"),
        ("{]", "no JSON"),
    ],
)
def test_what_tells_of_no_model_is_named(written, import_twice, value, why):
    (problem,) = import_twice(written(value), format="otlp")
    assert why in problem.why


# ---------------------------------------------------------------------- real files


def test_three_encodings_of_one_call_give_the_same_messages(import_twice):
    """And a fourth that holds nothing but the input and the output."""
    folder = real("openinference", "openinference-genai")
    names = (
        "openinference_client_span_tool_calls",
        "openinference_client_span_input_output_only",
        "otel_genai_client_span_tool_calls",
        "otel_genai_deprecated_client_span_tool_calls",
    )
    talks = []
    for name in names:
        (item,) = import_twice(folder / f"{name}.json")
        talks.append([m.to_dict() for m in item.trace.conversation])
        assert item.notes == ()
    assert talks[1:] == talks[:1] * 3
    assert [m["role"] for m in talks[0]] == ["user", "assistant", "tool", "assistant"]
    (call,) = talks[0][1]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"location":"Paris"}'}


WHOLE = [
    *("genaiopenai_chat", "genaiopenai_chat_stream", "openinference_chat"),
    *("genaiopenai_responses", "genaiopenai_responses_stream", "openinference_responses"),
]


@pytest.mark.parametrize("bridge", WHOLE)
def test_the_agents_sdk_through_a_bridge_gives_what_went_over_the_wire(import_twice, bridge):
    runs = json.loads(real("agents-sdk-spans", "sdk_spans_chat.json").read_text())
    wire = next(r for r in runs if r["scenario"] == "tools")["info"]["requests"]
    (item,) = import_twice(real("agents-sdk-spans", f"sdk_otel_{bridge}.json"))
    assert len(item.trace.calls) == len(wire)
    assert item.notes == ()
    for call, sent in zip(item.trace.calls, wire, strict=True):
        heard = [loosened(m.to_dict()) for m in call.context]
        assert heard == without_rome([loosened(m) for m in sent["messages"]])


def loosened(message):
    """A message with its arguments as values: these bridges parse them."""
    message = json.loads(json.dumps(message))
    for call in message.get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return message


def without_rome(messages):
    """The bridges were run with one call of the tool where the SDK's dump has two."""
    kept = [m for m in messages if m.get("tool_call_id") != "c2"]
    for message in kept:
        if "tool_calls" in message:
            message["tool_calls"] = [c for c in message["tool_calls"] if c["id"] != "c2"]
    return kept


@pytest.mark.parametrize(
    ("bridge", "why"),
    [
        ("traceloop_chat", "what the model said is not told"),
        ("traceloop_responses", "a tool result answers no call"),
        ("v2_chat", "what the model said is told as Python"),
        ("v2_responses", "what the model said is told as Python"),
        ("logfire_responses", "what the model heard is not told"),
        ("genai_chat", "no model call in it"),
        ("genai_responses", "no model call in it"),
    ],
)
def test_a_bridge_that_loses_something_is_told_so(import_twice, bridge, why):
    (item,) = import_twice(real("agents-sdk-spans", f"sdk_otel_{bridge}.json"))
    assert any(why in note for note in item.notes)


VERCEL = DATA / "openinference" / "openinference-vercel" / "v6-spans"


@pytest.mark.parametrize(
    ("name", "traces", "embeddings"),
    [
        ("ai-generateText-doGenerate", 2, 0),
        ("ai-generateText", 2, 0),
        ("ai-generateObject-doGenerate", 1, 0),
        ("ai-generateObject", 1, 0),
        ("ai-streamText-doStream", 1, 0),
        ("ai-streamText", 1, 0),
        ("ai-embed-doEmbed", 0, 1),
        ("ai-embed", 0, 1),
        ("all-spans", 8, 2),
        ("spans-by-operation", 8, 2),
    ],
)
def test_the_ai_sdk_comes_in_and_an_embedding_is_named(import_twice, name, traces, embeddings):
    items = import_twice(real("openinference", *VERCEL.parts[-2:], f"{name}.json"))
    came = [item for item in items if isinstance(item, Imported)]
    assert (len(came), len(items) - len(came)) == (traces, embeddings)
    for item in came:
        (call,) = item.trace.calls
        assert call.incomplete is None
        assert call.output.text
        assert item.trace.agent.startswith("test-")


@pytest.mark.parametrize("name", ["trace", "events", "logs", "metrics"])
def test_telemetry_that_tells_of_no_model_is_a_problem(import_twice, name):
    (problem,) = import_twice(real("otel-proto", f"{name}.json"), format="otlp")
    assert isinstance(problem, Problem)
