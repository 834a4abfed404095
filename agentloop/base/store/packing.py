"""Bodies as the database keeps them: JSON, compressed where that makes it shorter.

They are deflated by ISA-L where it is installed (extra `scale`), which takes less than half of
zlib's time and does as well; else by zlib. Each reads what the other has written.
"""

import zlib
from typing import Any

try:
    from isal import isal_zlib

    quick: Any = isal_zlib
except ImportError:
    quick = zlib

SHORT = 120
"""Bytes of JSON that are kept as they are: compressing them takes time and saves nothing."""

COMPRESSED = b"\x01"
"""What a compressed body begins with; no JSON does. Another way would have another number."""

COMMON = (
    b'"error":null,"ended_at":"2026-01-01T00:00:00.000000Z","started_at":"2026-01-01T00:00:00.00'
    b'0000Z","kind":"agent","kind":"handoff","kind":"guardrail","kind":"other","kind":"call",'
    b'"kind":"tool","name":"generation","name":"response","name":"turn","data":{"input":"{\\"",'
    b'"output":"","said":{"output":"","parent_id":"span_","id":"span_"'
    b'[{"type":"text","text":"{"type":"image_url","image_url":{"url":"data:image/png;base64,'
    b'true,false,null,"status":"id":"name":"error":"message":"date":"price":"address":"results":['
    b" and for the that with your this are have from will not can please thank you, order "
    b'"refusal":null,"role":"system","content":"You are {"role":"user","content":"'
    b'{"role":"assistant","content":"","tool_calls":[{"id":"call_1","type":"function","function":'
    b'{"name":"get_","arguments":"{\\"_id\\":\\""}}]}'
    b'{"role":"assistant","content":null,"tool_calls":[{"id":"call_2","type":"function",'
    b'"function":{"name":"","arguments":"{\\"'
    b'{"role":"tool","tool_call_id":"call_1","content":"{\\"'
)
"""Where compression begins: what most bodies say. Never to be changed, or they cannot be read."""


def pack(body: bytes) -> bytes:
    """A JSON text as it is kept."""
    if len(body) < SHORT:
        return body
    # A small window is quicker to set up, and as good for what is short.
    window, memory = (-13, 6) if len(body) < 8_000 else (-15, 8)
    packer = quick.compressobj(1, zlib.DEFLATED, window, memory, zlib.Z_DEFAULT_STRATEGY, COMMON)
    packed: bytes = COMPRESSED + packer.compress(body) + packer.flush()
    return packed if len(packed) < len(body) else body


def unpack(kept: bytes) -> bytes:
    """The JSON text that `pack` was given.

    Raises:
        ValueError: it was damaged.
    """
    if not kept.startswith(COMPRESSED):
        return kept
    unpacker = zlib.decompressobj(-15, COMMON)
    try:
        body = unpacker.decompress(memoryview(kept)[1:])
    except zlib.error as error:
        raise ValueError(f"it cannot be decompressed: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it cannot be decompressed: its end is missing or not its own")
    return body
