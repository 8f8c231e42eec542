"""Giving ended and retrying jobs another attempt, in sets: `retry`, many at once, and the replay of dead letters.

Undoes what an end does (tally, live tags) and nothing of what followed from it: dependents that were cancelled stay
cancelled. A running job is never touched. Works in a transaction that its caller began.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, case, func, insert, select, update

from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.entries import as_json
from jobwarden.store.gates import edges
from jobwarden.store.gates.barriers import Waiting, admit
from jobwarden.store.gates.follow_up import follow_up
from jobwarden.store.gates.lanes import Lanes
from jobwarden.store.keeping import tallies
from jobwarden.store.matching import chunks
from jobwarden.store.people.cancelling import cancel_jobs
from jobwarden.store.people.filters import FREE
from jobwarden.store.readiness import Gate, Readiness, readiness
from jobwarden.store.row_locks import lock_jobs
from jobwarden.store.schema import edge, event, job, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from jobwarden.store.gates.lanes import Place
    from jobwarden.store.statements import Statements

REVIVABLE: ColumnElement[bool] = job.c.status.in_((JobStatus.FAILED, JobStatus.CANCELLED))
"""Failed (retrying too) or cancelled: what `retry` takes."""
DEAD_LETTERED: ColumnElement[bool] = and_(REVIVABLE, job.c.ended_at.is_not(None), job.c.dead_letter_job_id.is_not(None))
"""Has ended, and left a dead letter."""


class _Job(NamedTuple):
    id: int
    job_type: str
    group_id: str | None
    status: str
    ended_at: int | None
    depends_on_tags: str | None


_COLUMNS = [job.c[name] for name in _Job._fields]


def revive_jobs(
    connection: Connection,
    sql: Statements,
    ids: Sequence[int],
    *,
    touched: set[Place],
    now_us: int,
    fresh: bool = False,
    told: Mapping[int, dict[str, Any]] | None = None,
) -> list[int]:
    """Let those of these jobs that failed or were cancelled run again, now; the ids of those.

    Their limit grows as far as one more attempt needs; with `fresh` they begin to count anew instead. Quarantine and
    its counters are forgotten, and so is an expiry that is over. One that still waited for others waits for them
    again. `told` is added to the metadata of their events.
    """
    lanes = Lanes.load(connection)
    revived: list[int] = []
    held: list[int] = []
    tagged: list[Waiting] = []
    for some in chunks(ids):
        query = select(*_COLUMNS).where(job.c.id.in_(some), REVIVABLE).order_by(job.c.id).with_for_update()
        jobs = [_Job(*row) for row in connection.execute(query)]
        edges.reopen_missed(connection, [each.id for each in jobs])
        waiting = _waiting_for_parents(connection, [each.id for each in jobs])
        _revive(connection, jobs, waiting, lanes, now_us=now_us, fresh=fresh)
        _undo_ends(connection, [each for each in jobs if each.ended_at is not None])
        _record(connection, jobs, told or {}, now_us=now_us)
        revived += [each.id for each in jobs]
        held += sorted(waiting)
        tagged += _tagged(jobs, waiting, now_us=now_us)
        touched |= {(each.job_type, each.group_id) for each in jobs}
    # Once all of them live: they may wait for each other.
    _pass_gates(connection, sql, held, tagged, lanes, touched=touched, now_us=now_us)
    return revived


def replay_dead_letters(
    connection: Connection, sql: Statements, ids: Sequence[int], *, touched: set[Place], now_us: int
) -> list[int]:
    """Revive those of these jobs that left dead letters, with all their attempts; the ids of those.

    Dead letters that were never started are cancelled. The links are cut: who fails for good again leaves a new one.
    """
    letters: dict[int, int] = {}
    for some in chunks(lock_jobs(connection, ids, DEAD_LETTERED)):
        query = select(job.c.id, job.c.dead_letter_job_id).where(job.c.id.in_(some))
        letters.update((row[0], row[1]) for row in connection.execute(query))
    originals = {letter: original for original, letter in letters.items()}
    _cancel_unstarted(connection, sql, originals, touched=touched, now_us=now_us)
    for some in chunks(list(letters)):
        cut = update(job).where(job.c.id.in_(some)).values(dead_letter_job_id=None, dead_lettered_at=None)
        connection.execute(cut)
    told = {original: {"deadLetter": letter} for original, letter in letters.items()}
    return revive_jobs(connection, sql, list(letters), touched=touched, now_us=now_us, fresh=True, told=told)


def _cancel_unstarted(
    connection: Connection, sql: Statements, originals: Mapping[int, int], *, touched: set[Place], now_us: int
) -> None:
    """`originals`: dead letter -> the job that left it."""
    unstarted = lock_jobs(connection, list(originals), FREE, job.c.started_at.is_(None))
    reasons = {letter: f"job {originals[letter]} is replayed" for letter in unstarted}
    cancel_jobs(connection, sql, reasons, touched=touched, now_us=now_us)


def _tagged(jobs: Sequence[_Job], waiting: set[int], *, now_us: int) -> list[Waiting]:
    return [
        Waiting(each.id, each.job_type, each.group_id, now_us, each.depends_on_tags)
        for each in jobs
        if each.depends_on_tags is not None and each.id not in waiting
    ]


def _pass_gates(
    connection: Connection,
    sql: Statements,
    held: Sequence[int],
    tagged: Sequence[Waiting],
    lanes: Lanes,
    *,
    touched: set[Place],
    now_us: int,
) -> None:
    """Prerequisites that ended meanwhile are met, barriers are looked for again."""
    settled = edges.settle_of(connection, sql, held, lanes=lanes, now_us=now_us)
    touched |= settled.touched
    touched |= admit(connection, sql, tagged, lanes=lanes, now_us=now_us)
    follow_up(connection, sql, ended=settled.ended, touched=touched, now_us=now_us)


def _revive(
    connection: Connection, jobs: Sequence[_Job], held: set[int], lanes: Lanes, *, now_us: int, fresh: bool
) -> None:
    places: dict[Readiness, list[int]] = defaultdict(list)
    for each in jobs:
        gate = Gate.PARENTS if each.id in held else None
        limited = lanes.limited(each.job_type, each.group_id)
        places[readiness(JobStatus.PENDING, due_us=now_us, now_us=now_us, gate=gate, limited=limited)].append(each.id)
    for place, ids in places.items():
        again = update(job).where(job.c.id.in_(ids), REVIVABLE)
        connection.execute(again.values(**place._asdict(), **_values(now_us=now_us, fresh=fresh)))


def _values(*, now_us: int, fresh: bool) -> dict[str, Any]:
    used_up = job.c.attempts >= func.coalesce(job.c.max_attempts, DEFAULT_MAX_ATTEMPTS)
    limit = (
        {"attempts": 0} if fresh else {"max_attempts": case((used_up, job.c.attempts + 1), else_=job.c.max_attempts)}
    )
    return {
        **limit,
        "status": JobStatus.PENDING,
        "updated_at": now_us,
        "last_retried_at": now_us,
        "expires_at": case((job.c.expires_at > now_us, job.c.expires_at)),
        "fence": job.c.fence + 1,
        **dict.fromkeys(("crashes", "interruptions", "lost_in_row"), 0),
        **dict.fromkeys(("next_attempt_at", "ended_at", "pending_reason", "failure_reason", "wish")),
    }


def _waiting_for_parents(connection: Connection, ids: Sequence[int]) -> set[int]:
    open_ones = select(edge.c.job_id).where(edge.c.job_id.in_(ids), edge.c.settled.is_(None))
    return set(connection.execute(open_ones).scalars())


def _undo_ends(connection: Connection, jobs: Sequence[_Job]) -> None:
    fewer = Counter((each.job_type, each.status) for each in jobs)
    tallies.note(connection, {key: -number for key, number in fewer.items()})
    connection.execute(update(tag).where(tag.c.job_id.in_([each.id for each in jobs])).values(live=1))


def _record(connection: Connection, jobs: Sequence[_Job], told: Mapping[int, dict[str, Any]], *, now_us: int) -> None:
    rows = [
        {
            "job_id": each.id,
            "type": "retried",
            "at": now_us,
            "metadata": as_json({"from": each.status, **told.get(each.id, {})}),
        }
        for each in jobs
    ]
    if rows:
        connection.execute(insert(event), rows)
