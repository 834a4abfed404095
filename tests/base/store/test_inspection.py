"""Damage that was planted is found, whatever it is; and a store that is whole is called so."""

import json
import re

import pytest
from sqlalchemy import LargeBinary, create_engine, select, text, type_coerce
from sqlalchemy.types import NullType

from agentloop.base.records import Dataset
from agentloop.base.store import Store
from agentloop.base.store import tables as t
from tests.makers import (
    a_correction,
    a_row,
    a_span,
    a_trace,
    an_opinion,
    an_outcome,
    asks,
    returns,
    says,
    system,
    user,
)

TALK = (system(), user(), asks(), returns(), says("Hi \ud83d\ude00 \x00 \ud800."), user("bye"))


@pytest.fixture
def filled(url):
    trace = a_trace(*TALK, id="t1")
    with Store(url) as store:
        store.put(trace, a_span(), an_opinion("t1"), a_correction(trace.calls[1]), an_outcome("t1"))
        store.put(a_trace(user("another"), says("answer"), id="t2"))
        yield store


GONE = "'GONE'"
"""In a statement: a hash that nothing has."""


def spoken(statement, dialect):
    """A statement as the database has it: PostgreSQL does not take bytes for a text."""
    if dialect == "sqlite":
        return statement.replace(GONE, "x'00ff'")
    statement = statement.replace(GONE, r"'\x00ff'")
    if "message SET" in statement or "toolset SET" in statement:
        readable = "convert_to(replace(convert_from(body, 'UTF8'),"
        statement = re.sub(r"replace\(body,(.*?)\)", rf"{readable}\1), 'UTF8')", statement)
    return statement


