"""The first schema: job, event, node, key, tag, edge, and the view of attempts. SQLite's alone: others begin with 0003.

Written out, not taken from `schema.py`: a revision describes the past and never changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INSTANT = sa.BigInteger()
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.String(255)


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    _make_job()
    _make_event()
    _make_node()
    _make_side_tables()


def downgrade() -> None:
    op.execute("DROP VIEW attempts")
    for table in ("edge", "tag", "key", "node", "event", "job"):
        op.drop_table(table)


def _make_job() -> None:
    op.create_table(
        "job",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("job_type", _NAME, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("run_at", _INSTANT, nullable=False),
        sa.Column("ready", sa.Integer()),
        sa.Column("due_at", _INSTANT),
        sa.Column("claim_rank", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("node_id", sa.String(64)),
        sa.Column("claim_batch", sa.String(64)),
        sa.Column("locked_at", _INSTANT),
        sa.Column("locked_by", _NAME),
        sa.Column("wish", sa.String(16)),
        sa.Column("wish_reason", sa.Text()),
        sa.Column("wish_at", _INSTANT),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("max_attempts", sa.Integer()),
        sa.Column("crashes", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("interruptions", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("lost_in_row", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("timeout_ms", sa.BigInteger()),
        sa.Column("heartbeat_timeout_ms", sa.BigInteger()),
        sa.Column("force_kill_on_timeout", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("retry_delay", sa.Float()),
        sa.Column("retry_backoff", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("retry_delay_max", sa.Float()),
        sa.Column("handler_generation", sa.Integer()),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("started_at", _INSTANT),
        sa.Column("next_attempt_at", _INSTANT),
        sa.Column("completed_at", _INSTANT),
        sa.Column("last_retried_at", _INSTANT),
        sa.Column("last_failed_at", _INSTANT),
        sa.Column("last_cancelled_at", _INSTANT),
        sa.Column("ended_at", _INSTANT),
        sa.Column("wait_until", _INSTANT),
        sa.Column("expires_at", _INSTANT),
        sa.Column("dead_lettered_at", _INSTANT),
        sa.Column("pending_reason", _NAME),
        sa.Column("failure_reason", sa.String(32)),
        sa.Column("progress", sa.Float()),
        sa.Column("group_id", _NAME),
        sa.Column("idempotency_key", _NAME),
        sa.Column("wait_token_id", _NAME),
        sa.Column("dead_letter_job_type", _NAME),
        sa.Column("dead_letter_job_id", sa.BigInteger()),
        sa.Column("depends_on_tags", sa.Text()),
        sa.Column("metadata", sa.Text()),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("step_data", sa.Text()),
        sa.Column("error_history", sa.Text()),
        sa.CheckConstraint("output IS NULL OR json_valid(output)", name="output_is_json").ddl_if(dialect="sqlite"),
        sqlite_autoincrement=True,
    )
    for name, columns, where in (
        ("job_claim", ["job_type", "claim_rank", "due_at", "id"], "ready = 1"),
        ("job_due", ["due_at"], "ready IS NULL AND due_at IS NOT NULL"),
        ("job_node", ["node_id", "claim_batch"], "status = 'processing'"),
        ("job_wish", ["node_id"], "wish IS NOT NULL"),
        ("job_history", ["ended_at", "id"], "ended_at IS NOT NULL"),
    ):
        op.create_index(name, "job", columns, sqlite_where=sa.text(where))
    # Ids are reserved by raising this counter, so its row must be there before the first job.
    op.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('job', 0)")


def _make_event() -> None:
    op.create_table(
        "event",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("fence", sa.BigInteger()),
        sa.Column("attempt", sa.Integer()),
        sa.Column("node_id", sa.String(64)),
        sa.Column("node_name", _NAME),
        sa.Column("worker_pid", sa.Integer()),
        sa.Column("generation", sa.Integer()),
        sa.Column("started_at", _INSTANT),
        sa.Column("ended_at", _INSTANT),
        sa.Column("outcome", sa.String(16)),
        sa.Column("signal", sa.Integer()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("peak_rss_kb", sa.BigInteger()),
        sa.Column("cpu_ms", sa.BigInteger()),
        sa.Column("metadata", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("left_behind", sa.Text()),
        sa.Column("captured", sa.Text()),
        sa.Column("stack_dump", sa.Text()),
        sqlite_autoincrement=True,
    )
    op.create_index("event_job", "event", ["job_id"])
    op.execute("""
CREATE VIEW attempts AS
SELECT id, job_id, fence, attempt, outcome, node_id, node_name, worker_pid, generation, started_at, ended_at,
       signal, exit_code, peak_rss_kb, cpu_ms, error, captured, stack_dump, left_behind
FROM event WHERE outcome IS NOT NULL
""")


def _make_node() -> None:
    op.create_table(
        "node",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("host", _NAME, nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("state_dir", sa.Text(), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("beat_at", _INSTANT, nullable=False),
        sa.Column("lease_seconds", sa.Float(), nullable=False),
        sa.Column("doorbell", sa.Text()),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("report", sa.Text()),
    )


def _make_side_tables() -> None:
    op.create_table(
        "key",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", _INSTANT),
    )
    op.create_table(
        "tag",
        sa.Column("job_id", _ID, sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("tag_name", "tag", ["name", "job_id"])
    op.create_table(
        "edge",
        sa.Column("job_id", _ID, sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("depends_on", _ID, sa.ForeignKey("job.id"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("edge_depends_on", "edge", ["depends_on"])
