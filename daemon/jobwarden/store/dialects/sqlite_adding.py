"""SQLite: the statements that add jobs."""

from __future__ import annotations

from jobwarden.store import entries
from jobwarden.store.dialects.sqlite_sets import with_entries

RESERVE_IDS = "UPDATE sqlite_sequence SET seq = seq + :count WHERE name = 'job' RETURNING seq"

HOLD_KEYS = f"""
INSERT INTO "key" (name, job_id, expires_at)
{with_entries(entries.KEY)} SELECT e.name, e.job_id, NULL FROM e WHERE true
ON CONFLICT (name) DO UPDATE SET job_id = excluded.job_id, expires_at = excluded.expires_at
WHERE CASE WHEN "key".expires_at IS NOT NULL THEN "key".expires_at <= :now
      ELSE NOT EXISTS (SELECT 1 FROM job
                       WHERE job.id = "key".job_id AND (job.ended_at IS NULL OR job.ended_at > :held_since)) END
"""

INSERT_JOBS = f"""
INSERT INTO job ({", ".join(entries.ADDED)}, status, created_at, updated_at)
{with_entries(entries.ADDED)} SELECT e.*, 'pending', :now, :now FROM e
"""

INSERT_ADDED_EVENTS = """
INSERT INTO event (job_id, type, at) SELECT id, 'added', :now FROM job WHERE id BETWEEN :first AND :last
"""

INSERT_TAGS = f"INSERT INTO tag (job_id, name, position) {with_entries(entries.TAG)} SELECT e.* FROM e"
