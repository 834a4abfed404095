"""OTLP in protobuf gives what OTLP/JSON gives."""

import sys

import pytest

from agentloop.base.errors import ConfigError
from agentloop.capture.importers import Imported, Problem
from agentloop.capture.importers.otlp_protobuf import is_protobuf
from agentloop.capture.importers.telling import told
from tests.capture.importers.test_otlp import GENAI, OPENINFERENCE, TALK, otlp, request

json_format = pytest.importorskip("google.protobuf.json_format")
pytest.importorskip("opentelemetry.proto")


def encoded(*spans):
    """A request in protobuf, as an exporter sends it."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    body = request(*({**span, "traceId": "q83vASNFZ4mrze8BI0VniQ=="} for span in spans))
    for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        span["spanId"] = "AAAAAAAA" + {"0a": "AAo=", "0b": "AAs="}[span["spanId"]]
    return json_format.ParseDict(body, ExportTraceServiceRequest()).SerializeToString()


def framed(*messages):
    return b"".join(len(m).to_bytes(4, "big") + m for m in messages)


ONE, TWO = encoded(otlp(GENAI)), encoded(otlp(GENAI, id="0b", at=5))


@pytest.mark.parametrize("data", [ONE, framed(ONE)])
def test_a_request_comes_in(tmp_path, import_twice, data):
    path = tmp_path / "spans.pb"
    path.write_bytes(data)
    assert told(path) == "otlp"
    (item,) = import_twice(path)
    assert item.trace.id == "abcdef0123456789abcdef0123456789"
    assert [m.to_dict() for m in item.trace.conversation] == TALK
    assert item.trace.metadata == {"service": "shop"}
    assert item.trace.started_at.year == 2023
    assert item.notes == ()


@pytest.mark.parametrize("data", [ONE + TWO, framed(ONE, TWO)])
def test_spans_of_one_trace_may_come_in_several_requests(tmp_path, import_twice, data):
    path = tmp_path / "spans.pb"
    path.write_bytes(data)
    (item,) = import_twice(path)
    assert len(item.trace.calls) == 2


def test_openinference_is_told_in_protobuf_too(tmp_path, import_twice):
    path = tmp_path / "spans.pb"
    path.write_bytes(encoded(otlp(OPENINFERENCE)))
    (item,) = import_twice(path)
    assert item.trace.source == "openinference"
    assert [m.to_dict() for m in item.trace.conversation] == TALK


@pytest.mark.parametrize("tail", [b"\x0a\x7fabc", b"\x0a", b"\x0a\x03\xff\xff\xff"])
def test_what_is_broken_is_named_and_what_came_before_is_imported(tmp_path, import_twice, tail):
    path = tmp_path / "spans.pb"
    path.write_bytes(ONE + tail)
    items = import_twice(path)
    assert sorted(type(item).__name__ for item in items) == ["Imported", "Problem"]
    (problem,) = (item for item in items if isinstance(item, Problem))
    assert problem.line == 2
    assert problem.why.startswith("no OTLP trace data in protobuf")
    assert any(isinstance(item, Imported) for item in items)


@pytest.mark.parametrize("text", [b"", b"\n", b"\n{}", b"{}", b"[1]", b'\n{"a": 1}\n', b"\x00\x00"])
def test_a_text_is_no_protobuf(tmp_path, text):
    path = tmp_path / "x"
    path.write_bytes(text)
    assert not is_protobuf(path)


def test_without_the_package_the_extra_is_named(tmp_path, import_twice, monkeypatch):
    path = tmp_path / "spans.pb"
    path.write_bytes(ONE)
    monkeypatch.setitem(sys.modules, "google.protobuf.json_format", None)
    with pytest.raises(ConfigError, match=r"openagentloop\[otel\]"):
        import_twice(path)
