"""The tables: the columns we ask questions of, and the rest of each record as one JSON text.

Columns are declared here once; `migrations/` brings a database to this shape, and a test compares
the two. Nothing outside this package sees a table, a row or SQL.
"""

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    true,
)
from sqlalchemy.types import TypeEngine

from agentloop.base.store.packing import COMPRESSED, pack, unpack


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, also where the database forgets time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)

    def bind_processor(self, dialect: Dialect) -> Any:
        """As SQLAlchemy writes moments for SQLite, which has no type for them."""
        return _written if dialect.name == "sqlite" else super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Without the detour by way of a moment that knows of no zone."""
        return _read if dialect.name == "sqlite" else _in_utc


def _written(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(" ", "microseconds")[:26]


def _read(written: str | None) -> datetime | None:
    return None if written is None else datetime.fromisoformat(f"{written}+00:00")


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


class Words(TypeDecorator[str]):
    """A text of the application's own: any string of Python's. What no database takes (NUL, lone
    surrogates) is escaped, and sorting is by code point everywhere, so that one store gives the
    same rows in the same order whichever database it is."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text(collation="C" if dialect.name == "postgresql" else None)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return _escaped(value)

    def bind_processor(self, dialect: Dialect) -> Any:
        """Drivers take texts as they are; a row has several of these."""
        return _escaped

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Drivers give texts as they are."""
        return _unescaped


def _unescaped(text: str | None) -> str | None:
    if text is None or "\x1a" not in text:
        return text
    return _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), text)


def _escaped(text: str | None) -> str | None:
    if text is None or (text.isascii() and text.isprintable()):
        return text
    return _ODD.sub(lambda odd: f"\x1a{ord(odd[0]):04x}", text)


_ODD = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")


class _Bytes(TypeDecorator[str]):
    """Bytes that are a text to us. SQLite keeps them in columns of the type that these were born
    with, which takes bytes as they are."""

    impl = LargeBinary
    cache_ok = True
    lite: TypeEngine[Any] = Text()

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return self.lite if dialect.name == "sqlite" else LargeBinary()


class Hash(_Bytes):
    """A hash: hexadecimal digits to us, the bytes that they stand for in the database."""

    cache_ok = True
    lite = String(32)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return value if value is None else bytes.fromhex(value)

    def bind_processor(self, dialect: Dialect) -> Any:
        """Drivers take bytes as they are; a row has several of these. SQLite's takes a `bytearray`
        at once, and looks for an adapter for each `bytes`."""
        return _bytearray if dialect.name == "sqlite" else _bytes

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Drivers give bytes as they are."""
        return _digits


def _digits(kept: bytes | str | None) -> str | None:
    return kept if kept is None or isinstance(kept, str) else kept.hex()


def _bytes(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)


def _bytearray(digits: str | None) -> bytearray | None:
    return None if digits is None else bytearray.fromhex(digits)


