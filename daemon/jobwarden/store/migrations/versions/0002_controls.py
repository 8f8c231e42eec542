"""Gates, controls, tallies: what decides when a job may run, and how many have ended. SQLite's alone, as 0001.

Written out, not taken from `schema.py`: a revision describes the past and never changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INSTANT = sa.BigInteger()
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.String(255)


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.add_column("job", sa.Column("gate", sa.String(16)))
    op.add_column("node", sa.Column("types", sa.Text()))
    _remake_job_indexes()
    _extend_side_tables()
    _make_tables()
    _count_ended_jobs()


def _remake_job_indexes() -> None:
    for name in ("job_claim", "job_due", "job_history"):
        op.drop_index(name, "job")
    for name, columns, where in (
        ("job_claim", ["job_type", "claim_rank", "due_at", "id", "status", "ready"], "ready = 1"),
        (
            "job_due",
            ["due_at", "job_type", "status", "ready", "gate"],
            "ready IS NULL AND due_at IS NOT NULL AND gate IS NULL",
        ),
        ("job_gated", ["gate", "job_type", "status"], "gate IS NOT NULL"),
        ("job_lane_type", ["job_type", "claim_rank", "due_at", "id", "group_id", "gate"], "gate = 'lane'"),
        (
            "job_lane_group",
            ["group_id", "claim_rank", "due_at", "id", "job_type", "gate"],
            "gate = 'lane' AND group_id IS NOT NULL",
        ),
        ("job_group", ["group_id"], "group_id IS NOT NULL AND (ready = 1 OR status = 'processing')"),
        ("job_expiry", ["expires_at"], "expires_at IS NOT NULL AND started_at IS NULL AND ended_at IS NULL"),
        ("job_history", ["status", "ended_at", "id"], "ended_at IS NOT NULL"),
    ):
        op.create_index(name, "job", columns, sqlite_where=sa.text(where))


def _extend_side_tables() -> None:
    op.create_index("key_job", "key", ["job_id"])
    op.create_index("key_expiry", "key", ["expires_at"], sqlite_where=sa.text("expires_at IS NOT NULL"))
    op.add_column("tag", sa.Column("live", sa.Integer(), server_default="1"))
    op.execute("UPDATE tag SET live = NULL WHERE job_id IN (SELECT id FROM job WHERE ended_at IS NOT NULL)")
    op.create_index("tag_live", "tag", ["name", "job_id"], sqlite_where=sa.text("live = 1"))
    # Nothing has written edges yet, and SQLite cannot drop a foreign key.
    op.drop_table("edge")
    op.create_table(
        "edge",
        sa.Column("job_id", _ID, sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("depends_on", _ID, primary_key=True),
        sa.Column("on_failure", sa.String(8), nullable=False, server_default="cancel"),
        sa.Column("settled", sa.Integer()),
        sqlite_with_rowid=False,
    )
    op.create_index("edge_open", "edge", ["depends_on"], sqlite_where=sa.text("settled IS NULL"))
    op.create_index("edge_failed", "edge", ["depends_on"], sqlite_where=sa.text("settled > 1"))


def _make_tables() -> None:
    op.create_table(
        "barrier",
        sa.Column("job_id", _ID, sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("waits_for", _ID, nullable=False),
    )
    op.create_index("barrier_waits_for", "barrier", ["waits_for"])
    op.create_table(
        "control",
        sa.Column("scope", sa.String(8), primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("max_running", sa.Integer()),
        sa.Column("max_per_node", sa.Integer()),
        sa.Column("rate", sa.Integer()),
        sa.Column("rate_seconds", sa.Float()),
        sa.Column("paused_at", _INSTANT),
        sa.Column("paused_until", _INSTANT),
        sa.Column("pause_reason", sa.Text()),
        sa.Column("updated_at", _INSTANT, nullable=False),
    )
    op.create_table(
        "start",
        sa.Column("scope", sa.String(8), primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("slice", sa.BigInteger(), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False),
    )
    op.create_table(
        "tally",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("job_type", _NAME, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "maintenance",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("next_at", _INSTANT, nullable=False),
    )


def _count_ended_jobs() -> None:
    op.execute("""
INSERT INTO tally (job_type, status, number)
SELECT job_type, status, count(*) FROM job WHERE ended_at IS NOT NULL GROUP BY job_type, status
""")


def downgrade() -> None:
    message = "going back to 0001 would lose dependencies and limits; restore a backup instead"
    raise NotImplementedError(message)
