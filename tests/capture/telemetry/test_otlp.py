"""What the SDK's own exporter sends over OTLP/HTTP, decoded by the official protobuf package, and
read again by our own import."""

import base64
import json
from importlib import import_module

import pytest
from agents import Agent, function_tool
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from agentloop import Telemetry
from agentloop.base.store import Store
from agentloop.capture.importers import Problem, import_file
from agentloop.capture.telemetry import names
from tests.capture.asking import ask, weather
from tests.capture.server import calls, text
from tests.makers import a_trace, message, says, user

pytest.importorskip("opentelemetry.proto", reason="the extra `otel` is not installed")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="`otel` is not installed")

from tests.capture.telemetry.receiver import attributes, receiving


@pytest.fixture
def receiver():
    with receiving() as up:
        yield up


@pytest.fixture
def exporting(receiver):
    """An application that exports to the receiver, in batches, as applications do."""
    http = "opentelemetry.exporter.otlp.proto.http"
    traces = import_module(f"{http}.trace_exporter").OTLPSpanExporter
    logs = import_module(f"{http}._log_exporter").OTLPLogExporter
    resource = Resource.create({"service.name": "shop"})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(traces(f"{receiver.url}/v1/traces")))
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs(f"{receiver.url}/v1/logs")))
    yield tracers, loggers
    tracers.shutdown()
    loggers.shutdown()


@function_tool
def find(q: str) -> str:
    """Find."""
    return "å\n🙂"


def talked(opened, serve, exporting, *, api, content):
    """A conversation of two tools and a handoff, told to the receiver; its trace as stored."""
    tracers, loggers = exporting
    billing = Agent(name="billing", instructions="You bill.", model="gpt-4.1", tools=[find])
    agent = Agent(name="support", instructions="You help.", model="gpt-4.1",
                  tools=[weather, find], handoffs=[billing])  # fmt: skip
    script = [
        calls(("weather", '{"city": "Rome"}', "c1"), ("find", '{"q":"é"}', "c2")),
        calls(("transfer_to_billing", "{}", "c3")),
        calls(("find", '{"q":"1.0"}', "c4")),
        text("Done."),
    ]
    otel = Telemetry(tracers, loggers, content=content)
    with opened(otel) as loop:
        _, trace = ask(loop, serve(*script), agent, "Where?", api=api, session="s1", user="u7")
        loop.rate(trace.id, "up", by="ann", comment="fine")
        loop.rate(trace.id, "down", by="bob", call=trace.calls[-1].id)
        loop.outcome(trace.id, "resolved", True, reference={"status": "done"})
        judged = loop.judgement(trace.id)
    tracers.force_flush()
    loggers.force_flush()
    return judged


def imported(tmp_path, *files):
    store = Store(f"sqlite:///{tmp_path}/again.db")
    found = []
    for file in files:
        found += import_file(file, store)
    assert not [item for item in found if isinstance(item, Problem)]
    (again,) = store.all_judged(limit=2)
    store.close()
    return found, again


either = pytest.mark.parametrize("api", ["chat", "responses"])


def test_a_receiver_decodes_spans_and_events(opened, serve, receiver, exporting):
    judged = talked(opened, serve, exporting, api="chat", content=False)
    (scope,) = {scope.scope.name: scope for scope in receiver.scopes}.values()
    assert (scope.scope.name, scope.schema_url) == ("agentloop", names.SCHEMA_URL)
    spans = {span.span_id: span for span in receiver.spans}
    assert len(spans) == 11
    assert {span.trace_id.hex() for span in spans.values()} == {judged.trace.id[6:]}
    tree = sorted(
        (span.name, spans[span.parent_span_id].name if span.parent_span_id else None)
        for span in spans.values()
    )
    assert tree == [
        ("chat gpt-4.1", "invoke_agent billing"),
        ("chat gpt-4.1", "invoke_agent billing"),
        ("chat gpt-4.1", "invoke_agent support"),
        ("chat gpt-4.1", "invoke_agent support"),
        ("execute_tool find", "invoke_agent billing"),
        ("execute_tool find", "invoke_agent support"),
        ("execute_tool weather", "invoke_agent support"),
        ("handoff billing", "invoke_agent support"),
        ("invoke_agent billing", "invoke_workflow Agent workflow"),
        ("invoke_agent support", "invoke_workflow Agent workflow"),
        ("invoke_workflow Agent workflow", None),
    ]
    tokens = [
        attributes(span.attributes)["gen_ai.usage.input_tokens"]
        for span in sorted(spans.values(), key=lambda span: span.start_time_unix_nano)
        if span.name.startswith("chat")
    ]
    assert tokens == [10, 20, 30, 40]
    ids = {attributes(s.attributes).get("gen_ai.tool.call.id") for s in spans.values()}
    assert ids == {None, "c1", "c2", "c4"}
    events = [(event, attributes(event.attributes)) for event in receiver.events]
    assert [event.event_name for event, _ in events] == ["gen_ai.evaluation.result"] * 3
    assert [told["gen_ai.evaluation.name"] for _, told in events] == [
        "feedback",
        "feedback",
        "resolved",
    ]
    assert [spans[event.span_id].name for event, _ in events] == [
        "invoke_workflow Agent workflow",
        "chat gpt-4.1",
        "invoke_workflow Agent workflow",
    ]


