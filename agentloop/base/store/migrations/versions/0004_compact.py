"""Hashes as bytes, bodies that may be compressed, the spans of a trace together in its steps.

What is stored stays as it is written: an uncompressed body is one that may be read, too.
"""

import json
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

from agentloop.base.store.tables import Body, Moment, Words

revision = "0004"
down_revision = "0003"

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

HASHES = {
    "media": ("hash",),
    "message": ("hash",),
    "node": ("id", "parent", "message"),
    "toolset": ("hash",),
    "trace": ("tail",),
    "call": ("context", "output", "toolset"),
    "opinion": ("node",),
}

KEYS = (
    ("node", "message", "message", "hash"),
    ("call", "context", "node", "id"),
    ("call", "output", "node", "id"),
    ("call", "toolset", "toolset", "hash"),
    ("opinion", "node", "node", "id"),
)

PART = 64


def upgrade() -> None:
    lite = op.get_bind().dialect.name == "sqlite"
    if lite:
        _lite()
    else:
        _postgres()
    op.create_table(
        "numbering",
        sa.Column("hash", sa.String(32) if lite else sa.LargeBinary(), nullable=False),
        sa.Column("before", sa.String(32) if lite else sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_numbering")),
    )
    op.create_table(
        "step",
        sa.Column("trace_id", WORDS, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text() if lite else sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["trace_id"], ["trace.id"], name=op.f("fk_step_trace_id")),
        sa.PrimaryKeyConstraint("trace_id", "part", name=op.f("pk_step")),
    )
    _pack_spans()
    op.drop_table("span")


def _lite() -> None:
    """In place: SQLite's columns take bytes, whatever they are declared as."""
    connection = op.get_bind()
    driver: Any = connection.connection.driver_connection
    driver.create_function("agentloop_bytes", 1, _bytes, deterministic=True)
    op.execute("PRAGMA defer_foreign_keys = ON")
    for table, columns in HASHES.items():
        changed = ", ".join(f'"{name}" = agentloop_bytes("{name}")' for name in columns)
        op.execute(f'UPDATE "{table}" SET {changed}')  # noqa: S608 - names of our own


def _bytes(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)


def _postgres() -> None:
    for table, column, _, _ in KEYS:
        op.drop_constraint(f"fk_{table}_{column}", table, type_="foreignkey")
    for table, columns in HASHES.items():
        for name in columns:
            op.alter_column(
                table,
                name,
                type_=sa.LargeBinary(),
                postgresql_using=f"decode(\"{name}\", 'hex')",
            )
    for table in ("message", "toolset"):
        op.alter_column(
            table,
            "body",
            type_=sa.LargeBinary(),
            postgresql_using="convert_to(body, 'UTF8')",
        )
    for table, column, target, key in KEYS:
        op.create_foreign_key(f"fk_{table}_{column}", table, target, [column], [key])


def _pack_spans() -> None:
    connection = op.get_bind()
    span = sa.table(
        "span",
        *(sa.column("trace_id", Words), sa.column("id", Words), sa.column("kind", sa.String)),
        *(sa.column("started_at", Moment), sa.column("body", sa.Text)),
    )
    step = sa.table(
        "step",
        *(sa.column("trace_id", Words), sa.column("part", sa.Integer)),
        sa.column("body", Body),
    )
    rows = connection.execute(
        sa.select(span).order_by(span.c.trace_id, span.c.id),
        execution_options={"yield_per": 1_000},
    )
    for trace_id, of_trace in groupby(rows, key=lambda row: row.trace_id):
        spans = [_span(row) for row in of_trace]
        for part, start in enumerate(range(0, len(spans), PART)):
            row = {"part": part, "body": json.dumps(spans[start : start + PART])}
            connection.execute(step.insert(), {"trace_id": trace_id, **row})


def _span(row: Any) -> dict[str, Any]:
    began = {"started_at": row.started_at.isoformat()} if row.started_at else {}
    return {"id": row.id, "kind": row.kind, **began, **json.loads(row.body)}
