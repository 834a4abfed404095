"""Whether a run may be learned from. What is stored already was recorded without a no."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "trace", sa.Column("consent", sa.Boolean(), nullable=False, server_default=sa.true())
    )
