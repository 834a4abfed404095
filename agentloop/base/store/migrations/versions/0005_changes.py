"""What changed since a harvest, what was erased, and a hash for each row of a dataset.

Of what came before, nobody knows whether a harvest had seen it: no dataset is marked for it.
"""

import json
from collections.abc import Iterator
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

from agentloop.base.store.tables import Hash, Words

revision = "0005"
down_revision = "0004"

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

PAGE = 500


def upgrade() -> None:
    op.create_table(
        "change",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("trace_id", WORDS, nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_change")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_change_trace_id"), "change", ["trace_id"])
    op.create_table(
        "erasure",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_erasure")),
        sqlite_autoincrement=True,
    )
    op.add_column("dataset", sa.Column("as_of", sa.Integer(), nullable=False, server_default="0"))
    lite = op.get_bind().dialect.name == "sqlite"
    kind = sa.String(32) if lite else sa.LargeBinary()
    op.add_column("dataset_row", sa.Column("sha", kind, nullable=False, server_default=""))
    _hash_rows()


def _hash_rows() -> None:
    connection = op.get_bind()
    row = sa.table(
        "dataset_row",
        *(sa.column("dataset", Words), sa.column("position", sa.Integer)),
        *(sa.column("sha", Hash), sa.column("body", sa.Text)),
    )
    change = (
        row.update()
        .where(row.c.dataset == sa.bindparam("of"), row.c.position == sa.bindparam("at"))
        .values(sha=sa.bindparam("hash"))
    )
    for page in _pages(connection, row):
        hashes = [{"of": r.dataset, "at": r.position, "hash": _sha(r.body)} for r in page]
        connection.execute(change, hashes)


def _pages(connection: sa.Connection, row: sa.TableClause) -> Iterator[list[sa.Row[tuple[str]]]]:
    datasets = connection.scalars(sa.select(row.c.dataset).distinct()).all()
    for dataset in datasets:
        after = -1
        mine = sa.select(row).where(row.c.dataset == dataset).order_by(row.c.position)
        while page := [*connection.execute(mine.where(row.c.position > after).limit(PAGE))]:
            yield page
            after = page[-1].position


def _sha(record: str) -> str:
    """Of the line that the row is in a file."""
    body = json.loads(record)["body"]
    line = json.dumps(body, ensure_ascii=False)
    try:
        return sha256(line.encode()).hexdigest()
    except UnicodeEncodeError:
        return sha256(json.dumps(body).encode()).hexdigest()
