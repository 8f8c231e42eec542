"""MariaDB: the statements that claim jobs.

InnoDB locks what it scans, and a claim must neither lock the backlog nor wait for what somebody else is claiming. So
candidates are looked for without locks, in the claim index alone; then they are gone through in their order, each is
locked and looked at again, and locked ones are passed over, until there are enough. An answer longer than
max_allowed_packet would be null: a claim takes payloads of about four megabytes at most, but one job in any case.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import TextClause, text

from jobwarden.store.dialects.mariadb.sets import IDS, JOB, NOW, as_array

PROMOTE_DUE = f"""
UPDATE (SELECT id FROM job FORCE INDEX (job_due)
        WHERE ready IS NULL AND gate IS NULL AND due_at <= {NOW} ORDER BY due_at LIMIT 500
        FOR UPDATE SKIP LOCKED) AS due
{JOB} due.id SET job.ready = 1
"""

_READY_OF_TYPE = """
(SELECT claim_rank, due_at, id, {place} AS place, 0 AS turn FROM job FORCE INDEX (job_claim)
 WHERE ready = 1 AND job_type = :type_{place} ORDER BY claim_rank, due_at, id LIMIT :near)
"""

_SOME_OF_TYPE = f"""
(SELECT claim_rank, due_at, id, place, row_number() OVER (ORDER BY claim_rank, due_at, id) AS turn
 FROM {_READY_OF_TYPE} AS all_{{place}})
"""

_TERMS = """
JSON_TABLE(:terms, '$[*]' COLUMNS (place FOR ORDINALITY, max_attempts BIGINT PATH '$[1]', timeout_ms BIGINT PATH '$[2]',
    retry_delay DOUBLE PATH '$[3]', heartbeat_timeout_ms BIGINT PATH '$[4]', room BIGINT PATH '$[5]')) AS terms
"""

_NEAREST = f"""
SELECT limbs.claim_rank, limbs.due_at, limbs.id, limbs.place
FROM ({{limbs}}) AS limbs STRAIGHT_JOIN {_TERMS} ON terms.place = limbs.place + 1
WHERE terms.room IS NULL OR limbs.turn <= terms.room
ORDER BY limbs.claim_rank, limbs.due_at, limbs.id LIMIT :near
"""

_LARGEST = 4 * 1024 * 1024
"""Bytes of payload in one claim."""

_CHOOSE_READY = f"""
SELECT {as_array("JSON_ARRAY({fields})", order="taken.claim_rank, taken.due_at, taken.id")}
FROM (
    SELECT chosen.*,
        sum(octet_length(payload)) OVER (ORDER BY claim_rank, due_at, id ROWS UNBOUNDED PRECEDING)
            - octet_length(payload) AS bytes_before
    FROM (
        SELECT job.id, job.fence, job.job_type, job.payload, job.attempts, job.max_attempts, job.timeout_ms,
            job.force_kill_on_timeout, job.retry_delay, job.retry_backoff, job.retry_delay_max, job.crashes,
            job.interruptions, job.lost_in_row, job.heartbeat_timeout_ms, job.claim_rank, job.due_at, nearest.place
        FROM ({{nearest}}) AS nearest {JOB} nearest.id
        WHERE job.ready = 1
          AND EXISTS (SELECT 1 FROM node FORCE INDEX (node_held) WHERE node.id = :node_id LOCK IN SHARE MODE)
        LIMIT :limit FOR UPDATE SKIP LOCKED) AS chosen) AS taken
STRAIGHT_JOIN {_TERMS} ON terms.place = taken.place + 1
WHERE taken.bytes_before < {_LARGEST}
"""

_FIELDS = """
    taken.id, taken.fence + 1, taken.job_type, taken.payload, taken.attempts + 1,
    coalesce(taken.max_attempts, terms.max_attempts), coalesce(taken.timeout_ms, terms.timeout_ms),
    taken.force_kill_on_timeout, coalesce(taken.retry_delay, terms.retry_delay), taken.retry_backoff,
    taken.retry_delay_max, taken.crashes, taken.interruptions, taken.lost_in_row,
    coalesce(taken.heartbeat_timeout_ms, terms.heartbeat_timeout_ms)
"""


@cache
def choose_ready(types: int, bounded: int, heartbeats: bool) -> TextClause:  # noqa: ARG001, FBT001 - of a Callable's type
    """One limb for each type, the first of the claim index; the first `bounded` give no more than their terms say."""
    limbs = [(_SOME_OF_TYPE if place < bounded else _READY_OF_TYPE).format(place=place) for place in range(types)]
    return text(_CHOOSE_READY.format(nearest=_NEAREST.format(limbs=" UNION ALL ".join(limbs)), fields=_FIELDS))


CLAIM_JOBS = f"""
UPDATE {IDS} AS e {JOB} e.id
SET job.last_retried_at = CASE WHEN job.attempts > 0 THEN {NOW} ELSE job.last_retried_at END,
    job.status = 'processing', job.fence = job.fence + 1, job.attempts = job.attempts + 1,
    job.max_attempts = coalesce(job.max_attempts, :max_attempts),
    job.timeout_ms = coalesce(job.timeout_ms, :timeout_ms),
    job.retry_delay = coalesce(job.retry_delay, :retry_delay),
    job.heartbeat_timeout_ms = coalesce(job.heartbeat_timeout_ms, :heartbeat_timeout_ms),
    job.claim_rank = -job.priority,
    job.started_at = coalesce(job.started_at, {NOW}), job.locked_at = {NOW}, job.locked_by = :node_name,
    job.node_id = :node_id, job.claim_batch = :batch, job.updated_at = {NOW},
    job.ready = NULL, job.due_at = NULL, job.next_attempt_at = NULL, job.pending_reason = NULL, job.progress = NULL
"""

RECORD_PROCESSING = f"""
INSERT INTO event (type, job_id, fence, attempt, node_id, node_name, at)
SELECT 'processing', id, fence, attempts, node_id, locked_by, {NOW} FROM job FORCE INDEX (job_node)
WHERE status = 'processing' AND node_id = :node_id AND claim_batch = :batch
"""

WAITING_GROUPS = """
SELECT group_id FROM job FORCE INDEX (job_lane_group)
WHERE gate = 'lane' AND group_id > :after
GROUP BY group_id ORDER BY group_id LIMIT :most
"""
