"""SQLite: the statements that claim jobs and look for what there is to do."""

from __future__ import annotations

from functools import cache

from sqlalchemy import TextClause, text

from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS

PROMOTE_DUE = """
UPDATE job SET ready = 1 WHERE id IN (
    SELECT id FROM job WHERE ready IS NULL AND gate IS NULL AND due_at <= :now ORDER BY due_at LIMIT 500)
"""

_READY_OF_TYPE = """
SELECT claim_rank, due_at, id, {place} AS place FROM job
WHERE ready = 1 AND job_type = (:terms -> {place} ->> 0)
"""

_SOME_OF_TYPE = f"SELECT * FROM ({_READY_OF_TYPE} ORDER BY claim_rank, due_at, id LIMIT (:terms -> {{place}} ->> 5))"

_CHOOSE_READY = """
WITH nearest AS MATERIALIZED ({nearest})
SELECT json_group_array(json_array(
    job.id, job.fence + 1, job.job_type, job.payload, job.attempts + 1,
    coalesce(job.max_attempts, :terms -> nearest.place ->> 1),
    coalesce(job.timeout_ms, :terms -> nearest.place ->> 2), job.force_kill_on_timeout,
    coalesce(job.retry_delay, :terms -> nearest.place ->> 3), job.retry_backoff, job.retry_delay_max,
    job.crashes, job.interruptions, job.lost_in_row,
    {heartbeat}))
FROM nearest CROSS JOIN job ON job.id = nearest.id
WHERE EXISTS (SELECT 1 FROM node WHERE node.id = :node_id)
"""


# What is taken from the terms costs each row its share, so it is left out where there is nothing to take.
_OF_JOB = "job.heartbeat_timeout_ms"
_OF_TYPE = "coalesce(job.heartbeat_timeout_ms, :terms -> nearest.place ->> 4)"

_LIMBS = 250
"""SQLite allows 500 in one compound SELECT."""


@cache
def choose_ready(types: int, bounded: int, heartbeats: bool) -> TextClause:  # noqa: FBT001 - of a Callable's type
    """One limb for each type, each in the order of the claim index: SQLite merges them and stops at the limit.

    The first `bounded` types give no more than the number at the end of their terms.
    """
    limbs = [(_SOME_OF_TYPE if place < bounded else _READY_OF_TYPE).format(place=place) for place in range(types)]
    while len(limbs) > _LIMBS:
        groups = [limbs[start : start + _LIMBS] for start in range(0, len(limbs), _LIMBS)]
        limbs = [f"SELECT * FROM ({_merged(group)})" for group in groups]
    return text(_CHOOSE_READY.format(nearest=_merged(limbs), heartbeat=_OF_TYPE if heartbeats else _OF_JOB))


def _merged(limbs: list[str]) -> str:
    return f"{' UNION ALL '.join(limbs)} ORDER BY claim_rank, due_at, id LIMIT :limit"


CLAIM_JOBS = """
UPDATE job SET status = 'processing', fence = fence + 1, attempts = attempts + 1,
    max_attempts = coalesce(max_attempts, :max_attempts), timeout_ms = coalesce(timeout_ms, :timeout_ms),
    retry_delay = coalesce(retry_delay, :retry_delay),
    heartbeat_timeout_ms = coalesce(heartbeat_timeout_ms, :heartbeat_timeout_ms), claim_rank = -priority,
    last_retried_at = CASE WHEN attempts > 0 THEN :now ELSE last_retried_at END,
    started_at = coalesce(started_at, :now), locked_at = :now, locked_by = :node_name, node_id = :node_id,
    claim_batch = :batch, updated_at = :now,
    ready = NULL, due_at = NULL, next_attempt_at = NULL, pending_reason = NULL, progress = NULL
WHERE id IN (SELECT value FROM json_each(:ids))
"""

RECORD_PROCESSING = """
INSERT INTO event (type, job_id, fence, attempt, node_id, node_name, at)
SELECT 'processing', id, fence, attempts, node_id, locked_by, :now
FROM job WHERE status = 'processing' AND node_id = :node_id AND claim_batch = :batch
"""

WAITING_GROUPS = """
WITH RECURSIVE waiting (name) AS (
    SELECT min(group_id) FROM job INDEXED BY job_lane_group
    WHERE gate = 'lane' AND group_id IS NOT NULL AND group_id > :after
    UNION ALL
    SELECT (SELECT min(group_id) FROM job INDEXED BY job_lane_group
            WHERE gate = 'lane' AND group_id IS NOT NULL AND group_id > waiting.name)
    FROM waiting WHERE waiting.name IS NOT NULL)
SELECT name FROM waiting WHERE name IS NOT NULL LIMIT :most
"""

OUTLOOK = """
SELECT EXISTS (SELECT 1 FROM control),
       (SELECT min(expires_at) FROM job WHERE expires_at IS NOT NULL AND started_at IS NULL AND ended_at IS NULL),
       (SELECT min(due_at) FROM job WHERE ready IS NULL AND due_at IS NOT NULL AND gate IS NULL)
"""

LOOK = """
SELECT (SELECT min(due_at) FROM job WHERE ready IS NULL AND gate IS NULL AND due_at IS NOT NULL),
       (SELECT min(expires_at) FROM job WHERE expires_at IS NOT NULL AND started_at IS NULL AND ended_at IS NULL),
       EXISTS (SELECT 1 FROM control),
       EXISTS (SELECT 1 FROM node WHERE id = :node_id),
       (SELECT json_group_array(json_array(id, fence, wish, wish_reason))
        FROM job WHERE wish IS NOT NULL AND node_id = :node_id AND +status = 'processing')
"""

_CLAIMED_JOB = f"""
json_array(job.id, job.fence, job.job_type, job.payload, job.attempts,
    coalesce(job.max_attempts, {DEFAULT_MAX_ATTEMPTS}), job.timeout_ms, job.force_kill_on_timeout,
    coalesce(job.retry_delay, {DEFAULT_RETRY_DELAY_SECONDS}), job.retry_backoff, job.retry_delay_max,
    job.crashes, job.interruptions, job.lost_in_row, job.heartbeat_timeout_ms)
"""

JOBS_TO_FREE = f"""
SELECT json_group_array(json_array(job.node_id, job.locked_by, job.wish, job.wish_reason, {_CLAIMED_JOB}))
FROM job INDEXED BY job_node WHERE job.status = 'processing'
  AND NOT EXISTS (SELECT 1 FROM node WHERE node.id = job.node_id)
"""

JOBS_BY_ID = f"""
SELECT json_group_array({_CLAIMED_JOB}) FROM json_each(:ids) AS e CROSS JOIN job ON job.id = e.value
"""
