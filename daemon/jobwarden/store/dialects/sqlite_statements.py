"""The statements of SQLite: json_each over one array, UPDATE ... FROM, json_group_array back.

Status values are literals, because a bound one would hide the partial indexes from the planner; CROSS JOIN fixes
the order in which tables are visited. An INSERT begins with INSERT, not WITH, or sqlite3 reports no row count.
The lines marked `guard` are the fence: a test fails for each that is missing.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import TextClause, text

from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS
from jobwarden.store.statements import Statements

_INSERT_JOBS = """
INSERT INTO job (id, job_type, payload, priority, claim_rank, run_at, ready, due_at, timeout_ms, max_attempts,
                 force_kill_on_timeout, retry_delay, retry_backoff, retry_delay_max, idempotency_key, metadata,
                 status, created_at, updated_at)
SELECT e.value ->> 0, e.value ->> 1, e.value ->> 2, e.value ->> 3, e.value ->> 4, e.value ->> 5, e.value ->> 6,
       e.value ->> 7, e.value ->> 8, e.value ->> 9, e.value ->> 10, e.value ->> 11, e.value ->> 12, e.value ->> 13,
       e.value ->> 14, e.value ->> 15, 'pending', :now, :now
FROM json_each(:entries) AS e
"""

_HOLD_KEYS = """
INSERT INTO "key" (name, job_id, expires_at)
SELECT e.value ->> 0, e.value ->> 1, NULL FROM json_each(:entries) AS e WHERE true
ON CONFLICT (name) DO UPDATE SET job_id = excluded.job_id, expires_at = excluded.expires_at
WHERE CASE WHEN "key".expires_at IS NOT NULL THEN "key".expires_at <= :now
      ELSE NOT EXISTS (SELECT 1 FROM job
                       WHERE job.id = "key".job_id AND (job.ended_at IS NULL OR job.ended_at > :held_since)) END
"""

_RECORD_COMPLETIONS = """
INSERT INTO event (type, outcome, job_id, fence, attempt, node_id, node_name, at, worker_pid, generation,
                   started_at, ended_at, peak_rss_kb, cpu_ms, captured, left_behind)
SELECT 'completed', 'succeeded', job.id, job.fence, job.attempts, job.node_id, job.locked_by,
       e.value ->> 2, e.value ->> 4, e.value ->> 5, coalesce(e.value ->> 6, job.locked_at),
       coalesce(e.value ->> 7, e.value ->> 2), e.value ->> 8, e.value ->> 9, e.value ->> 10, e.value ->> 11
FROM json_each(:entries) AS e CROSS JOIN job ON job.id = e.value ->> 0
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.value ->> 1 -- guard
"""

_COMPLETE_JOBS = """
UPDATE job SET status = 'completed', completed_at = e.value ->> 2, ended_at = e.value ->> 2,
    updated_at = e.value ->> 2, output = e.value ->> 3,
    progress = CASE WHEN job.progress IS NOT NULL THEN 100 END,
    node_id = NULL, claim_batch = NULL, locked_at = NULL, locked_by = NULL,
    wish = NULL, wish_reason = NULL, wish_at = NULL
FROM json_each(:entries) AS e
WHERE job.id = e.value ->> 0 AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.value ->> 1 -- guard
"""

_RECORD_ENDINGS = """
INSERT INTO event (type, outcome, metadata, job_id, fence, attempt, node_id, node_name, at, worker_pid, generation,
                   started_at, ended_at, peak_rss_kb, cpu_ms, captured, left_behind, signal, exit_code, error,
                   stack_dump)
SELECT e.value ->> 14, e.value ->> 12, e.value ->> 15, job.id, job.fence, job.attempts, job.node_id, job.locked_by,
       e.value ->> 2, e.value ->> 4, e.value ->> 5, coalesce(e.value ->> 6, job.locked_at),
       coalesce(e.value ->> 7, e.value ->> 2), e.value ->> 8, e.value ->> 9, e.value ->> 10, e.value ->> 11,
       e.value ->> 16, e.value ->> 17, e.value ->> 18, e.value ->> 19
FROM json_each(:entries) AS e CROSS JOIN job ON job.id = e.value ->> 0
WHERE job.status = 'processing' AND job.node_id IS :node_id
  AND job.fence = e.value ->> 1 -- guard