def plant(url, *statements):
    """Change the database behind the store's back, where it would not let us."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        for statement in statements:
            done = connection.execute(text(spoken(statement, engine.dialect.name)))
            assert done.rowcount == 1, statement
        connection.commit()
    engine.dispose()


def test_a_store_that_is_whole_has_no_damage(filled):
    assert list(filled.verify()) == []


def test_an_empty_store_is_whole(url):
    with Store(url) as store:
        assert list(store.verify()) == []
        assert store.stats().seen == 0


OF_T2 = "(SELECT output FROM call WHERE id = 't2/0')"
LEAF = f"(SELECT message FROM node WHERE id = {OF_T2})"


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            f"UPDATE message SET body = replace(body, 'answer', 'anzwer') WHERE hash = {LEAF}",
            [("message", "its body has the hash")],
        ),
        (
            f"UPDATE message SET body = 'no JSON' WHERE hash = {LEAF}",
            [("message", "its body cannot be read"), ("trace", "it cannot be put together")],
        ),
        (
            f"UPDATE node SET depth = 7 WHERE id = {OF_T2}",
            [("node", "its depth is 2, not 7")],
        ),
        (
            f"UPDATE node SET role = 'user' WHERE id = {OF_T2}",
            [("node", "its message is of the role 'assistant', not 'user'")],
        ),
        (
            f"UPDATE node SET parent = '' WHERE id = {OF_T2}",
            [
                ("node", "it is not the hash of its parent and its message"),
                ("node", "its depth is 1, not 2"),
                ("call", "its output does not follow its context"),
            ],
        ),
        (
            f"UPDATE node SET parent = {GONE} WHERE id = {OF_T2}",
            [
                ("node", "it is not the hash of its parent and its message"),
                ("node", "its parent 00ff is not there"),
                ("call", "its output does not follow its context"),
                ("trace", "it cannot be put together: KeyError"),
            ],
        ),
        (
            f"DELETE FROM message WHERE hash = {LEAF}",
            [("node", "message: there is no message"), ("trace", "cannot be put together")],
        ),
        (
            "UPDATE toolset SET body = replace(body, 'find', 'fined')",
            [("toolset", "its body has the hash")],
        ),
        (
            "UPDATE call SET output = context WHERE id = 't1/1'",
            [("call", "its output does not follow its context")],
        ),
        (
            f"UPDATE trace SET tail = {GONE} WHERE id = 't1'",
            [("trace", "tail: there is no node '00ff'"), ("trace", "cannot be put together")],
        ),
        (
            "UPDATE call SET body = '[' WHERE id = 't1/0'",
            [("trace", "it cannot be put together: JSONDecodeError")],
        ),
        (
            "DELETE FROM trace WHERE id = 't2'",
            [("call", "trace_id: there is no trace 't2'")],
        ),
    ],
)
def test_damage_that_was_planted_is_found(filled, url, statement, found):
    plant(url, statement)
    damage = list(filled.verify())
    assert len(damage) == len(found), damage
    for one, (table, why) in zip(damage, found, strict=True):
        assert one.table == table
        assert why in one.why


def test_any_one_bit_of_a_message_matters(filled):
    message = t.message
    with filled._database.read() as connection:
        rows = connection.execute(select(message.c.hash, message.c.body)).all()
    for hash, body in rows:
        said = json.loads(body)
        if isinstance(said.get("content"), str):
            said["content"] += " "
            change = message.update().where(message.c.hash == hash)
            with filled._database.write() as connection:
                connection.execute(change.values(body=json.dumps(said)))
            assert [one.key for one in filled.verify()] == [hash]
            with filled._database.write() as connection:
                connection.execute(change.values(body=body))
    assert list(filled.verify()) == []


@pytest.mark.parametrize("damaged", [b"\x01", b"\x01\xff\xff", b"\xff\xfe", b"cut", b"more"])
def test_a_body_that_cannot_be_decompressed_is_damage_and_hides_no_other(filled, damaged):
    said = says("a long answer, " * 30)
    filled.put(a_trace(user(), said, id="long"), a_trace(says(), id="other"))
    message = t.message.c
    with filled._database.write() as connection:
        output = select(t.call.c.output).where(t.call.c.trace_id == "long").scalar_subquery()
        hash = connection.scalar(select(t.node.c.message).where(t.node.c.id == output))
        there = select(type_coerce(message.body, NullType())).where(message.hash == hash)
        kept = bytes(connection.scalar(there))
        assert kept.startswith(b"\x01")
        assert len(kept) < 100
        body = {b"cut": kept[:-1], b"more": kept + b"x"}.get(damaged, damaged)
        change = t.message.update().where(message.hash == hash)
        connection.execute(change.values(body=type_coerce(body, LargeBinary())))
    damage = {(one.table, one.key): one.why for one in filled.verify()}
    assert damage.keys() == {("message", hash), ("trace", "long")}
    assert damage["message", hash] == "its body cannot be read"


def test_ids_that_were_changed_are_damage(url):
    talk = [m for n in range(40) for m in (asks(id=f"c{n}"), returns(id=f"c{n}"))]
    with Store(url) as store:
        store.put(a_trace(user(), *talk, id="t1"))
        assert list(store.verify()) == []
        plant(
            url, "UPDATE numbering SET body = replace(body, 'c20', 'c99') WHERE body LIKE '%c20%'"
        )
        (damage,) = store.verify()
        assert damage.table == "numbering"
        plant(url, "DELETE FROM numbering WHERE body LIKE '%c0%'")
        assert {one.table for one in store.verify()} == {"numbering", "trace"}


def test_sizes_are_told(filled):
    told = filled.stats()
    assert told.bytes > 4096
    rows = {name: size.rows for name, size in told.tables.items() if size.rows}
    assert [rows[name] for name in ("message", "node", "toolset")] == [9, 9, 1]
    assert [rows[name] for name in ("trace", "call", "step", "opinion", "outcome")] == [
        *(2, 3, 1, 2, 1),
    ]
    assert told.seen == 3 + 5 + 2
    assert told.tables["toolset"].content > 50
    filled.put(a_trace(user("é"), id="t3"))
    content = filled.stats().tables["message"].content - told.tables["message"].content
    assert content == len('{"role":"user","content":"é"}'.encode())


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (None, []),
        (
            "UPDATE dataset_row SET body = replace(body, 'hello', 'hallo') WHERE position = 0",
            ["another content_hash", "another sha256", "what it holds is"],
        ),
        ("DELETE FROM dataset_row WHERE position = 1", ["content_hash", "sha256", "what it holds"]),
        ("UPDATE dataset SET body = replace(body, '0.8', '0.7')", ["content_hash", "it holds"]),
        ("UPDATE dataset SET body = '{'", ["it cannot be read: JSONDecodeError"]),
    ],
)
def test_damage_to_a_dataset_is_found(url, statement, found):
    rows = [a_row(user(), says("hello"), traces=("t1",)), a_row(user("b"), says(), traces=("t2",))]
    fields = {"method": "sft", "agents": ("support",), "recipe": {"good": 0.8}, "rows": rows}
    with Store(url) as store:
        store.ledger.put_dataset(Dataset(**fields))
        if found:
            plant(url, statement)
        damage = list(store.verify())
    assert len(damage) == len(found), damage
    for one, why in zip(damage, found, strict=True):
        assert one.table == "dataset"
        assert why in one.why
