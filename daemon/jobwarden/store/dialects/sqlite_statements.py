"""The statements of SQLite: one JSON array in, UPDATE ... FROM, one JSON array back.

Three habits of SQLite shape them. `json_each` builds its `value` anew at each mention, so entries are materialized
before they are taken apart (half the time of a bulk insert). Status values are literals, because a bound one would
hide the partial indexes from the planner. An INSERT begins with INSERT, not WITH, or sqlite3 reports no row count.

The lines marked `guard` are the fence: for each that is missing, a test fails.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import TextClause, text

from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS
from jobwarden.store import entries
from jobwarden.store.statements import Statements


def _entries(layout: tuple[str, ...]) -> str:
    """The WITH clause under which `e` is a table of the entries, its columns named by the layout."""
    fields = ", ".join(f"raw.value ->> {place} AS {name}" for place, name in enumerate(layout))
    return (
        "WITH raw AS MATERIALIZED (SELECT value FROM json_each(:entries)), "
        f"e AS NOT MATERIALIZED (SELECT {fields} FROM raw)"
    )


_WITH_ATTEMPTS = _entries(entries.ATTEMPT)
_WITH_COMPLETIONS = _entries(entries.COMPLETION)
_WITH_ENDS = _entries(entries.END)
_WITH_PROGRESS = _entries(entries.PROGRESS)

_FREED = "node_id = NULL, claim_batch = NULL, locked_at = NULL, locked_by = NULL"

# Adding -----------------------------------------------------------------------------------------------------------

_RESERVE_IDS = "UPDATE sqlite_sequence SET seq = seq + :count WHERE name = 'job' RETURNING seq"

_HOLD_KEYS = f"""
INSERT INTO "key" (name, job_id, expires_at)
{_entries(entries.KEY)} SELECT e.name, e.job_id, NULL FROM e WHERE true
ON CONFLICT (name) DO UPDATE SET job_id = excluded.job_id, expires_at = excluded.expires_at
WHERE CASE WHEN "key".expires_at IS NOT NULL THEN "key".expires_at <= :now
      ELSE NOT EXISTS (SELECT 1 FROM job
                       WHERE job.id = "key".job_id AND (job.ended_at IS NULL OR job.ended_at > :held_since)) END
"""

_INSERT_JOBS = f"""
INSERT INTO job ({", ".join(entries.ADDED)}, status, created_at, updated_at)
{_entries(entries.ADDED)} SELECT e.*, 'pending', :now, :now FROM e
"""

_INSERT_ADDED_EVENTS = """
INSERT INTO event (job_id, type, at) SELECT id, 'added', :now FROM job WHERE id BETWEEN :first AND :last
"""

_INSERT_TAGS = f"INSERT INTO tag (job_id, name, position) {_entries(entries.TAG)} SELECT e.* FROM e"

# Ending attempts --------------------------------------------------------------------------------------------------

_RECORD_COMPLETIONS = f"""
INSERT INTO event (type, outcome, job_id, fence, attempt, node_id, node_name, at, worker_pid, generation,
                   started_at, ended_at, peak_rss_kb, cpu_ms, captured, left_behind)
{_WITH_COMPLETIONS}
SELECT 'completed', 'succeeded', job.id, job.fence, job.attempts, job.node_id, job.locked_by, e.at, e.worker_pid,
       e.generation, coalesce(e.started_at, job.locked_at), coalesce(e.ended_at, e.at), e.peak_rss_kb, e.cpu_ms,
       e.captured, e.left_behind
FROM e CROSS JOIN job ON job.id = e.job_id
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

