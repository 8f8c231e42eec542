"""SQLite: what a running attempt has noted about itself and nothing else depends on.

The lines marked `guard` are the fence: for each that is missing, a test fails.
"""

from __future__ import annotations

from jobwarden.store import entries
from jobwarden.store.dialects.sqlite.sets import with_entries

RECORD_PROLONGS = f"""
INSERT INTO event (type, metadata, job_id, fence, attempt, node_id, node_name, at)
{with_entries(entries.PROLONG)}
SELECT 'prolonged', json_object('ms', e.ms), job.id, job.fence, job.attempts, job.node_id, job.locked_by, :now
FROM e CROSS JOIN job ON job.id = e.job_id
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""
