"""The tables, and each index with the statement that it serves.

Times are `Instant` (moments.py): integers of wall microseconds on the Python side, whatever a database keeps. Small
columns come before long ones, so that looking at a row does not follow its payload's overflow pages. Identifiers
compare bytewise. Nothing here is executed: `migrations/` makes the tables, and a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    text,
)

from jobwarden.store.moments import Instant

metadata = MetaData()


def where(condition: TextClause) -> dict[str, Any]:
    """The condition of a partial index, for the databases that have such; elsewhere the index is full."""
    return {"sqlite_where": condition, "postgresql_where": condition}


Id = BigInteger().with_variant(Integer, "sqlite")
"""64 bits everywhere; SQLite numbers rows by itself only under the name INTEGER."""

Name = String(255)

job = Table(
    "job",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_type", Name, nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("run_at", Instant, nullable=False),
    # What may run now (design section 5); derived by `readiness` alone.
    Column("ready", Integer),
    Column("due_at", Instant),
    Column("claim_rank", Integer, nullable=False),
    # Who has it.
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("node_id", String(64)),
    Column("claim_batch", String(64)),
    Column("locked_at", Instant),
    Column("locked_by", Name),
    Column("wish", String(16)),
    Column("wish_reason", Text),
    Column("wish_at", Instant),
    # How often it was tried, and how often it may be.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("interruptions", Integer, nullable=False, server_default="0"),
    Column("lost_in_row", Integer, nullable=False, server_default="0"),
    Column("timeout_ms", BigInteger),
    Column("heartbeat_timeout_ms", BigInteger),
    Column("force_kill_on_timeout", Integer, nullable=False, server_default="0"),
    Column("retry_delay", Float),
    Column("retry_backoff", Integer, nullable=False, server_default="1"),
    Column("retry_delay_max", Float),
    Column("handler_generation", Integer),
    # When what happened last.
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("next_attempt_at", Instant),
    Column("completed_at", Instant),
    Column("last_retried_at", Instant),
    Column("last_failed_at", Instant),
    Column("last_cancelled_at", Instant),
    Column("ended_at", Instant),
    Column("wait_until", Instant),
    Column("expires_at", Instant),
    Column("dead_lettered_at", Instant),
    # Labels.
    Column("pending_reason", Name),
    Column("failure_reason", String(32)),
    Column("progress", Float),
    Column("group_id", Name),
    Column("idempotency_key", Name),
    Column("wait_token_id", Name),
    Column("dead_letter_job_type", Name),
    Column("dead_letter_job_id", BigInteger),
    # JSON, as text.
    Column("depends_on_tags", Text),
    Column("metadata", Text),
    Column("payload", Text, nullable=False),
    Column("output", Text),
    Column("step_data", Text),
    Column("error_history", Text),
    # What other than time is missing before it may run: a `Gate` (readiness.py), or null.
    Column("gate", String(16)),
    CheckConstraint("output IS NULL OR json_valid(output)", name="output_is_json").ddl_if(dialect="sqlite"),
    sqlite_autoincrement=True,
)

_READY = text("ready = 1")
_TIMED = text("ready IS NULL AND due_at IS NOT NULL AND gate IS NULL")
_GATED = text("gate IS NOT NULL")
_IN_LANE = text("gate = 'lane'")
_IN_LANE_OF_GROUP = text("gate = 'lane' AND group_id IS NOT NULL")
_GROUPED = text("group_id IS NOT NULL AND (ready = 1 OR status = 'processing')")
_EXPIRING = text("expires_at IS NOT NULL AND started_at IS NULL AND ended_at IS NULL")
_RUNNING = text("status = 'processing'")
_WISHED = text("wish IS NOT NULL")
_ENDED = text("ended_at IS NOT NULL")

# The only two that hold ended jobs are the key and job_history (R18).
# The columns of the condition stand in the index too: SQLite looks at them again, and would fetch each row for it.
Index(
    "job_claim",
    job.c.job_type,
    job.c.claim_rank,
    job.c.due_at,
    job.c.id,
    job.c.status,
    job.c.ready,
    **where(_READY),
)
"""Serves `choose_ready`: the first rows of each served type, read from the index alone. With the status, counts."""
Index("job_due", job.c.due_at, job.c.job_type, job.c.status, job.c.ready, job.c.gate, **where(_TIMED))
"""Serves `promote_due` and the next due time in `look`; with the other columns, counts."""
Index("job_gated", job.c.gate, job.c.job_type, job.c.status, **where(_GATED))
"""Serves counts, and the repair pass over what waits for something other than time."""
_NEXT = (job.c.claim_rank, job.c.due_at, job.c.id)
Index("job_lane_type", job.c.job_type, *_NEXT, job.c.group_id, job.c.gate, **where(_IN_LANE))
"""Serves the next of a limited type (lanes); waiters of full groups are looked past in the index alone."""
Index("job_lane_group", job.c.group_id, *_NEXT, job.c.job_type, job.c.gate, **where(_IN_LANE_OF_GROUP))
"""Serves the next of a limited group (lanes), and which groups have waiters."""
Index("job_group", job.c.group_id, **where(_GROUPED))
"""Serves the count of a group's jobs that are ready or running (lanes)."""
Index("job_node", job.c.node_id, job.c.claim_batch, **where(_RUNNING))
"""Serves `processing_of`, `running` and the freeing of dead nodes' jobs."""
Index("job_wish", job.c.node_id, **where(_WISHED))
"""Serves the wishes in `look`, and `obey_wishes`."""
Index("job_expiry", job.c.expires_at, **where(_EXPIRING))
"""Serves the expiry of jobs that were not started in time."""
Index("job_history", job.c.status, job.c.ended_at, job.c.id, **where(_ENDED))
"""Serves history and retention, each status by its own age."""

