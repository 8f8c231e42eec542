"""MariaDB: the statements that write about attempts, and the wishes that are left when an attempt has ended.

The lines marked `guard` are the fence: for each that is missing, a test fails. There is no UPDATE ... RETURNING here.
An event is inserted from rows that the same statement has locked, and answers which they are; where nothing is
inserted, `LOCK_ATTEMPTS` goes before. Rows are locked before the first event is written: an insert of many rows holds
the counter of event ids, and must not wait for a row with it.
"""

from __future__ import annotations

from jobwarden.jobs.record import FIRST_ERRORS, LONGEST_HISTORY
from jobwarden.store import entries
from jobwarden.store.dialects.mariadb.sets import (
    ATTEMPTS,
    FREED,
    IDS,
    JOB,
    NOW,
    as_array,
    moment,
    table_of_entries,
)

_COMPLETIONS = table_of_entries(entries.COMPLETION)
_ENDS = table_of_entries(entries.END)
_PROGRESS = table_of_entries(entries.PROGRESS)

RECORD_COMPLETIONS = f"""
INSERT INTO event (type, outcome, job_id, fence, attempt, node_id, node_name, at, worker_pid, generation,
                   started_at, ended_at, peak_rss_kb, cpu_ms, captured, left_behind)
SELECT locked.* FROM (
    SELECT 'completed', 'succeeded', job.id, job.fence, job.attempts, job.node_id, job.locked_by,
           {moment("e.at")} AS at, e.worker_pid, e.generation,
           coalesce({moment("e.started_at")}, job.locked_at) AS started_at,
           {moment("coalesce(e.ended_at, e.at)")} AS ended_at, e.peak_rss_kb, e.cpu_ms, e.captured, e.left_behind
    FROM {_COMPLETIONS} AS e {JOB} e.job_id
    WHERE job.status = 'processing' AND job.node_id = :node_id
      AND job.fence = e.fence -- guard
    FOR UPDATE) AS locked
RETURNING job_id, fence
"""

COMPLETE_JOBS = f"""
UPDATE {_COMPLETIONS} AS e {JOB} e.job_id
SET job.status = 'completed', job.completed_at = {moment("e.at")}, job.ended_at = {moment("e.at")},
    job.updated_at = {moment("e.at")}, job.output = e.output,
    job.progress = CASE WHEN job.progress IS NOT NULL THEN 100 END, job.lost_in_row = 0, job.failure_reason = NULL,
    {FREED}, job.wish = NULL
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

RECORD_ENDINGS = f"""
INSERT INTO event (type, outcome, metadata, job_id, fence, attempt, node_id, node_name, at, worker_pid, generation,
                   started_at, ended_at, peak_rss_kb, cpu_ms, captured, left_behind, `signal`, exit_code, error,
                   stack_dump)
SELECT locked.* FROM (
    SELECT e.event_type, e.outcome, e.metadata, job.id, job.fence, job.attempts, job.node_id, job.locked_by,
           {moment("e.at")} AS at, e.worker_pid, e.generation,
           coalesce({moment("e.started_at")}, job.locked_at) AS started_at,
           {moment("coalesce(e.ended_at, e.at)")} AS ended_at, e.peak_rss_kb, e.cpu_ms, e.captured, e.left_behind,
           e.`signal`, e.exit_code, e.error, e.stack_dump
    FROM {_ENDS} AS e {JOB} e.job_id
    WHERE job.status = 'processing' AND job.node_id <=> :node_id
      AND job.fence = e.fence -- guard
    FOR UPDATE) AS locked
