"""The first schema: conversation tree, traces, feedback, datasets, jobs, versions, trials."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("method", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
    )
    op.create_table(
        "job",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("dataset", WORDS, nullable=False),
        sa.Column("provider", WORDS, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.create_table(
        "message",
        sa.Column("hash", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_message")),
    )
    op.create_table(
        "toolset",
        sa.Column("hash", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_toolset")),
    )
    op.create_table(
        "trace",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("agent", WORDS, nullable=False),
        sa.Column("user", WORDS, nullable=True),
        sa.Column("session", WORDS, nullable=True),
        sa.Column("task_id", WORDS, nullable=True),
        sa.Column("version", WORDS, nullable=True),
        sa.Column("trial", WORDS, nullable=True),
        sa.Column("arm", sa.String(length=16), nullable=True),
        sa.Column("held_out", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", WORDS, nullable=True),
        sa.Column("tail", sa.String(length=32), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trace")),
    )
    op.create_index(
        op.f("ix_trace_agent_started_at"), "trace", ["agent", "started_at"], unique=False
    )
    op.create_index(op.f("ix_trace_started_at_id"), "trace", ["started_at", "id"], unique=False)
    op.create_index(op.f("ix_trace_task_id"), "trace", ["task_id"], unique=False)
    op.create_index(op.f("ix_trace_trial_arm"), "trace", ["trial", "arm"], unique=False)
    op.create_index(op.f("ix_trace_user"), "trace", ["user"], unique=False)
    op.create_table(
        "trial",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
    )
    op.create_table(
        "version",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("job", WORDS, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version")),
    )
    op.create_table(
        "alias_move",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("agent", WORDS, nullable=False),
        sa.Column("version", WORDS, nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.ForeignKeyConstraint(["version"], ["version.id"], name=op.f("fk_alias_move_version")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_alias_move")),
    )
    op.create_index(op.f("ix_alias_move_agent_seq"), "alias_move", ["agent", "seq"], unique=False)
    op.create_table(
        "dataset_row",
        sa.Column("dataset", WORDS, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["dataset.id"], name=op.f("fk_dataset_row_dataset")),
        sa.PrimaryKeyConstraint("dataset", "position", name=op.f("pk_dataset_row")),
    )
    op.create_table(
        "dataset_trace",
        sa.Column("dataset", WORDS, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("trace_id", WORDS, nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["dataset.id"], name=op.f("fk_dataset_trace_dataset")),
        sa.PrimaryKeyConstraint("dataset", "position", "trace_id", name=op.f("pk_dataset_trace")),
    )
    op.create_index(op.f("ix_dataset_trace_trace_id"), "dataset_trace", ["trace_id"], unique=False)
    op.create_table(
        "node",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("parent", sa.String(length=32), nullable=False),
        sa.Column("message", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["message"], ["message.hash"], name=op.f("fk_node_message")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node")),
    )
    op.create_table(
        "outcome",
        sa.Column("trace_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trace_id"], ["trace.id"], name=op.f("fk_outcome_trace_id")),
        sa.PrimaryKeyConstraint("trace_id", "name", name=op.f("pk_outcome")),
    )
    op.create_table(
        "span",
        sa.Column("trace_id", WORDS, nullable=False),
        sa.Column("id", WORDS, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trace_id"], ["trace.id"], name=op.f("fk_span_trace_id")),
        sa.PrimaryKeyConstraint("trace_id", "id", name=op.f("pk_span")),
    )
    op.create_table(
        "call",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("trace_id", WORDS, nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("agent", WORDS, nullable=False),
        sa.Column("context", sa.String(length=32), nullable=True),
        sa.Column("output", sa.String(length=32), nullable=True),
        sa.Column("toolset", sa.String(length=32), nullable=False),
        sa.Column("model", WORDS, nullable=True),
        sa.Column("version", WORDS, nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["context"], ["node.id"], name=op.f("fk_call_context")),
        sa.ForeignKeyConstraint(["output"], ["node.id"], name=op.f("fk_call_output")),
        sa.ForeignKeyConstraint(["toolset"], ["toolset.hash"], name=op.f("fk_call_toolset")),
        sa.ForeignKeyConstraint(["trace_id"], ["trace.id"], name=op.f("fk_call_trace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call")),
    )
    op.create_index(op.f("ix_call_agent"), "call", ["agent"], unique=False)
    op.create_index(op.f("ix_call_context"), "call", ["context"], unique=False)
    op.create_index(op.f("ix_call_trace_id_index"), "call", ["trace_id", "index"], unique=False)
    op.create_table(
        "opinion",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("trace_id", WORDS, nullable=False),
        sa.Column("call_id", WORDS, nullable=True),
        sa.Column("author", WORDS, nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("node", sa.String(length=32), nullable=True),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["call.id"], name=op.f("fk_opinion_call_id")),
        sa.ForeignKeyConstraint(["node"], ["node.id"], name=op.f("fk_opinion_node")),
        sa.ForeignKeyConstraint(["trace_id"], ["trace.id"], name=op.f("fk_opinion_trace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opinion")),
    )
    op.create_index(op.f("ix_opinion_call_id"), "opinion", ["call_id"], unique=False)
    op.create_index(op.f("ix_opinion_trace_id"), "opinion", ["trace_id"], unique=False)
