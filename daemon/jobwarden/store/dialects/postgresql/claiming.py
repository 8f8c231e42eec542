"""PostgreSQL: the claim, in one statement and so in one round trip.

What it relies on: `nearest` merges one limb per type, each in the order of the index job_claim, and is read no further
than needed. For each of its rows, one at a time, `held` finds the job by its id (`+ 0` hides the other indexes), locks
it and looks at its newest version; rows that somebody else has locked are passed over. `chosen` is materialized: a plan
that ran it twice would lock, and take, more than was asked for. `own` is locked against being buried and evaluated
before anything is chosen.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import TextClause, text

from jobwarden.store.dialects.postgresql.sets import IDS, NOW

PROMOTE_DUE = f"""
UPDATE job SET ready = 1 WHERE id = ANY (ARRAY(
    SELECT id FROM job WHERE ready IS NULL AND due_at IS NOT NULL AND gate IS NULL AND due_at <= {NOW}
    ORDER BY due_at LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED))
"""

_READY_OF_TYPE = """
SELECT claim_rank, due_at, id, job_type, {place} AS place FROM job
WHERE ready = 1 AND job_type = (SELECT v -> {place} ->> 0 FROM terms)
"""

_SOME_OF_TYPE = f"""
(SELECT * FROM ({_READY_OF_TYPE} ORDER BY claim_rank, due_at, id
                LIMIT (SELECT CAST(v -> {{place}} ->> 5 AS bigint) FROM terms)) AS first)
"""

_CHOSEN = """
WITH terms AS MATERIALIZED (SELECT CAST(:terms AS jsonb) AS v),
own AS MATERIALIZED (SELECT id FROM node WHERE id = CAST(:node_id AS text) FOR KEY SHARE),
chosen AS MATERIALIZED (
    SELECT held.id, nearest.claim_rank, nearest.due_at, nearest.place
    FROM (SELECT * FROM ({nearest}) AS limbs ORDER BY claim_rank, due_at, id) AS nearest
    CROSS JOIN LATERAL (
        SELECT job.id FROM job WHERE job.id = nearest.id AND job.ready + 0 = 1 AND job.job_type = nearest.job_type
        FOR NO KEY UPDATE SKIP LOCKED) AS held
    WHERE EXISTS (SELECT FROM own)
    ORDER BY nearest.claim_rank, nearest.due_at, nearest.id LIMIT CAST(:limit AS bigint)),
known AS MATERIALIZED (
    SELECT chosen.*, CAST(v -> place ->> 1 AS integer) AS max_attempts, CAST(v -> place ->> 2 AS bigint) AS timeout_ms,
           CAST(v -> place ->> 3 AS double precision) AS retry_delay,
           CAST(v -> place ->> 4 AS bigint) AS heartbeat_timeout_ms
    FROM chosen CROSS JOIN terms)
"""

_CHANGES = """
status = 'processing', fence = job.fence + 1, attempts = job.attempts + 1,
    max_attempts = coalesce(job.max_attempts, {terms}max_attempts),
    timeout_ms = coalesce(job.timeout_ms, {terms}timeout_ms),
    retry_delay = coalesce(job.retry_delay, {terms}retry_delay),
    heartbeat_timeout_ms = coalesce(job.heartbeat_timeout_ms, {terms}heartbeat_timeout_ms),
    claim_rank = -job.priority,
    last_retried_at = CASE WHEN job.attempts > 0 THEN {now} ELSE job.last_retried_at END,
    started_at = coalesce(job.started_at, {now}), locked_at = {now}, locked_by = CAST(:node_name AS text),
    node_id = CAST(:node_id AS text), claim_batch = CAST(:batch AS text), updated_at = {now},
    ready = NULL, due_at = NULL, next_attempt_at = NULL, pending_reason = NULL, progress = NULL
"""

_TAKE_READY = (
    _CHOSEN
    + f""",
taken AS (
    UPDATE job SET {_CHANGES.format(now=NOW, terms="known.").strip()}
    FROM known WHERE job.id = ANY (ARRAY[known.id])
    RETURNING job.id, job.fence, job.job_type, job.payload, job.attempts, job.max_attempts, job.timeout_ms,
        job.force_kill_on_timeout, job.retry_delay, job.retry_backoff, job.retry_delay_max, job.crashes,
        job.interruptions, job.lost_in_row, job.heartbeat_timeout_ms, known.claim_rank, known.due_at),
noted AS (
    INSERT INTO event (type, job_id, fence, attempt, node_id, node_name, at)
    SELECT 'processing', id, fence, attempts, CAST(:node_id AS text), CAST(:node_name AS text), {NOW} FROM taken)
SELECT coalesce(CAST(json_agg(json_build_array(
    id, fence, job_type, payload, attempts, max_attempts, timeout_ms, force_kill_on_timeout, retry_delay,
    retry_backoff, retry_delay_max, crashes, interruptions, lost_in_row, heartbeat_timeout_ms)
    ORDER BY claim_rank, due_at, id) AS text), '[]') FROM taken
"""
)

_CHOOSE_READY = (
    _CHOSEN
    + """
SELECT coalesce(CAST(json_agg(json_build_array(
    job.id, job.fence + 1, job.job_type, job.payload, job.attempts + 1,
    coalesce(job.max_attempts, known.max_attempts), coalesce(job.timeout_ms, known.timeout_ms),
    job.force_kill_on_timeout, coalesce(job.retry_delay, known.retry_delay), job.retry_backoff, job.retry_delay_max,
    job.crashes, job.interruptions, job.lost_in_row, coalesce(job.heartbeat_timeout_ms, known.heartbeat_timeout_ms))
    ORDER BY known.claim_rank, known.due_at, known.id) AS text), '[]')
FROM known JOIN job ON job.id = ANY (ARRAY[known.id])
"""
)


@cache
def take_ready(types: int, bounded: int, heartbeats: bool) -> TextClause:  # noqa: ARG001, FBT001 - of a Callable's type
    """Choose, take and record. The first `bounded` types give no more than the number at the end of their terms."""
    return text(_TAKE_READY.format(nearest=_nearest(types, bounded)))


@cache
def choose_ready(types: int, bounded: int, heartbeats: bool) -> TextClause:  # noqa: ARG001, FBT001 - as above
    """Choose and lock alone: whoever counts tokens takes some of them with `CLAIM_JOBS`."""
    return text(_CHOOSE_READY.format(nearest=_nearest(types, bounded)))


def _nearest(types: int, bounded: int) -> str:
    limbs = [(_SOME_OF_TYPE if place < bounded else _READY_OF_TYPE).format(place=place) for place in range(types)]
    return " UNION ALL ".join(limbs)


# What a statement's type says is bound here: one statement for each type.
_BOUND = {
    "max_attempts": "integer",
    "timeout_ms": "bigint",
    "retry_delay": "double precision",
    "heartbeat_timeout_ms": "bigint",
}

CLAIM_JOBS = f"""
UPDATE job SET {_CHANGES.format(now=NOW, terms="terms.").strip()}
FROM (SELECT {", ".join(f"CAST(:{name} AS {kind}) AS {name}" for name, kind in _BOUND.items())}) AS terms
WHERE job.id = ANY (ARRAY{IDS})
"""

RECORD_PROCESSING = f"""
INSERT INTO event (type, job_id, fence, attempt, node_id, node_name, at)
SELECT 'processing', id, fence, attempts, node_id, locked_by, {NOW}
FROM job WHERE status = 'processing' AND node_id = CAST(:node_id AS text) AND claim_batch = CAST(:batch AS text)
ORDER BY id + 0
"""