_COMPLETE_JOBS = f"""
{_WITH_COMPLETIONS}
UPDATE job SET status = 'completed', completed_at = e.at, ended_at = e.at, updated_at = e.at, output = e.output,
    progress = CASE WHEN job.progress IS NOT NULL THEN 100 END, lost_in_row = 0,
    {_FREED}, wish = NULL
FROM e
WHERE job.id = e.job_id AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

_RECORD_ENDINGS = f"""
INSERT INTO event (type, outcome, metadata, job_id, fence, attempt, node_id, node_name, at, worker_pid, generation,
                   started_at, ended_at, peak_rss_kb, cpu_ms, captured, left_behind, signal, exit_code, error,
                   stack_dump)
{_WITH_ENDS}
SELECT e.event_type, e.outcome, e.metadata, job.id, job.fence, job.attempts, job.node_id, job.locked_by, e.at,
       e.worker_pid, e.generation, coalesce(e.started_at, job.locked_at), coalesce(e.ended_at, e.at),
       e.peak_rss_kb, e.cpu_ms, e.captured, e.left_behind, e.signal, e.exit_code, e.error, e.stack_dump
FROM e CROSS JOIN job ON job.id = e.job_id
WHERE job.status = 'processing' AND job.node_id IS :node_id
  AND job.fence = e.fence -- guard
"""

_END_JOBS = f"""
{_WITH_ENDS}
UPDATE job SET status = e.status, updated_at = e.at, output = e.output, ready = e.ready, due_at = e.due_at,
    next_attempt_at = e.next_attempt_at, failure_reason = coalesce(e.failure_reason, job.failure_reason),
    pending_reason = e.pending_reason, attempts = e.attempts, crashes = e.crashes,
    interruptions = e.interruptions, lost_in_row = e.lost_in_row, fence = job.fence + e.raised,
    ended_at = e.job_ended_at,
    error_history = CASE WHEN e.history_item IS NULL THEN job.error_history
                    ELSE json_insert(coalesce(job.error_history, '[]'), '$[#]', json(e.history_item)) END,
    last_failed_at = CASE WHEN e.status = 'failed' THEN e.at ELSE job.last_failed_at END,
    last_cancelled_at = CASE WHEN e.status = 'cancelled' THEN e.at ELSE job.last_cancelled_at END,
    {_FREED}, wish = CASE WHEN e.job_ended_at IS NULL AND job.wish = 'cancel' THEN 'cancel' END
FROM e
WHERE job.id = e.job_id AND +job.status = 'processing' AND +job.node_id IS :node_id
  AND job.fence = e.fence -- guard
"""

_ACCEPTED_ENDS = (
    "SELECT json_group_array(json_array(job_id, fence)) FROM event WHERE id > :floor AND outcome IS NOT NULL"
)

_SETTLED = f"""
{_WITH_ATTEMPTS}
SELECT json_group_array(json_array(e.job_id, e.fence)) FROM e CROSS JOIN job ON job.id = e.job_id
WHERE job.status <> 'processing'
  AND job.fence = e.fence -- guard
"""

# Other writes about attempts --------------------------------------------------------------------------------------

_NOTE_PROGRESS = f"""
{_WITH_PROGRESS}
UPDATE job SET progress = e.percent, updated_at = :now FROM e
WHERE job.id = e.job_id AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.fence -- guard
RETURNING id, fence
"""

_DROP_PROGRESS_EVENTS = f"""
DELETE FROM event WHERE id IN (
    {_WITH_PROGRESS}
    SELECT older.id FROM e CROSS JOIN job ON job.id = e.job_id
    CROSS JOIN event AS older ON older.job_id = job.id AND older.type = 'progress'
    WHERE job.status = 'processing' AND job.node_id = :node_id
      AND job.fence = e.fence -- guard
)
"""

_RECORD_PROGRESS = f"""
INSERT INTO event (type, metadata, job_id, fence, attempt, node_id, node_name, at)
{_WITH_PROGRESS}
SELECT 'progress', json_object('percent', e.percent), job.id, job.fence, job.attempts, job.node_id, job.locked_by,
       :now
FROM e CROSS JOIN job ON job.id = e.job_id
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

