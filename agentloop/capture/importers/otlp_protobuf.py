"""OTLP in protobuf: what a collector or an exporter sends, written to a file.

Read are a trace request as it goes over the wire, several one after the other, and the messages of
a collector's file exporter, each behind its length in four bytes. One resource's spans are in
memory at a time. The protobuf package comes with the extra `otel`, and is imported here alone.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from agentloop.base.errors import ConfigError, RecordError
from agentloop.base.records import Json
from agentloop.capture.importers.reading import Piece, Problem

FIELD_1 = 0x0A
"""How a message begins whose first field is a message: all of OTLP's requests."""

INSIDE = (0x0A, 0x12, 0x1A)
"""How the first of a request's messages begins: with its resource, its scopes or its schema."""

LARGEST = 1 << 31
"""Bytes that a protobuf message may have."""


def is_protobuf(file: Path) -> bool:
    """Whether a file is OTLP in protobuf; by its first bytes, which are none of a JSON text.

    Raises:
        RecordError: the file cannot be read.
    """
    try:
        with file.open("rb") as data:
            size = file.stat().st_size
            return _begins(data, 0, size) or (_framed(data, size) and _begins(data, 4, size))
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error


def protobuf_pieces(file: Path) -> Iterator[Piece | Problem]:
    """The spans of each resource in a file, in the form of OTLP/JSON; the line counts resources.

    Raises:
        ConfigError: the protobuf package is not installed.
        RecordError: the file cannot be read.
    """
    try:
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
    except ImportError as error:
        raise ConfigError(
            f"{file} is OTLP in protobuf; to read it, pip install 'openagentloop[otel]'"
        ) from error
    number = 1
    try:
        with file.open("rb") as data:
            for body in _bodies(data, file.stat().st_size):
                message = ResourceSpans()
                message.ParseFromString(body)
                yield Piece(number, {"resourceSpans": [_with_ids(MessageToDict(message))]})
                number += 1
    except (DecodeError, EOFError) as error:
        yield Problem(number, f"no OTLP trace data in protobuf: {error}")
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error


def _bodies(data: IO[bytes], size: int) -> Iterator[bytes]:
    """The messages of the first field of all requests in a file."""
    framed = not _begins(data, 0, size)
    data.seek(0)
    end = size
    while data.tell() < size:
        if framed:
            end = int.from_bytes(data.read(4), "big") + data.tell()
        while data.tell() < min(end, size):
            tag, place = data.read(1)[0], data.tell()
            length = _varint(data)
            if tag != FIELD_1 or length is None:
                raise EOFError(f"byte {place} is no field of a trace request")
            body = data.read(length)
            if len(body) < length:
                raise EOFError("the file ends within a message")
            yield body


def _framed(data: IO[bytes], size: int) -> bool:
    data.seek(0)
    return int.from_bytes(data.read(4), "big") <= size - 4


def _begins(data: IO[bytes], place: int, size: int) -> bool:
    """Whether a request begins there: one message that fits, and another or the end behind it."""
    data.seek(place)
    if data.read(1) != bytes([FIELD_1]):
        return False
    length = _varint(data)
    if not length or data.tell() + length > size or data.read(1)[0] not in INSIDE:
        return False
    data.seek(length - 1, 1)
    behind = data.read(1)
    return behind in (b"", bytes([FIELD_1])) or place > 0


def _varint(data: IO[bytes]) -> int | None:
    """A number as protobuf writes it, seven bits a byte; None where there is none."""
    number = 0
    for shift in range(0, 35, 7):
        byte = data.read(1)
        if not byte:
            return None
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return number if number < LARGEST else None
    return None


def _with_ids(resource: Any) -> Json:
    """The same with its ids in hexadecimal digits, as OTLP/JSON has them."""
    told: Json = resource
    for scope in told.get("scopeSpans", ()):
        for span in scope.get("spans", ()):
            for name in ("traceId", "spanId", "parentSpanId"):
                if name in span:
                    span[name] = base64.b64decode(span[name]).hex()
    return told
