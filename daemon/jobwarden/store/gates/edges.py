"""Edges: a job with `dependsOn.jobIds` waits until each of these has been settled.

A prerequisite that completed settles its edges; one that ended failed or cancelled, or was removed, cancels the
dependent, fails it or lets it run, as each edge says. A failure that will be retried settles nothing. Never follows a
cascade: what it ends itself is followed up by its caller, or found by the repair pass (`repair.settle_edges`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, bindparam, insert, or_, select, text, update

from jobwarden.jobs.outcome import FailureReason, JobStatus, OnParentFailure
from jobwarden.store.gates import barriers
from jobwarden.store.gates.barriers import MOST_AT_ONCE, WAITING, Waiting
from jobwarden.store.gates.free_ends import end_free_jobs
from jobwarden.store.matching import chunks
from jobwarden.store.readiness import Gate
from jobwarden.store.schema import edge, job

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from jobwarden.store.gates.lanes import Lanes, Place
    from jobwarden.store.statements import Statements

OPEN = text("edge.settled IS NULL")
MET, MISSED, GAVE_UP = 1, 2, 3
"""What `edge.settled` says of a settled edge: the dependent could go on after its prerequisite's end, was not there any
more when it failed, or ended because of it."""


class Settled(NamedTuple):
    """What `settle` did."""

    edges: int
    ended: list[int]
    """Dependents that were cancelled or failed: jobs that have ended, to be followed up."""
    touched: set[Place]
    """To which dependents, or their dead letters, have come."""


class _Edge(NamedTuple):
    job_id: int
    depends_on: int
    on_failure: str
    status: JobStatus | None
    """Of the prerequisite, which has ended; None if it is gone."""


def insert_edges(connection: Connection, prerequisites: Mapping[int, Mapping[int, str]]) -> None:
    """Open edges. `prerequisites`: job id -> (id of a prerequisite -> onParentFailure)."""
    rows = [
        {"job_id": job_id, "depends_on": depends_on, "on_failure": on_failure}
        for job_id, found in prerequisites.items()
        for depends_on, on_failure in found.items()
    ]
    if rows:
        connection.execute(insert(edge), rows)


def reopen_missed(connection: Connection, ids: Sequence[int]) -> None:
    """Before these jobs are revived: what failed while they were not there concerns them again."""
    for some in chunks(ids):
        connection.execute(update(edge).where(edge.c.job_id.in_(some), edge.c.settled == MISSED).values(settled=None))


def settle_of(
    connection: Connection, sql: Statements, dependents: Sequence[int], *, lanes: Lanes, now_us: int
) -> Settled:
    """Settle what prerequisites have done already for new or revived jobs; those that still wait stay as they are."""
    found: list[_Edge] = []
    for some in chunks(dependents):
        found += _ripe(connection, edge.c.job_id.in_(some))
    return _settle(connection, sql, found, lanes=lanes, now_us=now_us)


def settle(
    connection: Connection,
    sql: Statements,
    ended: Collection[int],
    *,
    lanes: Lanes,
    now_us: int,
    most: int = MOST_AT_ONCE,
) -> Settled:
    """Settle the open edges to those of these jobs that have ended or are gone, at most `most`."""
    found: list[_Edge] = []
    for some in chunks(sorted(ended)):
        if len(found) < most:
            found += _ripe(connection, edge.c.depends_on.in_(some), limit=most - len(found))
    return _settle(connection, sql, found, lanes=lanes, now_us=now_us)


def _with_open_edges(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those of these jobs that still wait for a prerequisite."""
    waiting: set[int] = set()
    for some in chunks(ids):
        query = select(edge.c.job_id).where(edge.c.job_id.in_(some), OPEN).distinct()
        waiting.update(connection.execute(query).scalars())
    return waiting


def _verdict(job_id: int, status: JobStatus | None, on_failure: str) -> tuple[JobStatus, str] | None:
    """How a dependent must end because its prerequisite `job_id` ended so, and why; None if it may go on."""
    if status is JobStatus.COMPLETED or on_failure == OnParentFailure.RUN:
        return None
    how = {JobStatus.FAILED: "failed", JobStatus.CANCELLED: "was cancelled", None: "was removed"}[status]
    end = JobStatus.FAILED if on_failure == OnParentFailure.FAIL else JobStatus.CANCELLED
    return end, f"job {job_id}, on which it depends, {how}"


