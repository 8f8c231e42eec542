"""SQLite: the statements that add jobs."""

from __future__ import annotations

from jobwarden.store import entries
from jobwarden.store.dialects.sqlite.sets import with_entries

RESERVE_IDS = (
    "UPDATE sqlite_sequence SET seq = seq + :count WHERE name = 'job' "
    "RETURNING NULL, seq, EXISTS (SELECT 1 FROM control)"
)

HOLD_KEYS = f"""
INSERT INTO "key" (name, job_id, expires_at)
{with_entries(entries.KEY)} SELECT e.name, e.job_id, e.expires_at FROM e WHERE true
ON CONFLICT (name) DO UPDATE SET job_id = excluded.job_id, expires_at = excluded.expires_at
WHERE CASE WHEN "key".expires_at IS NOT NULL THEN "key".expires_at <= :now
      ELSE NOT EXISTS (SELECT 1 FROM job
                       WHERE job.id = "key".job_id AND (job.ended_at IS NULL OR job.ended_at > :held_since)) END
"""

INSERT_JOBS = f"""
INSERT INTO job ({", ".join(entries.ADDED)}, status, created_at, updated_at)
{with_entries(entries.ADDED)} SELECT e.*, 'pending', :now, :now FROM e
"""

INSERT_JOBS_IN_FULL = f"""
INSERT INTO job ({", ".join(entries.ADDED_IN_FULL)}, status, created_at, updated_at)
{with_entries(entries.ADDED_IN_FULL)} SELECT e.*, 'pending', :now, :now FROM e
"""

INSERT_ADDED_EVENTS = """
INSERT INTO event (job_id, type, at) SELECT value, 'added', :now FROM json_each(:ids)
"""

INSERT_TAGS = f"INSERT INTO tag (job_id, name, position) {with_entries(entries.TAG)} SELECT e.* FROM e"

FIND_BARRIERS = """
WITH e AS MATERIALIZED (
    SELECT value ->> 0 AS job_id, value ->> 1 AS tags, value ->> 1 ->> 0 AS first FROM json_each(:entries)),
found AS MATERIALIZED (
    SELECT e.job_id, (
        SELECT max(other.job_id) FROM tag AS other
        WHERE other.live = 1 AND other.name = e.first AND other.job_id < e.job_id
          AND NOT EXISTS (SELECT 1 FROM json_each(e.tags) AS wanted WHERE NOT EXISTS (
              SELECT 1 FROM tag WHERE tag.job_id = other.job_id AND tag.name = wanted.value))) AS waits_for
    FROM e)
SELECT job_id, waits_for FROM found WHERE waits_for IS NOT NULL
"""
