"""MariaDB: what a running attempt has noted about itself and nothing else depends on.

The lines marked `guard` are the fence: for each that is missing, a test fails.
"""

from __future__ import annotations

from jobwarden.store import entries
from jobwarden.store.dialects.mariadb.sets import JOB, NOW, table_of_entries

RECORD_PROLONGS = f"""
INSERT INTO event (type, metadata, job_id, fence, attempt, node_id, node_name, at)
SELECT 'prolonged', JSON_OBJECT('ms', e.ms), job.id, job.fence, job.attempts, job.node_id, job.locked_by, {NOW}
FROM {table_of_entries(entries.PROLONG)} AS e {JOB} e.job_id
WHERE job.status = 'processing' AND job.node_id = :node_id
  AND job.fence = e.fence -- guard
"""
