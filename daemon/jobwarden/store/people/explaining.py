"""Why a job does not run now, and when it may: all reasons that hold, from the job's own row outwards.

For people; reads only. A job that has not ended always has a reason: at least that it is ready and waits for a worker.
Whether a node lives is told by its last beat and the wall clock here, which is good enough for people and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import RowMapping, func, select

from jobwarden.clock import to_datetime
from jobwarden.errors import UnknownJobError
from jobwarden.jobs.control import Explanation, Reason, ReasonKind
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.people.hindrances import hindrances, shown
from jobwarden.store.readiness import Gate
from jobwarden.store.schema import barrier, edge, job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

MOST_NAMED = 20
"""Prerequisites that are named, each with its state; the others are counted."""

_SEEN = (
    "id", "job_type", "status", "group_id", "priority", "ready", "gate", "due_at", "claim_rank", "run_at", "wait_until",
    "next_attempt_at", "expires_at", "started_at", "ended_at", "failure_reason", "pending_reason", "locked_by",
    "locked_at", "wish", "depends_on_tags",
)  # fmt: skip
_WISHES = {"cancel": "cancelled", "requeue": "stopped and queued again"}


def explain_job(connection: Connection, job_id: int, *, now_us: int) -> Explanation:
    """All reasons that hold now. Raises UnknownJobError."""
    row = connection.execute(select(*[job.c[name] for name in _SEEN]).where(job.c.id == job_id)).mappings().first()
    if row is None:
        raise UnknownJobError(job_id)
    reasons = list(_reasons(connection, row, now_us=now_us))
    return Explanation(job_id=job_id, status=JobStatus(row["status"]), reasons=reasons, next_at=_next_at(reasons))


def _reasons(connection: Connection, row: RowMapping, *, now_us: int) -> Iterator[Reason]:
    if row["ended_at"] is not None:
        yield _ended(row)
        return
    if row["status"] == JobStatus.PROCESSING:
        yield _running(row)
        return
    held = [*_prerequisites(connection, row), *_tags(connection, row), *_time(row, now_us=now_us)]
    expiry = _expiry(row, now_us=now_us)
    over = expiry is not None and expiry.kind is ReasonKind.EXPIRED
    held += hindrances(connection, row, now_us=now_us, admitted=not held and not over)
    yield from held
    if expiry is not None:
        yield expiry


def _next_at(reasons: list[Reason]) -> Any:
    """The last of the moments, if each reason has one."""
    untils = [reason.until for reason in reasons if reason.kind is not ReasonKind.EXPIRES]
    moments = [until for until in untils if until is not None]
    return max(moments) if moments and len(moments) == len(untils) else None


def _ended(row: RowMapping) -> Reason:
    why = f" ({row['failure_reason']})" if row["failure_reason"] and row["status"] != JobStatus.COMPLETED else ""
    note = f", {row['pending_reason']}" if row["pending_reason"] else ""
    how = "failed for good" if row["status"] == JobStatus.FAILED else row["status"]
    return Reason(kind=ReasonKind.ENDED, text=f"it has ended: {how}{why}{note}, at {shown(row['ended_at'])}")


def _running(row: RowMapping) -> Reason:
    since = "" if row["locked_at"] is None else f" since {shown(row['locked_at'])}"
    text = f"it runs: {row['locked_by'] or 'a node without a name'} has it{since}"
    if row["wish"] is not None:
        text += f"; it was asked to be {_WISHES.get(row['wish'], row['wish'])}"
    return Reason(kind=ReasonKind.RUNNING, text=text)


def _expiry(row: RowMapping, *, now_us: int) -> Reason | None:
    if row["expires_at"] is None or row["started_at"] is not None:
        return None
    moment = shown(row["expires_at"])
    if row["expires_at"] <= now_us:
        return Reason(kind=ReasonKind.EXPIRED, text=f"it was not started by {moment} and is about to be cancelled")
    return Reason(kind=ReasonKind.EXPIRES, text=f"it is cancelled if it was not started by {moment}")


def _time(row: RowMapping, *, now_us: int) -> Iterator[Reason]:
    due, said = row["run_at"], "it is not to run before"
    if row["status"] == JobStatus.FAILED:
        due, said = row["next_attempt_at"], "it failed, and its next attempt is due at"
    elif row["status"] == JobStatus.WAITING:
        due, said = row["wait_until"], "it waits until"
    elif row["due_at"] is not None:
        due = row["due_at"]
    if due is not None and due > now_us:
        yield Reason(kind=ReasonKind.NOT_DUE, text=f"{said} {shown(due)}", until=to_datetime(due))


def _prerequisites(connection: Connection, row: RowMapping) -> Iterator[Reason]:
    if row["gate"] != Gate.PARENTS:
        return
    mine = (edge.c.job_id == row["id"], edge.c.settled.is_(None))
    number = connection.execute(select(func.count()).where(*mine)).scalar_one()
    query = select(edge.c.depends_on, job.c.job_type, job.c.status, job.c.ended_at, job.c.next_attempt_at)
    query = query.select_from(edge.outerjoin(job, job.c.id == edge.c.depends_on)).where(*mine)
    for found in connection.execute(query.order_by(edge.c.depends_on).limit(MOST_NAMED)).mappings():
        text = f"it waits for job {found['depends_on']}, which {_state(found)}"
        yield Reason(kind=ReasonKind.WAITS_FOR_JOB, text=text)
    if number > MOST_NAMED:
        yield Reason(kind=ReasonKind.WAITS_FOR_JOB, text=f"it waits for {number - MOST_NAMED} more jobs")
    if not number:
        text = "what it waited for is settled; the next maintenance round lets it go on"
        yield Reason(kind=ReasonKind.WAITS_FOR_JOB, text=text)


def _state(found: RowMapping) -> str:
    if found["status"] is None:
        return "was removed; the next maintenance round settles that"
    if found["ended_at"] is not None:
        return f"has ended {found['status']}; the next maintenance round settles that"
    if found["status"] == JobStatus.FAILED:
        return f"({found['job_type']}) failed and will be tried again at {shown(found['next_attempt_at'])}"
    return f"({found['job_type']}) is {found['status']}"


def _tags(connection: Connection, row: RowMapping) -> Iterator[Reason]:
    if row["gate"] != Gate.TAGS:
        return
    query = select(barrier.c.waits_for, job.c.job_type, job.c.status)
    query = query.select_from(barrier.outerjoin(job, job.c.id == barrier.c.waits_for))
    found = connection.execute(query.where(barrier.c.job_id == row["id"])).mappings().first()
    if found is None:
        text = "no earlier job with its tags is left; the next maintenance round lets it go on"
    else:
        tags = ", ".join(msgspec.json.decode(row["depends_on_tags"] or "[]"))
        told = f"job {found['waits_for']} ({found['job_type']}) is {found['status']}"
        text = f"it waits for all earlier jobs that carry the tags {tags}: {told}"
    yield Reason(kind=ReasonKind.WAITS_FOR_TAGS, text=text)
