"""What must be true of every database after every commit, read by a connection that is none of the store's.

`compare` holds the rows against the model; `scan` needs no model. Each failure names the job.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection

from .model import Model
from .model_job import ENDED, Job, Lane, Limit
from .played_store import Row
from .sql import portable

TWICE = "SELECT job_id, fence FROM event WHERE outcome IS NOT NULL GROUP BY job_id, fence HAVING count(*) > 1"
TALLIES = "SELECT job_type, status, sum(number) FROM tally GROUP BY job_type, status HAVING sum(number) <> 0"
STALE_TAGS = "SELECT job_id FROM tag JOIN job ON job.id = tag.job_id WHERE (live IS NULL) <> (ended_at IS NOT NULL)"
STALE_BARRIERS = """SELECT job_id FROM barrier JOIN job ON job.id = barrier.job_id WHERE coalesce(gate, '') <> 'tags'
UNION SELECT id FROM job WHERE gate = 'tags' AND id NOT IN (SELECT job_id FROM barrier)"""
STALE_EDGES = """SELECT id FROM job WHERE gate = 'parents'
AND NOT EXISTS (SELECT 1 FROM edge WHERE job_id = job.id AND settled IS NULL)"""
EVENTS = "SELECT job_id, type FROM event WHERE type <> 'progress' ORDER BY id"


def scan(eye: Connection, rows: list[Row]) -> None:
    """Everything that holds whatever has happened."""
    for row in rows:
        _assert_one_place(row)
        assert row.max_attempts is None or row.attempts <= row.max_attempts, row
    assert _rows(eye, TWICE) == [], "two outcomes of one attempt"
    assert _rows(eye, STALE_TAGS) == [], "tags that are live on an ended job, or dead on a live one"
    assert _rows(eye, STALE_BARRIERS) == [], "a gate without a barrier, or a barrier without a gate"
    assert _rows(eye, STALE_EDGES) == [], "a gate without an open edge"
    ended = Counter((row.type, row.status) for row in rows if row.ended_at is not None)
    assert {(job_type, status): number for job_type, status, number in _rows(eye, TALLIES)} == dict(ended)


def _rows(eye: Connection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in eye.execute(portable(eye, query))]


def _assert_one_place(row: Row) -> None:
    places = {
        "ready": row.ready == 1,
        "timed": row.ready is None and row.due_at is not None and row.gate is None,
        "gated": row.gate is not None,
        "running": row.status == "processing",
        "ended": row.ended_at is not None,
    }
    found = [name for name, here in places.items() if here]
    assert len(found) == 1, f"job {row.id} is {found or 'nowhere'}: {row}"
    assert (row.status == "processing") == (row.node_id is not None), row
    assert (row.ended_at is None) == (row.status not in ENDED or row.next_attempt_at is not None), row
    assert row.wish is None or row.status == "processing", row


def compare(eye: Connection, rows: list[Row], model: Model) -> None:
    """Each job is as the model says."""
    assert {row.id for row in rows} == set(model.jobs)
    events: dict[int, list[str]] = {}
    for job_id, kind in _rows(eye, EVENTS):
        events.setdefault(job_id, []).append(kind)
    for row in rows:
        job = model.jobs[row.id]
        assert _seen(row) == _expected(job), f"job {job.id} is not as it must be: {row}, {job}"
        assert events[job.id] == job.events, f"events of job {job.id}"
    assert not set(events) & model.gone, "events of a removed job"


def look_at_lanes(rows: list[Row], model: Model) -> None:
    """No lane holds more ready and running jobs than it may, unless its limit was lowered; none is idle.

    What is paused takes no room in the lanes of its groups, so it is not let in.
    """
    used: Counter[Lane] = Counter()
    ready: Counter[Lane] = Counter()
    for row in rows:
        if row.ready == 1 or row.status == "processing":
            lanes = model.lanes_of(model.jobs[row.id])
            used.update(lanes)
            ready.update(lanes if row.ready == 1 else [])
    for lane, number in used.items():
        limit = model.limit_of(lane)
        room = limit.running if limit and limit.running is not None else number
        assert number <= room or not ready[lane], f"{lane}: {number} of {room} are ready or running"
    for row in rows:
        if row.gate == "lane" and row.type not in model.paused:
            lanes = model.lanes_of(model.jobs[row.id])
            assert any(_full(model.limit_of(lane), used[lane]) for lane in lanes), f"{row} waits for lanes with room"


def _full(limit: Limit | None, used: int) -> bool:
    """A rate is full or not by the clock: its lane is not judged here."""
    return limit is not None and (limit.rate is not None or (limit.running is not None and used >= limit.running))


def _seen(row: Row) -> tuple[object, ...]:
    gate = row.gate if row.gate != "lane" else None
    retrying = row.next_attempt_at if row.status == "failed" else None
    return (
        row.status,
        row.ended_at is not None,
        row.attempts,
        row.node_id,
        gate,
        retrying,
        row.pending_reason == "quarantined",
    )


def _expected(job: Job) -> tuple[object, ...]:
    retrying = job.due if job.status == "failed" and job.live else None
    return job.status, not job.live, job.attempts, job.owner, job.gate, retrying, job.quarantined
