"""What holds in every store at every moment between two transactions: read from the database itself, not through the
code that keeps it so. Checked after every test of this folder that has a `scene`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from .sql import portable

_LIVE_PLACES = """
SELECT id, status, ready, due_at, gate, ended_at, node_id, next_attempt_at FROM job
"""
_BROKEN = {
    "a live tag of an ended job": "SELECT tag.job_id FROM tag JOIN job ON job.id = tag.job_id "
    "WHERE tag.live = 1 AND job.ended_at IS NOT NULL",
    "a dead tag of a job that lives": "SELECT tag.job_id FROM tag JOIN job ON job.id = tag.job_id "
    "WHERE tag.live IS NULL AND job.ended_at IS NULL",
    "a barrier of a job that does not stand at one": "SELECT barrier.job_id FROM barrier "
    "LEFT JOIN job ON job.id = barrier.job_id WHERE coalesce(job.gate, '') <> 'tags'",
    "a job at a barrier that is not there": "SELECT id FROM job WHERE gate = 'tags' "
    "AND id NOT IN (SELECT job_id FROM barrier)",
    "a job that waits for no open edge": "SELECT id FROM job WHERE gate = 'parents' "
    "AND id NOT IN (SELECT job_id FROM edge WHERE settled IS NULL)",
    "an open edge of a job that may run": "SELECT edge.job_id FROM edge JOIN job ON job.id = edge.job_id "
    "WHERE edge.settled IS NULL AND job.ended_at IS NULL AND coalesce(job.gate, '') <> 'parents'",
    "a job that waits in a lane and is not due since a moment": "SELECT id FROM job "
    "WHERE gate = 'lane' AND due_at IS NULL",
    "a job that ended twice as one attempt": "SELECT job_id FROM event WHERE outcome IS NOT NULL "
    "GROUP BY job_id, fence HAVING count(*) > 1",
    "a job that ended more often than it was revived": "SELECT job.id FROM job JOIN event ON event.job_id = job.id "
    "AND event.type IN ('completed', 'cancelled', 'retried') GROUP BY job.id "
    "HAVING count(CASE WHEN event.type = 'completed' THEN 1 END) > 1 "
    "OR count(CASE WHEN event.type = 'cancelled' THEN 1 END) > count(CASE WHEN event.type = 'retried' THEN 1 END) + 1",
    "a dead letter that does not know its original": "SELECT id FROM job WHERE dead_letter_job_id IS NOT NULL "
    "AND dead_lettered_at IS NULL",
    "a final failure without its dead letter": "SELECT id FROM job WHERE status = 'failed' AND ended_at IS NOT NULL "
    "AND dead_letter_job_type IS NOT NULL AND dead_lettered_at IS NULL",
    "a failure reason of a job that has not failed": "SELECT id FROM job WHERE failure_reason IS NOT NULL "
    "AND status IN ('pending', 'completed')",
    "a key of a job that never was": 'SELECT name FROM "key" WHERE job_id NOT IN (SELECT id FROM job) '
    "AND job_id NOT IN (SELECT job_id FROM event) AND expires_at IS NULL",
}
# A cascade below its first level waits for the repair pass.
_DEAD_PARENTS = """
SELECT edge.job_id FROM edge LEFT JOIN job ON job.id = edge.depends_on
WHERE edge.settled IS NULL AND (job.id IS NULL OR job.ended_at IS NOT NULL)
  AND coalesce(job.failure_reason, '') <> 'dependency'
"""
_DEAD_BLOCKERS = """
SELECT barrier.job_id FROM barrier LEFT JOIN job ON job.id = barrier.waits_for
WHERE (job.id IS NULL OR job.ended_at IS NOT NULL) AND coalesce(job.failure_reason, '') <> 'dependency'
"""
_COUNTED = "SELECT job_type, status, sum(number) FROM tally GROUP BY job_type, status HAVING sum(number) <> 0"
_SCANNED = "SELECT job_type, status, count(*) FROM job WHERE ended_at IS NOT NULL GROUP BY job_type, status"


def check(connection: Connection) -> None:
    """Raise AssertionError naming the first thing that is not as it must be."""
    for row in connection.execute(portable(connection, _LIVE_PLACES)):
        _check_place(row)
    for name, query in _BROKEN.items():
        found = connection.execute(portable(connection, query)).all()
        assert not found, f"{name}: {found}"
    for name, query in (("an open edge to an ended job", _DEAD_PARENTS), ("a barrier at an ended job", _DEAD_BLOCKERS)):
        found = connection.execute(portable(connection, query)).all()
        assert not found, f"{name}: {found}"
    assert _rows(connection, _COUNTED) == _rows(connection, _SCANNED), "tallies"


def _check_place(row: Any) -> None:
    ended = row.status in {"completed", "cancelled"} or (row.status == "failed" and row.next_attempt_at is None)
    assert (row.ended_at is not None) == ended, row
    running = row.status == "processing"
    assert (row.node_id is not None) <= running, row
    places = {
        "ready": row.ready == 1,
        "timed": row.ready is None and row.due_at is not None and row.gate is None,
        "gated": row.gate is not None,
        "running": running,
    }
    held = [name for name, holds in places.items() if holds]
    assert len(held) == (0 if ended else 1), (row, held)
    if row.gate in {"parents", "tags"}:
        assert row.due_at is None, row


def _rows(connection: Connection, query: str) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in connection.execute(portable(connection, query))}