event = Table(
    "event",
    metadata,
    Column("id", Id, primary_key=True),
    # No foreign key: retention deletes by range (R18).
    Column("job_id", BigInteger, nullable=False),
    Column("type", String(16), nullable=False),
    Column("at", Instant, nullable=False),
    # The attempt that this event is about; with an outcome, the row *is* the attempt.
    Column("fence", BigInteger),
    Column("attempt", Integer),
    Column("node_id", String(64)),
    Column("node_name", Name),
    Column("worker_pid", Integer),
    Column("generation", Integer),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("outcome", String(16)),
    Column("signal", Integer),
    Column("exit_code", Integer),
    Column("peak_rss_kb", BigInteger),
    Column("cpu_ms", BigInteger),
    Column("metadata", Text),
    Column("error", Text),
    Column("left_behind", Text),
    Column("captured", Text),
    Column("stack_dump", Text),
    sqlite_autoincrement=True,
)
Index("event_job", event.c.job_id)
"""Serves the events and attempts of one job, and the replacing of its latest progress event."""

ATTEMPTS_VIEW = """
CREATE VIEW attempts AS
SELECT id, job_id, fence, attempt, outcome, node_id, node_name, worker_pid, generation, started_at, ended_at,
       signal, exit_code, peak_rss_kb, cpu_ms, error, captured, stack_dump, left_behind
FROM event WHERE outcome IS NOT NULL
"""

node = Table(
    "node",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Name, nullable=False),
    Column("host", Name, nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("state_dir", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("beat_at", Instant, nullable=False),
    Column("lease_seconds", Float, nullable=False),
    Column("doorbell", Text),
    Column("version", String(64), nullable=False),
    Column("report", Text),
    # JSON: one object per job type that it serves, see `work.ServedType`.
    Column("types", Text),
    # Device and inode of the locked file in the state directory: with the boot id, no two living daemons share them.
    Column("state_lock", String(64)),
)

# Rows of the three below are written only for jobs that have them.
key = Table(
    "key",
    metadata,
    Column("name", Name, primary_key=True),
    # No foreign key: the upsert decides who holds the key before the job is inserted.
    Column("job_id", BigInteger, nullable=False),
    # Its own time to live; null holds until the job has ended and a while longer.
    Column("expires_at", Instant),
)
Index("key_job", key.c.job_id)
"""Serves the removal of jobs."""
Index("key_expiry", key.c.expires_at, **where(text("expires_at IS NOT NULL")))
"""Serves the removal of keys whose own time is over."""

tag = Table(
    "tag",
    metadata,
    Column("job_id", Id, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("position", Integer, nullable=False),
    # 1 until the job has ended, then null.
    Column("live", Integer, server_default="1"),
    sqlite_with_rowid=False,
)
Index("tag_name", tag.c.name, tag.c.job_id)
"""Serves `find` by tags."""
Index("tag_live", tag.c.name, tag.c.job_id, **where(text("live = 1")))
"""Serves barriers: the jobs with a tag that have not ended."""

edge = Table(
    "edge",
    metadata,
    Column("job_id", Id, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    # No foreign key: history keeps the number of a prerequisite that was removed.
    Column("depends_on", Id, primary_key=True),
    # What happens to job_id if the prerequisite ends failed or cancelled: cancel, run or fail.
    Column("on_failure", String(8), nullable=False, server_default="cancel"),
    Column("settled", Integer),
    sqlite_with_rowid=False,
)
Index("edge_open", edge.c.depends_on, **where(text("settled IS NULL")))
"""Serves the settling of dependents when their prerequisite ends."""
Index("edge_failed", edge.c.depends_on, **where(text("settled > 1")))
"""Serves the revival of what ended because of a job (`edges.MISSED`, `edges.GAVE_UP`); holds nothing else."""

barrier = Table(
    "barrier",
    metadata,
    Column("job_id", Id, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    # The last earlier job that has not ended and carries all the tags; looked up again when that one ends.
    Column("waits_for", Id, nullable=False),
)
Index("barrier_waits_for", barrier.c.waits_for)
"""Serves the opening of barriers when a tagged job ends."""

control = Table(
    "control",
    metadata,
    # all, type or group; the name of `all` is *, and group * is for groups without a row of their own.
    Column("scope", String(8), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("max_running", Integer),
    Column("max_per_node", Integer),
    Column("rate", Integer),
    Column("rate_seconds", Float),
    Column("paused_at", Instant),
    Column("paused_until", Instant),
    Column("pause_reason", Text),
    Column("updated_at", Instant, nullable=False),
)

start = Table(
    "start",
    metadata,
    # How many jobs of a rate-limited type or group were started in which slice of time (`jobs.rate`).
    Column("scope", String(8), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("slice", BigInteger, primary_key=True),
    Column("number", Integer, nullable=False),
)

tally = Table(
    "tally",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_type", Name, nullable=False),
    # completed, failed or cancelled: ended jobs only; others are counted where they stand.
    Column("status", String(16), nullable=False),
    # What a transaction added or took away; maintenance folds the rows of a type and status into one.
    Column("number", BigInteger, nullable=False),
)

secret_field = Table(
    "secret_field", metadata, Column("job_type", Name, primary_key=True), Column("name", Name, primary_key=True)
)

maintenance = Table(
    "maintenance",
    metadata,
    Column("name", String(32), primary_key=True),
    # `round`: whoever moves it on does this round. `lanes` is only locked, by whoever adjusts these.
    Column("next_at", Instant, nullable=False),
)
