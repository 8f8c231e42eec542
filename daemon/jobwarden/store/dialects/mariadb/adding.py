"""MariaDB: the statements that add jobs. They also run on an application's own connection, with its settings."""

from __future__ import annotations

from jobwarden.store import entries
from jobwarden.store.dialects.mariadb.sets import IDS, NOW, TEXT, moment, table_of_entries, values_of

RESERVE_IDS = """
SET STATEMENT group_concat_max_len = 1000000000 FOR
SELECT JSON_ARRAYAGG(drawn.id ORDER BY drawn.id), max(drawn.id), EXISTS (SELECT 1 FROM control)
FROM (SELECT NEXTVAL(job_ids) AS id FROM seq_1_to_10000000 LIMIT :count) AS drawn
"""

_KEYS = f"{table_of_entries(entries.KEY)} AS e"

LOCK_KEYS = f"""
INSERT INTO `key` (name, job_id, expires_at) SELECT {values_of(entries.KEY)} FROM {_KEYS}
ON DUPLICATE KEY UPDATE `key`.name = `key`.name
"""

HOLD_KEYS = f"""
UPDATE {_KEYS} STRAIGHT_JOIN `key` FORCE INDEX (PRIMARY) ON `key`.name = e.name
SET `key`.job_id = e.job_id, `key`.expires_at = {moment("e.expires_at")}
WHERE `key`.job_id <> e.job_id
  AND CASE WHEN `key`.expires_at IS NOT NULL THEN `key`.expires_at <= {NOW}
      ELSE NOT EXISTS (SELECT 1 FROM job
                       WHERE job.id = `key`.job_id
                         AND (job.ended_at IS NULL OR job.ended_at > {moment(":held_since")})) END
"""


def _insert_jobs(layout: tuple[str, ...]) -> str:
    return f"""
INSERT INTO job ({", ".join(layout)}, status, created_at, updated_at)
SELECT {values_of(layout)}, 'pending', {NOW}, {NOW} FROM {table_of_entries(layout)} AS e
"""


INSERT_JOBS = _insert_jobs(entries.ADDED)

INSERT_JOBS_IN_FULL = _insert_jobs(entries.ADDED_IN_FULL)

INSERT_ADDED_EVENTS = f"INSERT INTO event (job_id, type, at) SELECT e.id, 'added', {NOW} FROM {IDS} AS e"

INSERT_TAGS = f"""
INSERT INTO tag ({", ".join(entries.TAG)}) SELECT {values_of(entries.TAG)} FROM {table_of_entries(entries.TAG)} AS e
"""

FIND_BARRIERS = f"""
SELECT e.job_id, (
    SELECT max(other.job_id) FROM tag AS other
    WHERE other.live = 1 AND other.name = JSON_VALUE(e.tags, '$[0]') AND other.job_id < e.job_id
      AND NOT EXISTS (SELECT 1 FROM JSON_TABLE(e.tags, '$[*]' COLUMNS (name {TEXT} PATH '$')) AS wanted
                      WHERE NOT EXISTS (SELECT 1 FROM tag
                                        WHERE tag.job_id = other.job_id AND tag.name = wanted.name))) AS waits_for
FROM JSON_TABLE(:entries, '$[*]' COLUMNS (job_id BIGINT PATH '$[0]', tags {TEXT} PATH '$[1]')) AS e
HAVING waits_for IS NOT NULL
"""
