"""MariaDB: the statements that look, the renewal's among them, and the number that says whether to look again."""

from __future__ import annotations

from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS
from jobwarden.store.dialects.mariadb.sets import IDS, JOB, NOW, as_array, microseconds

_DUE = f"""
(SELECT {microseconds("due_at")} FROM job FORCE INDEX (job_due)
 WHERE ready IS NULL AND gate IS NULL AND due_at IS NOT NULL ORDER BY due_at LIMIT 1)
"""

_EXPIRES = f"""
(SELECT {microseconds("expires_at")} FROM job FORCE INDEX (job_expiry)
 WHERE started_at IS NULL AND ended_at IS NULL AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1)
"""

_WISHES = f"""
(SELECT {as_array("JSON_ARRAY(id, fence, wish, wish_reason)")} FROM job FORCE INDEX (job_node)
 WHERE node_id = :node_id AND status = 'processing' AND wish IS NOT NULL)
"""

OUTLOOK = f"SELECT EXISTS (SELECT 1 FROM control), {_EXPIRES}, {_DUE}"

LOOK = f"""
SELECT {_DUE}, {_EXPIRES}, EXISTS (SELECT 1 FROM control), EXISTS (SELECT 1 FROM node WHERE id = :node_id), {_WISHES}
"""

VERSION = f"""
SELECT CAST(coalesce((SELECT sum(id) FROM (SELECT id FROM event ORDER BY id DESC LIMIT 100) AS latest), 0)
    + coalesce((SELECT sum({microseconds("updated_at")} % 1000000007 + length(name)) FROM control), 0)
    + (SELECT count(*) FROM job FORCE INDEX (job_wish) WHERE wish IS NOT NULL) AS INTEGER)
"""
"""Changes with what jobs go through, controls and wishes. The newest events are summed up: one with a lower id may be
committed later."""

RENEW = f"""
UPDATE node SET beat = beat + 1, beat_at = {NOW}, report = coalesce(:report, report) WHERE id = :node_id
"""

OBSERVE = f"""
SELECT EXISTS (SELECT 1 FROM node WHERE id = :node_id),
    (SELECT {as_array("JSON_ARRAY(id, beat, lease_seconds)")} FROM node),
    {_WISHES},
    (SELECT {as_array("JSON_ARRAY(id, fence)")} FROM job FORCE INDEX (job_node)
     WHERE node_id = :node_id AND status = 'processing'),
    {_DUE}, {_EXPIRES}, ({VERSION})
"""

_CLAIMED_JOB = f"""
JSON_ARRAY(job.id, job.fence, job.job_type, 'null', job.attempts,
    coalesce(job.max_attempts, {DEFAULT_MAX_ATTEMPTS}), job.timeout_ms, job.force_kill_on_timeout,
    coalesce(job.retry_delay, {DEFAULT_RETRY_DELAY_SECONDS}), job.retry_backoff, job.retry_delay_max,
    job.crashes, job.interruptions, job.lost_in_row, job.heartbeat_timeout_ms)
"""
"""Without the payload: these jobs are ended, not run, and an answer must stay below max_allowed_packet."""

JOBS_TO_FREE = f"""
SELECT {as_array(f"JSON_ARRAY(job.node_id, job.locked_by, job.wish, job.wish_reason, {_CLAIMED_JOB})")}
FROM job FORCE INDEX (job_history) WHERE job.status = 'processing'
  AND NOT EXISTS (SELECT 1 FROM node WHERE node.id = job.node_id)
"""

JOBS_BY_ID = f"SELECT {as_array(_CLAIMED_JOB)} FROM {IDS} AS e {JOB} e.id"