@either
def test_without_content_not_a_byte_of_it_goes_over_the_wire(
    opened, serve, receiver, exporting, api
):
    talked(opened, serve, exporting, api=api, content=False)
    wire = b"".join(body for bodies in receiver.bodies.values() for body in bodies)
    assert b"execute_tool weather" in wire
    for said in ("You help.", "You bill.", "Where?", "Rome", "temp", "å", "Done.", "Find.",
                 "Tell the weather", "fine", "done"):  # fmt: skip
        assert said.encode() not in wire, said


@either
def test_what_was_exported_comes_in_again_as_it_was(
    tmp_path, opened, serve, receiver, exporting, api
):
    judged = talked(opened, serve, exporting, api=api, content=True)
    path = tmp_path / "spans.pb"
    path.write_bytes(b"".join(receiver.bodies["/v1/traces"]))
    (item,), again = imported(tmp_path, path)
    assert item.notes == ()
    same(again.trace, judged.trace)


@either
def test_in_otlp_json_feedback_comes_in_again_too(
    tmp_path, opened, serve, receiver, exporting, api
):
    judged = talked(opened, serve, exporting, api=api, content=True)
    to_dict = import_module("google.protobuf.json_format").MessageToDict
    path = tmp_path / "all.json"
    whole = {}
    for requests in receiver.requests.values():
        for request in requests:
            for name, resources in to_dict(request).items():
                whole.setdefault(name, []).extend(map(with_hex_ids, resources))
    path.write_text(json.dumps(whole))
    (item,), again = imported(tmp_path, path)
    assert item.notes == ()
    same(again.trace, judged.trace)
    assert [said(o) for o in again.opinions] == [said(o) for o in judged.opinions]
    assert again.opinions[0].call_id is None
    assert again.opinions[1].call_id == again.trace.calls[-1].id
    assert [(o.name, o.value, o.reference, o.recorded_at) for o in again.outcomes] == [
        (o.name, o.value, o.reference, o.recorded_at) for o in judged.outcomes
    ]


def said(opinion):
    return opinion.source, opinion.author, opinion.score, opinion.comment, opinion.given_at


def with_hex_ids(value):
    """OTLP/JSON has ids in hexadecimal digits; protobuf's own JSON has them in base64."""
    if isinstance(value, list):
        return [with_hex_ids(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(inner).hex()
        if key in ("traceId", "spanId", "parentSpanId")
        else with_hex_ids(inner)
        for key, inner in value.items()
    }


def same(again, trace):
    """Whether a trace says of each call what another says."""
    assert (again.agent, again.user, again.session) == (trace.agent, trace.user, trace.session)
    assert (again.workflow, again.started_at, again.ended_at) == (
        trace.workflow,
        trace.started_at,
        trace.ended_at,
    )
    assert len(again.calls) == len(trace.calls)
    for one, other in zip(again.calls, trace.calls, strict=True):
        assert [m.to_dict() for m in one.path] == [m.to_dict() for m in other.path]
        assert json.dumps(one.tools) == json.dumps(other.tools)
        for name in ("agent", "model", "served_model", "usage", "finish_reason", "response_id",
                     "streamed", "started_at", "ended_at", "error", "incomplete"):  # fmt: skip
            assert getattr(one, name) == getattr(other, name), name


def test_messages_that_the_parts_cannot_hold_come_in_again_as_they_were(
    tmp_path, opened, receiver, exporting
):
    odd = [
        message("developer", [{"type": "text", "text": "alone"}]),
        user(""),
        message("assistant", "", tool_calls=[
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{ }"}}]),
        message("tool", [{"type": "text", "text": "a"}], tool_call_id="c1"),
        message("user", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=",
                                                             "detail": "low"}}], name="ann"),
        says("x"),
    ]  # fmt: skip
    tracers, _ = exporting
    trace = a_trace(*odd)
    with opened(False) as loop:
        loop.store.put(trace)
        loop.export_otel(Telemetry(tracers, content=True))
    tracers.force_flush()
    path = tmp_path / "spans.pb"
    path.write_bytes(b"".join(receiver.bodies["/v1/traces"]))
    _, again = imported(tmp_path, path)
    assert [m.to_dict() for m in again.trace.conversation] == [m.to_dict() for m in odd]
