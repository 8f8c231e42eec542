"""SQLite: the statements that write about attempts, and the wishes that are left when an attempt has ended.

The lines marked `guard` are the fence: for each that is missing, a test fails.
"""

from __future__ import annotations

from jobwarden.jobs.record import FIRST_ERRORS, LONGEST_HISTORY
from jobwarden.store import entries
from jobwarden.store.dialects.sqlite.sets import FREED, WITH_ATTEMPTS, with_entries

_WITH_COMPLETIONS = with_entries(entries.COMPLETION)
_WITH_ENDS = with_entries(entries.END)
_WITH_PROGRESS = with_entries(entries.PROGRESS)

RECORD_COMPLETIONS = f"""
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

COMPLETE_JOBS = f"""
{_WITH_COMPLETIONS}
UPDATE job SET status = 'completed', completed_at = e.at, ended_at = e.at, updated_at = e.at, output = e.output,
    progress = CASE WHEN job.progress IS NOT NULL THEN 100 END, lost_in_row = 0, failure_reason = NULL,
    {FREED}, wish = NULL
FROM e
WHERE job.id = e.job_id AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

RECORD_ENDINGS = f"""
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

END_JOBS = f"""
{_WITH_ENDS}
UPDATE job SET status = e.status, updated_at = e.at, output = e.output, ready = e.ready, due_at = e.due_at,
    next_attempt_at = e.next_attempt_at,
    failure_reason = CASE WHEN e.status IN ('failed', 'cancelled') THEN e.failure_reason END,
    pending_reason = e.pending_reason, attempts = e.attempts, crashes = e.crashes,
    interruptions = e.interruptions, lost_in_row = e.lost_in_row, fence = job.fence + e.raised,
    ended_at = e.job_ended_at,
    error_history = CASE WHEN e.history_item IS NULL THEN job.error_history
                    ELSE json_insert(CASE WHEN json_array_length(job.error_history) >= {LONGEST_HISTORY}
                                          THEN json_remove(job.error_history, '$[{FIRST_ERRORS}]')
                                          ELSE coalesce(job.error_history, '[]') END,
                                     '$[#]', json(e.history_item)) END,
    last_failed_at = CASE WHEN e.status = 'failed' THEN e.at ELSE job.last_failed_at END,
    last_cancelled_at = CASE WHEN e.status = 'cancelled' THEN e.at ELSE job.last_cancelled_at END,
    {FREED}, wish = CASE WHEN e.job_ended_at IS NULL AND job.wish = 'cancel' THEN 'cancel' END
FROM e
WHERE job.id = e.job_id AND +job.status = 'processing' AND +job.node_id IS :node_id
  AND job.fence = e.fence -- guard
"""

ACCEPTED_ENDS = (
    "SELECT json_group_array(json_array(job_id, fence)) FROM event WHERE id > :floor AND outcome IS NOT NULL"
)

ENDED_KINDS = """
SELECT EXISTS (SELECT 1 FROM control),
    (SELECT json_group_array(json_array(job_type, status, number, awaited, tagged, lettered)) FROM (
        SELECT job.job_type, job.status, count(*) AS number,
            max(EXISTS (SELECT 1 FROM edge WHERE edge.depends_on = job.id AND edge.settled IS NULL)
                OR EXISTS (SELECT 1 FROM barrier WHERE barrier.waits_for = job.id)) AS awaited,
            max(EXISTS (SELECT 1 FROM tag WHERE tag.job_id = job.id)) AS tagged,
            max(job.status = 'failed' AND job.dead_letter_job_type IS NOT NULL) AS lettered
        FROM json_each(:ids) AS e CROSS JOIN job ON job.id = e.value WHERE job.ended_at IS NOT NULL
        GROUP BY job.job_type, job.status))
"""

SETTLED = f"""
{WITH_ATTEMPTS}
SELECT json_group_array(json_array(e.job_id, e.fence)) FROM e CROSS JOIN job ON job.id = e.job_id
WHERE job.status <> 'processing'
  AND job.fence = e.fence -- guard
"""

NOTE_PROGRESS = f"""
{_WITH_PROGRESS}
UPDATE job SET progress = e.percent, updated_at = :now FROM e
WHERE job.id = e.job_id AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.fence -- guard
RETURNING id, fence
"""

DROP_PROGRESS_EVENTS = f"""
DELETE FROM event WHERE id IN (
    {_WITH_PROGRESS}
    SELECT older.id FROM e CROSS JOIN job ON job.id = e.job_id
    CROSS JOIN event AS older ON older.job_id = job.id AND older.type = 'progress'
    WHERE job.status = 'processing' AND job.node_id = :node_id
      AND job.fence = e.fence -- guard
)
"""

RECORD_PROGRESS = f"""
INSERT INTO event (type, metadata, job_id, fence, attempt, node_id, node_name, at)
{_WITH_PROGRESS}
SELECT 'progress', json_object('percent', e.percent), job.id, job.fence, job.attempts, job.node_id, job.locked_by,
       :now
FROM e CROSS JOIN job ON job.id = e.job_id
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

GIVE_BACK = f"""
{WITH_ATTEMPTS}
UPDATE job SET status = 'pending', attempts = job.attempts - 1, fence = job.fence + 1, ready = 1,
    due_at = min(job.run_at, :now), started_at = CASE WHEN job.started_at <> job.locked_at THEN job.started_at END,
    failure_reason = NULL, updated_at = :now,
    {FREED}, wish = CASE WHEN job.wish = 'cancel' THEN 'cancel' END
FROM e
WHERE job.id = e.job_id AND +job.status = 'processing' AND +job.node_id = :node_id
  AND job.fence = e.fence -- guard
RETURNING id, fence - 1
"""

WISHED_CANCELLED = """
SELECT json_group_array(json_array(id, wish_reason)) FROM job INDEXED BY job_wish WHERE wish IS NOT NULL
  AND wish = 'cancel' AND (status IN ('pending', 'waiting') OR (status = 'failed' AND next_attempt_at IS NOT NULL))
"""
