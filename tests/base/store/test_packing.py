"""Bodies come back byte for byte, and take less room where there is room to win."""

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.records.message import verbatim
from agentloop.base.store import packing
from agentloop.base.store.packing import COMMON, SHORT, pack, unpack
from tests.base.texts import json_values, naughty


@given(json_values, st.integers(1, 200))
def test_any_body_comes_back(value, times):
    body = verbatim([value] * times)
    assert unpack(pack(body)) == body
    assert len(pack(body)) <= len(body)


def test_every_naughty_string_comes_back():
    for text in naughty():
        body = verbatim({"content": text * 20})
        assert unpack(pack(body)) == body


def test_what_is_short_stays_readable():
    body = b'{"role":"user","content":"hi"}'
    assert pack(body) == body
    assert len(body) < SHORT


def test_a_message_is_smaller_from_its_beginning_on():
    body = verbatim({"role": "tool", "tool_call_id": "call_1", "content": "x y z " * 30})
    assert len(pack(body)) < len(body) / 4


def test_where_compression_begins_was_never_changed():
    """With another beginning, nothing that is stored could be read."""
    assert (
        hashlib.sha256(COMMON).hexdigest()
        == "a4d3d7e3b4c7e6fcffe9d8f85cf91d00387cdde972bfbc1fa46e3cc19edc069a"
    )


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:1]])
def test_damage_is_told(damage):
    packed = pack(verbatim({"content": "some words, " * 50}))
    with pytest.raises(ValueError, match="cannot be decompressed"):
        unpack(damage(packed))


def test_what_one_deflates_the_other_inflates(monkeypatch):
    """A store that ISA-L filled is read where there is none, and goes on with zlib."""
    bodies = [verbatim({"role": "user", "content": text * 20}) for text in naughty()]
    packed = [pack(body) for body in bodies]
    monkeypatch.setattr(packing, "quick", zlib)
    assert [unpack(kept) for kept in packed] == bodies
    assert [unpack(pack(body)) for body in bodies] == bodies