def _give_up(
    connection: Connection,
    sql: Statements,
    verdicts: dict[int, tuple[JobStatus, str]],
    *,
    touched: set[Place],
    now_us: int,
) -> list[int]:
    """End the dependents with these verdicts; the ids of those that were free."""
    ended: list[int] = []
    for status in (JobStatus.CANCELLED, JobStatus.FAILED):
        reasons = {job_id: reason for job_id, (end, reason) in verdicts.items() if end is status}
        if reasons:
            ended += end_free_jobs(
                connection,
                sql,
                reasons,
                status=status,
                failure_reason=FailureReason.DEPENDENCY,
                touched=touched,
                now_us=now_us,
            )
    return ended


def _ripe(connection: Connection, *conditions: Any, limit: int | None = None) -> list[_Edge]:
    over = or_(job.c.id.is_(None), job.c.ended_at.is_not(None))
    query = (
        select(edge.c.job_id, edge.c.depends_on, edge.c.on_failure, job.c.status)
        .outerjoin_from(edge, job, job.c.id == edge.c.depends_on)
        .where(OPEN, over, *conditions)
        .order_by(edge.c.depends_on, edge.c.job_id)
        .limit(limit)
    )
    rows = connection.execute(query)
    return [_Edge(*row[:3], None if row.status is None else JobStatus(row.status)) for row in rows]


def _settle(connection: Connection, sql: Statements, found: list[_Edge], *, lanes: Lanes, now_us: int) -> Settled:
    if not found:
        return Settled(0, [], set())
    # Locked before anything is counted: two prerequisites of one job may end in two transactions at once.
    free = _lock_gated(connection, sorted({each.job_id for each in found}))
    connection.execute(_SETTLE, [_settling(each, held=each.job_id in free) for each in found])
    verdicts = _verdicts(each for each in found if each.job_id in free)
    touched: set[Place] = set()
    ended = _give_up(connection, sql, verdicts, touched=touched, now_us=now_us)
    left = [job_id for job_id in free if job_id not in verdicts]
    waiting = _with_open_edges(connection, left)
    released = [free[job_id] for job_id in left if job_id not in waiting]
    touched |= barriers.admit(connection, sql, released, lanes=lanes, now_us=now_us)
    return Settled(len(found), ended, touched)


_SETTLE = (
    update(edge)
    .where(and_(edge.c.job_id == bindparam("dependent"), edge.c.depends_on == bindparam("on"), OPEN))
    .values(settled=bindparam("how"))
)


def _settling(found: _Edge, *, held: bool) -> dict[str, int]:
    """A failure is kept for the dependent's revival, also one that it has not met because it had ended itself."""
    failed = _verdict(found.depends_on, found.status, found.on_failure) is not None
    how = MET if not failed else GAVE_UP if held else MISSED
    return {"dependent": found.job_id, "on": found.depends_on, "how": how}


def _verdicts(found: Iterable[_Edge]) -> dict[int, tuple[JobStatus, str]]:
    """Of several failed prerequisites the first one that asks for an end decides."""
    verdicts: dict[int, tuple[JobStatus, str]] = {}
    for each in found:
        end = _verdict(each.depends_on, each.status, each.on_failure)
        if end is not None:
            verdicts.setdefault(each.job_id, end)
    return verdicts


def _lock_gated(connection: Connection, ids: Sequence[int]) -> dict[int, Waiting]:
    """Those of these dependents that the edges still hold. All are locked: one may be revived at this moment."""
    free: dict[int, Waiting] = {}
    for some in chunks(ids):
        query = select(*WAITING, job.c.gate).where(job.c.id.in_(some)).order_by(job.c.id).with_for_update()
        rows = connection.execute(query)
        free.update((row.id, Waiting(*row[:-1])) for row in rows if row.gate == Gate.PARENTS)
    return free
