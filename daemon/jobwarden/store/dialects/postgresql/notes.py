"""PostgreSQL: what is noted of running attempts, and the wishes that are left when one has ended.

The lines marked `guard` are the fence: for each that is missing, a test fails. Of the three statements about progress,
`DROP_PROGRESS_EVENTS` comes first and locks the rows, so that the others find them as it did.
"""

from __future__ import annotations

from jobwarden.store import entries
from jobwarden.store.dialects.postgresql.sets import JOB_OF_E, NOW, RUNNING_HERE, with_entries

_WITH_PROGRESS = with_entries(entries.PROGRESS)

DROP_PROGRESS_EVENTS = f"""
{_WITH_PROGRESS},
held AS MATERIALIZED (
    SELECT job.id FROM e JOIN job ON {JOB_OF_E}
    WHERE {RUNNING_HERE}
      AND job.fence = e.fence -- guard
    ORDER BY e.job_id FOR NO KEY UPDATE OF job)
DELETE FROM event USING held WHERE event.job_id = ANY (ARRAY[held.id]) AND event.type = 'progress'
"""

RECORD_PROGRESS = f"""
INSERT INTO event (type, metadata, job_id, fence, attempt, node_id, node_name, at)
{_WITH_PROGRESS}
SELECT 'progress', CAST(json_build_object('percent', e.percent) AS text), job.id, job.fence, job.attempts, job.node_id,
       job.locked_by, {NOW}
FROM e JOIN job ON {JOB_OF_E}
WHERE {RUNNING_HERE}
  AND job.fence = e.fence -- guard
"""

NOTE_PROGRESS = f"""
{_WITH_PROGRESS}
UPDATE job SET progress = e.percent, updated_at = {NOW} FROM e
WHERE {JOB_OF_E} AND {RUNNING_HERE}
  AND job.fence = e.fence -- guard
RETURNING job.id, job.fence
"""

RECORD_PROLONGS = f"""
INSERT INTO event (type, metadata, job_id, fence, attempt, node_id, node_name, at)
{with_entries(entries.PROLONG)}
SELECT 'prolonged', CAST(json_build_object('ms', e.ms) AS text), job.id, job.fence, job.attempts, job.node_id,
       job.locked_by, {NOW}
FROM e JOIN job ON {JOB_OF_E}
WHERE {RUNNING_HERE}
  AND job.fence = e.fence -- guard
"""

WISHED_CANCELLED = """
SELECT coalesce(CAST(json_agg(json_build_array(id, wish_reason)) AS text), '[]') FROM job
WHERE wish IS NOT NULL AND wish = 'cancel'
  AND (status IN ('pending', 'waiting') OR (status = 'failed' AND next_attempt_at IS NOT NULL))
"""
