"""An OTLP receiver on this machine, built on the official protobuf package."""

import gzip
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KNOWN: dict[str, tuple[Any, Any]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}


class Receiver:
    """What came in: whole requests, as bytes and decoded."""

    def __init__(self):
        self.url = ""
        self.bodies = {path: [] for path in KNOWN}
        self.requests = {path: [] for path in KNOWN}

    @property
    def scopes(self):
        """Each scope with its spans."""
        return [
            scope
            for request in self.requests["/v1/traces"]
            for resource in request.resource_spans
            for scope in resource.scope_spans
        ]

    @property
    def spans(self):
        return [span for scope in self.scopes for span in scope.spans]

    @property
    def events(self):
        return [
            record
            for request in self.requests["/v1/logs"]
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]


def attributes(given):
    """Attributes of OTLP as Python's own values."""
    return {pair.key: value(pair.value) for pair in given}


def value(given):
    kind = given.WhichOneof("value")
    if kind == "array_value":
        return [value(inner) for inner in given.array_value.values]
    return getattr(given, kind)


@contextmanager
def receiving():
    """A receiver that is up."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            data = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                data = gzip.decompress(data)
            assert self.headers["content-type"] == "application/x-protobuf"
            takes, gives = KNOWN[self.path]
            receiver.bodies[self.path].append(data)
            receiver.requests[self.path].append(takes.FromString(data))
            answer = gives().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
