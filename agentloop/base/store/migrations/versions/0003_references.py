"""What is referred to: media, from the messages that carry them, and calls, by the response that a
later call goes on from. What is stored already stays as it is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("call", sa.Column("response", WORDS))
    op.create_index("ix_call_response", "call", ["response"])
    op.create_table(
        "media",
        sa.Column("hash", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_media")),
    )