RETURNING job_id, fence
"""

END_JOBS = f"""
UPDATE {_ENDS} AS e {JOB} e.job_id
SET job.updated_at = {moment("e.at")}, job.output = e.output, job.ready = e.ready,
    job.due_at = {moment("e.due_at")}, job.next_attempt_at = {moment("e.next_attempt_at")},
    job.failure_reason = CASE WHEN e.status IN ('failed', 'cancelled') THEN e.failure_reason END,
    job.pending_reason = e.pending_reason, job.attempts = e.attempts, job.crashes = e.crashes,
    job.interruptions = e.interruptions, job.lost_in_row = e.lost_in_row,
    job.ended_at = {moment("e.job_ended_at")},
    job.error_history = CASE WHEN e.history_item IS NULL THEN job.error_history
                        ELSE JSON_ARRAY_APPEND(CASE WHEN JSON_LENGTH(job.error_history) >= {LONGEST_HISTORY}
                                                    THEN JSON_REMOVE(job.error_history, '$[{FIRST_ERRORS}]')
                                                    ELSE coalesce(job.error_history, '[]') END,
                                               '$', JSON_EXTRACT(e.history_item, '$')) END,
    job.last_failed_at = CASE WHEN e.status = 'failed' THEN {moment("e.at")} ELSE job.last_failed_at END,
    job.last_cancelled_at = CASE WHEN e.status = 'cancelled' THEN {moment("e.at")} ELSE job.last_cancelled_at END,
    job.wish = CASE WHEN e.job_ended_at IS NULL AND job.wish = 'cancel' THEN 'cancel' END,
    job.status = e.status, job.fence = job.fence + e.raised, {FREED}
WHERE job.status = 'processing' AND job.node_id <=> :node_id
  AND job.fence = e.fence -- guard
"""

ENDED_KINDS = f"""
SELECT EXISTS (SELECT 1 FROM control),
    (SELECT {as_array("JSON_ARRAY(job_type, status, number, awaited, tagged, lettered)")} FROM (
        SELECT job.job_type, job.status, count(*) AS number,
            max(EXISTS (SELECT 1 FROM edge WHERE edge.depends_on = job.id AND edge.settled IS NULL)
                OR EXISTS (SELECT 1 FROM barrier WHERE barrier.waits_for = job.id)) AS awaited,
            max(EXISTS (SELECT 1 FROM tag WHERE tag.job_id = job.id)) AS tagged,
            max(job.status = 'failed' AND job.dead_letter_job_type IS NOT NULL) AS lettered
        FROM {IDS} AS e {JOB} e.id WHERE job.ended_at IS NOT NULL
        GROUP BY job.job_type, job.status) AS kinds)
"""

SETTLED = f"""
SELECT {as_array("JSON_ARRAY(e.job_id, e.fence)")} FROM {ATTEMPTS} AS e {JOB} e.job_id
WHERE job.status <> 'processing'
  AND job.fence = e.fence -- guard
"""

LOCK_ATTEMPTS = f"""
SELECT e.job_id, e.fence FROM {ATTEMPTS} AS e {JOB} e.job_id
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
FOR UPDATE
"""

NOTE_PROGRESS = f"""
UPDATE {_PROGRESS} AS e {JOB} e.job_id SET job.progress = e.percent, job.updated_at = {NOW}
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

DROP_PROGRESS_EVENTS = f"""
DELETE older FROM {ATTEMPTS} AS e {JOB} e.job_id
STRAIGHT_JOIN event AS older FORCE INDEX (event_job) ON older.job_id = job.id AND older.type = 'progress'
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

RECORD_PROGRESS = f"""
INSERT INTO event (type, metadata, job_id, fence, attempt, node_id, node_name, at)
SELECT 'progress', JSON_OBJECT('percent', e.percent), job.id, job.fence, job.attempts, job.node_id, job.locked_by, {NOW}
FROM {_PROGRESS} AS e {JOB} e.job_id
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

GIVE_BACK = f"""
UPDATE {ATTEMPTS} AS e {JOB} e.job_id
SET job.started_at = CASE WHEN job.started_at <> job.locked_at THEN job.started_at END,
    job.wish = CASE WHEN job.wish = 'cancel' THEN 'cancel' END,
    job.due_at = least(job.run_at, {NOW}), job.ready = 1, job.status = 'pending',
    job.attempts = job.attempts - 1, job.fence = job.fence + 1,
    job.failure_reason = NULL, job.updated_at = {NOW}, {FREED}
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""

WISHED_CANCELLED = f"""
SELECT {as_array("JSON_ARRAY(id, wish_reason)")} FROM job FORCE INDEX (job_wish)
WHERE wish = 'cancel' AND (status IN ('pending', 'waiting') OR (status = 'failed' AND next_attempt_at IS NOT NULL))
"""