_GIVE_BACK = f"""
{_WITH_ATTEMPTS}
UPDATE job SET status = 'pending', attempts = job.attempts - 1, fence = job.fence + 1, ready = 1,
    due_at = job.run_at, started_at = CASE WHEN job.attempts > 1 THEN job.started_at END, updated_at = :now,
    {_FREED}, wish = CASE WHEN job.wish = 'cancel' THEN 'cancel' END
FROM e
WHERE job.id = e.job_id AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.fence -- guard
RETURNING id, fence - 1
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

# Claiming ---------------------------------------------------------------------------------------------------------

_PROMOTE_DUE = """
UPDATE job SET ready = 1 WHERE id IN (
    SELECT id FROM job WHERE ready IS NULL AND due_at <= :now ORDER BY due_at LIMIT 500)
"""

_READY_OF_TYPE = """
SELECT claim_rank, due_at, id, {place} AS place FROM job
WHERE ready = 1 AND job_type = (:terms -> {place} ->> 0)
"""

_CHOOSE_READY = """
WITH nearest AS MATERIALIZED ({nearest})
SELECT json_group_array(json_array(
    job.id, job.fence + 1, job.job_type, job.payload, job.attempts + 1,
    coalesce(job.max_attempts, :terms -> nearest.place ->> 1),
    coalesce(job.timeout_ms, :terms -> nearest.place ->> 2), job.force_kill_on_timeout,
    coalesce(job.retry_delay, :terms -> nearest.place ->> 3), job.retry_backoff, job.retry_delay_max,
    job.crashes, job.interruptions, job.lost_in_row))
FROM nearest CROSS JOIN job ON job.id = nearest.id
WHERE EXISTS (SELECT 1 FROM node WHERE node.id = :node_id)
"""


_LIMBS = 250
"""SQLite allows 500 in one compound SELECT."""


@cache
def _choose_ready(types: int) -> TextClause:
    """One limb for each type, each in the order of the claim index: SQLite merges them and stops at the limit."""
    limbs = [_READY_OF_TYPE.format(place=place) for place in range(types)]
    while len(limbs) > _LIMBS:
        groups = [limbs[start : start + _LIMBS] for start in range(0, len(limbs), _LIMBS)]
        limbs = [f"SELECT * FROM ({_merged(group)})" for group in groups]
    return text(_CHOOSE_READY.format(nearest=_merged(limbs)))


def _merged(limbs: list[str]) -> str:
    return f"{' UNION ALL '.join(limbs)} ORDER BY claim_rank, due_at, id LIMIT :limit"


_CLAIM_JOBS = """
UPDATE job SET status = 'processing', fence = fence + 1, attempts = attempts + 1,
    max_attempts = coalesce(max_attempts, :max_attempts), timeout_ms = coalesce(timeout_ms, :timeout_ms),
    retry_delay = coalesce(retry_delay, :retry_delay),
    last_retried_at = CASE WHEN attempts > 0 THEN :now ELSE last_retried_at END,
    started_at = coalesce(started_at, :now), locked_at = :now, locked_by = :node_name, node_id = :node_id,
    claim_batch = :batch, updated_at = :now,
    ready = NULL, due_at = NULL, next_attempt_at = NULL, pending_reason = NULL, progress = NULL
WHERE id IN (SELECT value FROM json_each(:ids))
"""

_RECORD_PROCESSING = """
INSERT INTO event (type, job_id, fence, attempt, node_id, node_name, at)
SELECT 'processing', id, fence, attempts, node_id, locked_by, :now
FROM job WHERE status = 'processing' AND node_id = :node_id AND claim_batch = :batch
"""

# Looking ----------------------------------------------------------------------------------------------------------

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

STATEMENTS = Statements(
    reserve_ids=text(_RESERVE_IDS),
    hold_keys=text(_HOLD_KEYS),
    insert_jobs=text(_INSERT_JOBS),
    insert_added_events=text(_INSERT_ADDED_EVENTS),
    insert_tags=text(_INSERT_TAGS),
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