"""

_END_JOBS = """
UPDATE job SET status = e.value ->> 13, updated_at = e.value ->> 2, output = e.value ->> 3,
    ready = e.value ->> 20, due_at = e.value ->> 21, next_attempt_at = e.value ->> 22,
    failure_reason = coalesce(e.value ->> 23, job.failure_reason), pending_reason = e.value ->> 24,
    attempts = e.value ->> 25, crashes = e.value ->> 26, interruptions = e.value ->> 27,
    lost_in_row = e.value ->> 28, fence = job.fence + (e.value ->> 29), ended_at = e.value ->> 30,
    error_history = CASE WHEN e.value ->> 31 IS NULL THEN job.error_history
                    ELSE json_insert(coalesce(job.error_history, '[]'), '$[#]', json(e.value ->> 31)) END,
    completed_at = CASE WHEN e.value ->> 13 = 'completed' THEN e.value ->> 2 END,
    last_failed_at = CASE WHEN e.value ->> 13 = 'failed' THEN e.value ->> 2 ELSE job.last_failed_at END,
    last_cancelled_at = CASE WHEN e.value ->> 13 = 'cancelled' THEN e.value ->> 2 ELSE job.last_cancelled_at END,
    node_id = NULL, claim_batch = NULL, locked_at = NULL, locked_by = NULL,
    wish = CASE WHEN e.value ->> 30 IS NULL AND job.wish = 'cancel' THEN 'cancel' END
FROM json_each(:entries) AS e
WHERE job.id = e.value ->> 0 AND +job.status = 'processing' AND +job.node_id IS :node_id
  AND job.fence = e.value ->> 1 -- guard
"""

_ACCEPTED_ENDS = """
SELECT json_group_array(job_id) FROM event WHERE id > :floor AND outcome IS NOT NULL
"""

_SETTLED = """
SELECT json_group_array(job.id) FROM json_each(:entries) AS e CROSS JOIN job ON job.id = e.value ->> 0
WHERE job.status <> 'processing'
  AND job.fence = e.value ->> 1 -- guard
"""

_NOTE_PROGRESS = """
UPDATE job SET progress = e.value ->> 2, updated_at = :now FROM json_each(:entries) AS e
WHERE job.id = e.value ->> 0 AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.value ->> 1 -- guard
RETURNING id
"""

_DROP_PROGRESS_EVENTS = """
DELETE FROM event WHERE id IN (
    SELECT older.id FROM json_each(:entries) AS e
    CROSS JOIN job ON job.id = e.value ->> 0
    CROSS JOIN event AS older ON older.job_id = job.id AND older.type = 'progress'
    WHERE job.status = 'processing' AND job.node_id = :node_id
      AND job.fence = e.value ->> 1 -- guard
)
"""

_RECORD_PROGRESS = """
INSERT INTO event (type, metadata, job_id, fence, attempt, node_id, node_name, at)
SELECT 'progress', json_object('percent', e.value ->> 2), job.id, job.fence, job.attempts, job.node_id,
       job.locked_by, :now
FROM json_each(:entries) AS e CROSS JOIN job ON job.id = e.value ->> 0
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.value ->> 1 -- guard
"""

_GIVE_BACK = """
UPDATE job SET status = 'pending', attempts = job.attempts - 1, fence = job.fence + 1, ready = 1,
    due_at = job.run_at, started_at = CASE WHEN job.attempts > 1 THEN job.started_at END,
    node_id = NULL, claim_batch = NULL, locked_at = NULL, locked_by = NULL, updated_at = :now,
    wish = CASE WHEN job.wish = 'cancel' THEN 'cancel' END
FROM json_each(:entries) AS e
WHERE job.id = e.value ->> 0 AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.value ->> 1 -- guard
RETURNING id
"""

_WISHED_CANCELLED = """
wish = 'cancel' AND (status IN ('pending', 'waiting') OR (status = 'failed' AND next_attempt_at IS NOT NULL))
"""

_RECORD_OBEYED_WISHES = f"""
INSERT INTO event (job_id, type, at, metadata)
SELECT id, 'cancelled', :now, CASE WHEN wish_reason IS NOT NULL THEN json_object('reason', wish_reason) END
FROM job INDEXED BY job_wish WHERE {_WISHED_CANCELLED}
"""

_OBEY_WISHES = f"""
UPDATE job INDEXED BY job_wish SET status = 'cancelled', failure_reason = 'cancelled', last_cancelled_at = :now,
    ended_at = :now, updated_at = :now, ready = NULL, due_at = NULL, next_attempt_at = NULL, pending_reason = NULL,
    wish = NULL
WHERE {_WISHED_CANCELLED}
"""

_PROMOTE_DUE = """
UPDATE job SET ready = 1 WHERE id IN (
    SELECT id FROM job WHERE ready IS NULL AND due_at <= :now ORDER BY due_at LIMIT 500)
"""

_READY_OF_TYPE = """
SELECT claim_rank, due_at, id, {place} AS place FROM job
WHERE ready = 1 AND job_type = (:terms -> {place} ->> 0)
"""

_CHOOSE_READY = """
WITH nearest AS MATERIALIZED ({ready_of_types} ORDER BY claim_rank, due_at, id LIMIT :limit)
SELECT json_group_array(json_array(
    job.id, job.fence + 1, job.job_type, job.payload, job.attempts + 1,
    coalesce(job.max_attempts, :terms -> nearest.place ->> 2, {max_attempts}),
    coalesce(job.timeout_ms, :terms -> nearest.place ->> 1),
    job.force_kill_on_timeout,
    coalesce(job.retry_delay, :terms -> nearest.place ->> 3, {retry_delay}),
    job.retry_backoff, job.retry_delay_max, job.crashes, job.interruptions, job.lost_in_row))
