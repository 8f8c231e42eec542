"""PostgreSQL: the statements that add jobs."""

from __future__ import annotations

from jobwarden.store import entries
from jobwarden.store.dialects.postgresql.sets import IDS, MOMENT, NOW, with_entries

# Numbers come one by one from the sequence; another adder's may lie between them. Gaps stay.
RESERVE_IDS = """
SELECT CASE WHEN max(n) - min(n) + 1 = count(*) THEN NULL ELSE CAST(array_to_json(array_agg(n)) AS text) END,
       max(n), EXISTS (SELECT FROM control)
FROM (SELECT nextval('job_id_seq') AS n FROM generate_series(1, CAST(:count AS integer))) AS drawn
"""

# The conflict locks the key and looks at its newest version, but a subquery sees what was there when the statement
# began. A key that points to another job by now was taken over meanwhile, by a job that is not seen: it is held.
HOLD_KEYS = f"""
INSERT INTO key (name, job_id, expires_at)
{with_entries(entries.KEY)} SELECT e.name, e.job_id, e.expires_at FROM e
ON CONFLICT (name) DO UPDATE SET job_id = excluded.job_id, expires_at = excluded.expires_at
WHERE CASE WHEN key.expires_at IS NOT NULL THEN key.expires_at <= {NOW}
      ELSE key.job_id = (SELECT seen.job_id FROM key AS seen WHERE seen.name = excluded.name)
           AND NOT EXISTS (
               SELECT FROM job WHERE job.id = key.job_id
               AND (job.ended_at IS NULL OR job.ended_at > {MOMENT.format("CAST(:held_since AS bigint)")})) END
"""

INSERT_JOBS = f"""
INSERT INTO job ({", ".join(entries.ADDED)}, status, created_at, updated_at)
{with_entries(entries.ADDED)} SELECT e.*, 'pending', {NOW}, {NOW} FROM e
"""

INSERT_JOBS_IN_FULL = f"""
INSERT INTO job ({", ".join(entries.ADDED_IN_FULL)}, status, created_at, updated_at)
{with_entries(entries.ADDED_IN_FULL)} SELECT e.*, 'pending', {NOW}, {NOW} FROM e
"""

INSERT_ADDED_EVENTS = f"""
INSERT INTO event (job_id, type, at)
SELECT e.id, 'added', {NOW} FROM {IDS} AS e
"""

INSERT_TAGS = f"INSERT INTO tag (job_id, name, position) {with_entries(entries.TAG)} SELECT e.* FROM e"

# LATERAL and OFFSET keep the planner from joining all tags first.
FIND_BARRIERS = """
SELECT e.job_id, found.waits_for
FROM (SELECT CAST(v ->> 0 AS bigint) AS job_id, v -> 1 AS tags
      FROM (SELECT jsonb_build_array(w -> 0, CAST(w ->> 1 AS jsonb)) AS v
            FROM jsonb_array_elements(CAST(:entries AS jsonb)) AS w) AS parsed OFFSET 0) AS e
CROSS JOIN LATERAL (
    SELECT max(other.job_id) AS waits_for FROM tag AS other
    WHERE other.live = 1 AND other.name = e.tags ->> 0 AND other.job_id < e.job_id
      AND NOT EXISTS (SELECT FROM jsonb_array_elements_text(e.tags) AS wanted (name) WHERE NOT EXISTS (
          SELECT FROM tag WHERE tag.job_id = other.job_id AND tag.name = wanted.name OFFSET 0) OFFSET 0)) AS found
WHERE found.waits_for IS NOT NULL
"""
