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
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.types import TypeEngine


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, also where the database forgets time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """A text of the application's own: any string of Python's. What no database takes (NUL, lone
    surrogates) is escaped, and sorting is by code point everywhere, so that one store gives the
    same rows in the same order whichever database it is."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text(collation="C" if dialect.name == "postgresql" else None)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return _ODD.sub(lambda odd: f"\x1a{ord(odd[0]):04x}", value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or "\x1a" not in value:
            return value
        return _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), value)


_ODD = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Hash = String(32)
Id = Words
"""Ids of others (trace ids, provider ids) come in any form."""

message = Table(
    "message",
    metadata,
    Column("hash", Hash, primary_key=True),
    Column("body", Text, nullable=False),
)
"""What was said, once, however often it was said."""

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
    Column("body", Text, nullable=False),
)
"""The tools of a call, as one JSON list."""

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
    Column("body", Text, nullable=False),
    Index(None, "trace_id", "index"),
    Index(None, "context"),
    Index(None, "agent"),
)
"""An edge of the tree: from what the model saw (null: nothing) to what it said."""

span = Table(
    "span",
    metadata,
    Column("trace_id", Id, ForeignKey("trace.id"), primary_key=True),
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("started_at", Moment),
    Column("body", Text, nullable=False),
)

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
    Column("body", Text, nullable=False),
)
"""The manifest, and what was refused."""

dataset_row = Table(
    "dataset_row",
    metadata,
    Column("dataset", Id, ForeignKey("dataset.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("body", Text, nullable=False),
)

dataset_trace = Table(
    "dataset_trace",
    metadata,
    Column("dataset", Id, ForeignKey("dataset.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("trace_id", Id, primary_key=True),
    Index(None, "trace_id"),
)
"""Which traces a row was made from; no foreign key, for a lineage outlives what it points at."""

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