FROM nearest CROSS JOIN job ON job.id = nearest.id
WHERE EXISTS (SELECT 1 FROM node WHERE node.id = :node_id)
"""

_CLAIM_JOBS = """
UPDATE job SET status = 'processing', fence = e.value ->> 1, attempts = e.value ->> 2,
    max_attempts = e.value ->> 3, timeout_ms = e.value ->> 4, retry_delay = e.value ->> 5,
    last_retried_at = CASE WHEN job.attempts > 0 THEN :now ELSE job.last_retried_at END,
    started_at = coalesce(job.started_at, :now), locked_at = :now, locked_by = :node_name, node_id = :node_id,
    claim_batch = :batch, updated_at = :now,
    ready = NULL, due_at = NULL, next_attempt_at = NULL, pending_reason = NULL, progress = NULL
FROM json_each(:entries) AS e WHERE job.id = e.value ->> 0
"""

_RECORD_PROCESSING = """
INSERT INTO event (type, job_id, fence, attempt, node_id, node_name, at)
SELECT 'processing', e.value ->> 0, e.value ->> 1, e.value ->> 2, :node_id, :node_name, :now
FROM json_each(:entries) AS e
"""

_LOOK = """
SELECT (SELECT min(due_at) FROM job WHERE ready IS NULL AND due_at IS NOT NULL),
       EXISTS (SELECT 1 FROM node WHERE id = :node_id),
       (SELECT json_group_array(json_array(id, fence, wish, wish_reason))
        FROM job WHERE wish IS NOT NULL AND node_id = :node_id AND +status = 'processing')
"""

_CLAIMED_JOB = f"""
json_array(job.id, job.fence, job.job_type, job.payload, job.attempts,
    coalesce(job.max_attempts, {DEFAULT_MAX_ATTEMPTS}), job.timeout_ms, job.force_kill_on_timeout,
    coalesce(job.retry_delay, {DEFAULT_RETRY_DELAY_SECONDS}), job.retry_backoff, job.retry_delay_max,
    job.crashes, job.interruptions, job.lost_in_row)
"""

_JOBS_TO_FREE = f"""
SELECT json_group_array(json_array(job.node_id, job.locked_by, job.wish, job.wish_reason, {_CLAIMED_JOB}))
FROM job INDEXED BY job_node WHERE job.status = 'processing'
  AND NOT EXISTS (SELECT 1 FROM node WHERE node.id = job.node_id)
"""

_JOBS_BY_ID = f"""
SELECT json_group_array({_CLAIMED_JOB}) FROM json_each(:ids) AS e CROSS JOIN job ON job.id = e.value
"""


@cache
def _choose_ready(types: int) -> TextClause:
    """One limb for each type, each in the order of the claim index: SQLite merges them and stops at the limit."""
    limbs = " UNION ALL ".join(_READY_OF_TYPE.format(place=place) for place in range(types))
    return text(
        _CHOOSE_READY.format(
            ready_of_types=limbs,
            max_attempts=DEFAULT_MAX_ATTEMPTS,
            retry_delay=DEFAULT_RETRY_DELAY_SECONDS,
        )
    )


STATEMENTS = Statements(
    reserve_ids=text("UPDATE sqlite_sequence SET seq = seq + :count WHERE name = 'job' RETURNING seq"),
    hold_keys=text(_HOLD_KEYS),
    insert_jobs=text(_INSERT_JOBS),
    insert_added_events=text(
        "INSERT INTO event (job_id, type, at) SELECT id, 'added', :now FROM job WHERE id BETWEEN :first AND :last"
    ),
    insert_tags=text(
        "INSERT INTO tag (job_id, name, position) "
        "SELECT e.value ->> 0, e.value ->> 1, e.value ->> 2 FROM json_each(:entries) AS e"
    ),
    record_completions=text(_RECORD_COMPLETIONS),
    complete_jobs=text(_COMPLETE_JOBS),
    record_endings=text(_RECORD_ENDINGS),
    end_jobs=text(_END_JOBS),
    accepted_ends=text(_ACCEPTED_ENDS),
    settled=text(_SETTLED),
    note_progress=text(_NOTE_PROGRESS),
    drop_progress_events=text(_DROP_PROGRESS_EVENTS),
    record_progress=text(_RECORD_PROGRESS),
    give_back=text(_GIVE_BACK),
    record_obeyed_wishes=text(_RECORD_OBEYED_WISHES),
    obey_wishes=text(_OBEY_WISHES),
    promote_due=text(_PROMOTE_DUE),
    choose_ready=_choose_ready,
    claim_jobs=text(_CLAIM_JOBS),
    record_processing=text(_RECORD_PROCESSING),
    look=text(_LOOK),
    jobs_to_free=text(_JOBS_TO_FREE),
    jobs_by_id=text(_JOBS_BY_ID),
)
