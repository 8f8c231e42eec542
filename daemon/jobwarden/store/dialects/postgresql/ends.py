"""PostgreSQL: the statements that end attempts, each in one round trip: lock, record, update, answer.

`held` locks the rows that the guard lets pass, in the order of their ids, and looks at their newest version; from then
on nobody else can change them. The lines marked `guard` are the fence: for each that is missing, a test fails.
"""

from __future__ import annotations

from jobwarden.jobs.record import FIRST_ERRORS, LONGEST_HISTORY
from jobwarden.store import entries
from jobwarden.store.dialects.postgresql.sets import (
    FREED,
    IDS,
    JOB_OF_E,
    NOW,
    RUNNING_HERE,
    WITH_ATTEMPTS,
    with_entries,
)

RECORD_COMPLETIONS = f"""
{with_entries(entries.COMPLETION)},
held AS MATERIALIZED (
    SELECT e.*, job.attempts, job.locked_by, job.locked_at
    FROM e JOIN job ON {JOB_OF_E}
    WHERE {RUNNING_HERE}
      AND job.fence = e.fence -- guard
    ORDER BY e.job_id FOR NO KEY UPDATE OF job),
completed AS (
    UPDATE job SET status = 'completed', completed_at = held.at, ended_at = held.at, updated_at = held.at,
        output = held.output, progress = CASE WHEN job.progress IS NOT NULL THEN 100 END, lost_in_row = 0,
        failure_reason = NULL, {FREED}, wish = NULL
    FROM held WHERE job.id = ANY (ARRAY[held.job_id])),
noted AS (
    INSERT INTO event (type, outcome, job_id, fence, attempt, node_id, node_name, at, worker_pid, generation,
                       started_at, ended_at, peak_rss_kb, cpu_ms, captured, left_behind)
    SELECT 'completed', 'succeeded', job_id, fence, attempts, CAST(:node_id AS text), locked_by, at, worker_pid,
           generation, coalesce(started_at, locked_at), coalesce(ended_at, at), peak_rss_kb, cpu_ms, captured,
           left_behind
    FROM held)
SELECT job_id, fence FROM held
"""

RECORD_ENDINGS = f"""
{with_entries(entries.END)},
held AS MATERIALIZED (
    SELECT e.*, job.attempts AS attempt, job.locked_by, job.locked_at
    FROM e JOIN job ON {JOB_OF_E}
    WHERE {RUNNING_HERE}
      AND job.fence = e.fence -- guard
    ORDER BY e.job_id FOR NO KEY UPDATE OF job),
ended AS (
    UPDATE job SET status = held.status, updated_at = held.at, output = held.output, ready = held.ready,
        due_at = held.due_at, next_attempt_at = held.next_attempt_at,
        failure_reason = CASE WHEN held.status IN ('failed', 'cancelled') THEN held.failure_reason END,
        pending_reason = held.pending_reason, attempts = held.attempts, crashes = held.crashes,
        interruptions = held.interruptions, lost_in_row = held.lost_in_row, fence = job.fence + held.raised,
        ended_at = held.job_ended_at,
        error_history = CASE WHEN held.history_item IS NULL THEN job.error_history
            ELSE CAST(CASE WHEN jsonb_array_length(CAST(job.error_history AS jsonb)) >= {LONGEST_HISTORY}
                           THEN CAST(job.error_history AS jsonb) - {FIRST_ERRORS}
                           ELSE coalesce(CAST(job.error_history AS jsonb), jsonb '[]') END
                      || jsonb_build_array(CAST(held.history_item AS jsonb)) AS text) END,
        last_failed_at = CASE WHEN held.status = 'failed' THEN held.at ELSE job.last_failed_at END,
        last_cancelled_at = CASE WHEN held.status = 'cancelled' THEN held.at ELSE job.last_cancelled_at END,
        {FREED}, wish = CASE WHEN held.job_ended_at IS NULL AND job.wish = 'cancel' THEN 'cancel' END
    FROM held WHERE job.id = ANY (ARRAY[held.job_id])),
noted AS (
    INSERT INTO event (type, outcome, metadata, job_id, fence, attempt, node_id, node_name, at, worker_pid,
                       generation, started_at, ended_at, peak_rss_kb, cpu_ms, captured, left_behind, signal,
                       exit_code, error, stack_dump)
    SELECT event_type, outcome, metadata, job_id, fence, attempt, CAST(:node_id AS text), locked_by, at, worker_pid,
           generation, coalesce(started_at, locked_at), coalesce(ended_at, at), peak_rss_kb, cpu_ms, captured,
           left_behind, signal, exit_code, error, stack_dump
    FROM held)
SELECT job_id, fence FROM held
"""

ENDED_KINDS = f"""
SELECT EXISTS (SELECT FROM control),
    (SELECT coalesce(
         CAST(json_agg(json_build_array(job_type, status, number, awaited, tagged, lettered)) AS text), '[]')
     FROM (
        SELECT job.job_type, job.status, count(*) AS number,
            max(CAST(EXISTS (SELECT FROM edge WHERE edge.depends_on = job.id AND edge.settled IS NULL OFFSET 0)
                OR EXISTS (SELECT FROM barrier WHERE barrier.waits_for = job.id OFFSET 0) AS integer)) AS awaited,
            max(CAST(EXISTS (SELECT FROM tag WHERE tag.job_id = job.id OFFSET 0) AS integer)) AS tagged,
            max(CAST(job.status = 'failed' AND job.dead_letter_job_type IS NOT NULL AS integer)) AS lettered
        FROM {IDS} AS e CROSS JOIN LATERAL (SELECT * FROM job WHERE job.id = e.id OFFSET 0) AS job
        WHERE job.ended_at IS NOT NULL
        GROUP BY job.job_type, job.status) AS kinds)
"""

SETTLED = f"""
{WITH_ATTEMPTS}
SELECT coalesce(CAST(json_agg(json_build_array(e.job_id, e.fence)) AS text), '[]') FROM e JOIN job ON {JOB_OF_E}
WHERE job.status <> 'processing'
  AND job.fence = e.fence -- guard
"""

GIVE_BACK = f"""
{WITH_ATTEMPTS},
held AS MATERIALIZED (
    SELECT job.id FROM e JOIN job ON {JOB_OF_E}
    WHERE {RUNNING_HERE}
      AND job.fence = e.fence -- guard
    ORDER BY e.job_id FOR NO KEY UPDATE OF job)
UPDATE job SET status = 'pending', attempts = job.attempts - 1, fence = job.fence + 1, ready = 1,
    due_at = least(job.run_at, {NOW}), started_at = CASE WHEN job.started_at <> job.locked_at THEN job.started_at END,
    failure_reason = NULL, updated_at = {NOW},
    {FREED}, wish = CASE WHEN job.wish = 'cancel' THEN 'cancel' END
FROM held WHERE job.id = ANY (ARRAY[held.id])
RETURNING job.id, job.fence - 1
"""