class Body(_Bytes):
    """A JSON text, packed. SQLite shows what is not compressed as the text that it is."""

    cache_ok = True

    def process_bind_param(self, value: str | bytes | None, dialect: Dialect) -> Any:
        return self.bind_processor(dialect)(value)

    def bind_processor(self, dialect: Dialect) -> Any:
        """Drivers take texts and bytes as they are."""
        return _packed_for_lite if dialect.name == "sqlite" else _packed

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Drivers give texts and bytes as they are."""
        return _whole


def _packed(body: str | bytes | None) -> bytes | None:
    return None if body is None else pack(body.encode() if isinstance(body, str) else body)


def _packed_for_lite(body: str | bytes | None) -> str | bytearray | None:
    kept = _packed(body)
    if kept is None:
        return None
    return bytearray(kept) if kept[:1] == COMPRESSED else kept.decode()


def _whole(kept: str | bytes | None) -> str | None:
    return None if kept is None else unpacked(kept)


def unpacked(kept: str | bytes) -> str:
    """The JSON text of a body as it stands in the database.

    Raises:
        ValueError: it was damaged.
    """
    return kept if isinstance(kept, str) else unpack(bytes(kept)).decode()


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = Words
"""Ids of others (trace ids, provider ids) come in any form."""

message = Table(
    "message",
    metadata,
    Column("hash", Hash, primary_key=True),
    Column("body", Body, nullable=False),
)
"""What was said, once, however often it was said."""

media = Table(
    "media",
    metadata,
    Column("hash", Hash, primary_key=True),
    Column("body", Text, nullable=False),
)
"""Images, files and audio, once, in whichever messages they are: these hold the hash."""

node = Table(
    "node",
    metadata,
    Column("id", Hash, primary_key=True),
    Column("parent", Hash, nullable=False),
    Column("message", Hash, ForeignKey("message.hash"), nullable=False),
    Column("role", String(16), nullable=False),
    Column("depth", Integer, nullable=False),
)
"""The conversation tree: a message and the path that led to it."""

toolset = Table(
    "toolset",
    metadata,
    Column("hash", Hash, primary_key=True),
    Column("body", Body, nullable=False),
)
"""The tools of a call, as one JSON list."""

numbering = Table(
    "numbering",
    metadata,
    Column("hash", Hash, primary_key=True),
    Column("before", Hash, nullable=False),
    Column("body", Text, nullable=False),
)
"""The ids that tool calls had, some in a row, and what came before these."""

trace = Table(
    "trace",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent", Words, nullable=False),
    Column("user", Words),
    Column("session", Words),
    Column("task_id", Words),
    Column("version", Id),
    Column("trial", Id),
    Column("arm", String(16)),
    Column("held_out", Boolean, nullable=False),
    Column("consent", Boolean, nullable=False, server_default=true()),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("error", Words),
    Column("tail", Hash),
    Column("body", Text, nullable=False),
    Index(None, "started_at", "id"),
    Index(None, "agent", "started_at"),
    Index(None, "user"),
    Index(None, "task_id"),
    Index(None, "trial", "arm"),
)

call = Table(
    "call",
    metadata,
    Column("id", Id, primary_key=True),
    Column("trace_id", Id, ForeignKey("trace.id"), nullable=False),
    Column("index", Integer, nullable=False),
    Column("agent", Words, nullable=False),
    Column("context", Hash, ForeignKey("node.id")),
    Column("output", Hash, ForeignKey("node.id")),
    Column("toolset", Hash, ForeignKey("toolset.hash"), nullable=False),
    Column("model", Words),
    Column("version", Id),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("response", Id),
    Column("body", Text, nullable=False),
    Index(None, "trace_id", "index"),
    Index(None, "context"),
    Index(None, "agent"),
    Index(None, "response"),
)
"""An edge of the tree: from what the model saw (null: nothing) to what it said. `response`: what a
later call names it by, where the server keeps conversations."""

step = Table(
    "step",
    metadata,
    Column("trace_id", Id, ForeignKey("trace.id"), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("body", Body, nullable=False),
)
"""The spans of a trace, some in each part; see `steps`."""

opinion = Table(
    "opinion",
    metadata,
    Column("id", Id, primary_key=True),
    Column("trace_id", Id, ForeignKey("trace.id"), nullable=False),
    Column("call_id", Id, ForeignKey("call.id")),
    Column("author", Words, nullable=False),
    Column("score", Float),
    Column("node", Hash, ForeignKey("node.id")),
    Column("given_at", Moment, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "trace_id"),
    Index(None, "call_id"),
)
"""`node`: where a correction stands in the tree, beside the answer that it corrects."""

outcome = Table(
    "outcome",
    metadata,
    Column("trace_id", Id, ForeignKey("trace.id"), primary_key=True),
    Column("name", Words, primary_key=True),
    Column("recorded_at", Moment, nullable=False),
    Column("body", Text, nullable=False),
)

dataset = Table(
    "dataset",
    metadata,
    Column("id", Id, primary_key=True),
    Column("method", String(8), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("as_of", Integer, nullable=False, server_default="0"),
    Column("body", Text, nullable=False),
)
"""The manifest, and what was refused. `as_of`: the last change that the harvest knew of."""

dataset_row = Table(
    "dataset_row",
    metadata,
    Column("dataset", Id, ForeignKey("dataset.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("sha", Hash, nullable=False, server_default=""),
    Column("body", Text, nullable=False),
)
"""Those that train first. `sha`: of the line; it stays when what the row said was erased."""

dataset_trace = Table(
    "dataset_trace",
    metadata,
    Column("dataset", Id, ForeignKey("dataset.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("trace_id", Id, primary_key=True),
    Index(None, "trace_id"),
)
"""Which traces a row was made from; no foreign key, for a lineage outlives what it points at."""

change = Table(
    "change",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("trace_id", Id, nullable=False),
    Column("what", String(16), nullable=False),
    Column("at", Moment, nullable=False),
    Index(None, "trace_id"),
    sqlite_autoincrement=True,
)
"""What was said of a trace that was stored before, or became of one that was judged before; see
`changes`."""

erasure = Table(
    "erasure",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,
)
"""When something was erased, and how much; not whose it was."""

job = Table(
    "job",
    metadata,
    Column("id", Id, primary_key=True),
    Column("dataset", Id, nullable=False),
    Column("provider", Words, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("body", Text, nullable=False),
)

version = Table(
    "version",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job", Id),
    Column("created_at", Moment, nullable=False),
    Column("body", Text, nullable=False),
)

alias_move = Table(
    "alias_move",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("agent", Words, nullable=False),
    Column("version", Id, ForeignKey("version.id")),
    Column("at", Moment, nullable=False),
    Column("reason", Words, nullable=False),
    Index(None, "agent", "seq"),
)
"""Append-only: the last move of an agent says what is live."""

trial = Table(
    "trial",
    metadata,
    Column("id", Id, primary_key=True),
    Column("started_at", Moment, nullable=False),
    Column("stopped_at", Moment),
    Column("body", Text, nullable=False),
)
