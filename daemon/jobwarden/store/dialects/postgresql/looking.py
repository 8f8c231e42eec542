"""PostgreSQL: what a node sees when it looks around, and the renewal of its lease. None of it locks a job.

Each subquery reads a partial index that holds nothing else: their conditions are literals, as a bound one would hide
the index from a plan that is kept.
"""

from __future__ import annotations

from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS
from jobwarden.store.dialects.postgresql.sets import IDS, NOW, microseconds

# What is committed, not what is numbered: the newest events that are seen are summed up, because one may come in behind
# another; of one that comes in behind them all, the number of its transaction counts, once none before it is open.
_VERSION = """
(SELECT coalesce(CAST(sum(id) AS bigint), 0) FROM (SELECT id FROM event ORDER BY id DESC LIMIT 200) AS newest)
    + (SELECT coalesce(max(xid), 0) FROM event
       WHERE xid < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint))
    + (SELECT coalesce(CAST(sum(extract(epoch FROM updated_at) * 1000) AS bigint), 0) FROM control)
"""
VERSION = f"SELECT {_VERSION}"

_DUE = microseconds("(SELECT min(due_at) FROM job WHERE ready IS NULL AND due_at IS NOT NULL AND gate IS NULL)")
_EXPIRES = microseconds(
    "(SELECT min(expires_at) FROM job WHERE expires_at IS NOT NULL AND started_at IS NULL AND ended_at IS NULL)"
)
_CONTROLLED = "EXISTS (SELECT FROM control)"
_WISHES = """
(SELECT coalesce(CAST(json_agg(json_build_array(id, fence, wish, wish_reason)) AS text), '[]')
 FROM job WHERE wish IS NOT NULL AND node_id = CAST(:node_id AS text) AND status = 'processing')
"""
_PROCESSING = """
(SELECT coalesce(CAST(json_agg(json_build_array(id, fence)) AS text), '[]')
 FROM job WHERE status = 'processing' AND node_id = CAST(:node_id AS text))
"""

OUTLOOK = f"SELECT {_CONTROLLED}, {_EXPIRES}, {_DUE}"

LOOK = f"""
SELECT {_DUE}, {_EXPIRES}, {_CONTROLLED}, EXISTS (SELECT FROM node WHERE id = CAST(:node_id AS text)), {_WISHES}
"""

RENEW = f"""
WITH own AS (
    UPDATE node SET beat = beat + 1, beat_at = {NOW}, report = coalesce(CAST(:report AS text), report)
    WHERE id = CAST(:node_id AS text) RETURNING id)
SELECT EXISTS (SELECT FROM own),
    (SELECT coalesce(CAST(json_agg(json_build_array(id, beat, lease_seconds)) AS text), '[]') FROM node),
    {_WISHES}, {_PROCESSING}, {_DUE}, {_EXPIRES}, {_VERSION}
"""

# One step over the index for each group: how many waiters it has does not matter.
WAITING_GROUPS = """
WITH RECURSIVE waiting (name) AS (
    (SELECT group_id FROM job WHERE gate = 'lane' AND group_id IS NOT NULL AND group_id > CAST(:after AS text)
     ORDER BY group_id LIMIT 1)
    UNION ALL
    SELECT next.group_id FROM waiting CROSS JOIN LATERAL (
        SELECT group_id FROM job WHERE gate = 'lane' AND group_id IS NOT NULL AND group_id > waiting.name
        ORDER BY group_id LIMIT 1) AS next)
SELECT name FROM waiting LIMIT CAST(:most AS bigint)
"""

_CLAIMED_JOB = f"""
json_build_array(job.id, job.fence, job.job_type, job.payload, job.attempts,
    coalesce(job.max_attempts, {DEFAULT_MAX_ATTEMPTS}), job.timeout_ms, job.force_kill_on_timeout,
    coalesce(job.retry_delay, {DEFAULT_RETRY_DELAY_SECONDS}), job.retry_backoff, job.retry_delay_max,
    job.crashes, job.interruptions, job.lost_in_row, job.heartbeat_timeout_ms)
"""

JOBS_TO_FREE = f"""
SELECT coalesce(CAST(json_agg(
    json_build_array(job.node_id, job.locked_by, job.wish, job.wish_reason, {_CLAIMED_JOB})) AS text), '[]')
FROM job WHERE job.status = 'processing' AND NOT EXISTS (SELECT FROM node WHERE node.id = job.node_id)
"""

JOBS_BY_ID = f"""
SELECT coalesce(CAST(json_agg({_CLAIMED_JOB}) AS text), '[]') FROM job WHERE job.id = ANY (ARRAY{IDS})
"""
