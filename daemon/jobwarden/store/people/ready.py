"""`store.ready`: what could be claimed this moment, for consumers that serve any type and for those who only look.

Read only, and as far as a claim would see it: jobs that are ready, and those that have become due since the last claim;
of paused types none is offered or counted. Jobs that wait for a limit are not ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import and_, func, literal_column, select, true

from jobwarden.jobs.control import EVERYTHING
from jobwarden.store.gates.limits import read_limits
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, Connection

    from jobwarden.store.access import Access

_READY = job.c.ready == literal_column("1")
"""A literal: a bound value would hide the partial index from the planner."""
_ORDER = (job.c.claim_rank, job.c.due_at, job.c.id)


class _Place(NamedTuple):
    """Where a job stands in the order of the claim."""

    claim_rank: int
    due_at: int
    id: int


class Ready:
    """Made by `Store`. `types` None stands for all."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def types(self, *, now_us: int) -> list[str]:
        """The job types of which something is ready, paused ones too: the claim leaves those out. One look for each."""
        with self._access.reading() as connection:
            return sorted(set(_first_of_each_type(connection)) | set(_due_types(connection, now_us=now_us)))

    def next_id(self, types: Sequence[str] | None, *, now_us: int) -> int | None:
        """The job that a claim of these types would take first."""
        with self._access.reading() as connection:
            firsts = _first_of_each_type(connection)
            wanted = (set(firsts) | set(_due_types(connection, now_us=now_us))) if types is None else set(types)
            wanted -= _paused(connection, wanted, now_us=now_us)
            places = [place for job_type, place in firsts.items() if job_type in wanted]
            due = select(*_ORDER).where(_became_due(now_us), job.c.job_type.in_(wanted)).order_by(*_ORDER).limit(1)
            places += [_Place(*row) for row in connection.execute(due)]
            return min(places).id if places else None

    def count(self, types: Sequence[str] | None, *, now_us: int) -> int:
        """How many jobs could be claimed."""
        with self._access.reading() as connection:
            known = true() if types is None else job.c.job_type.in_(types)
            number: dict[str, int] = {}
            for state in (_READY, _became_due(now_us)):
                query = select(job.c.job_type, func.count()).where(state, known).group_by(job.c.job_type)
                for job_type, found in connection.execute(query):
                    number[job_type] = number.get(job_type, 0) + found
            paused = _paused(connection, set(number), now_us=now_us)
            return sum(found for job_type, found in number.items() if job_type not in paused)

    def depth(self, types: Collection[str], *, most: int, now_us: int) -> int:
        """How many jobs of these types could be claimed; at `most` it stops counting, so that it costs little."""
        with self._access.reading() as connection:
            wanted = set(types) - _paused(connection, set(types), now_us=now_us)
            found = 0
            for state in (_READY, _became_due(now_us)):
                some = select(job.c.id).where(state, job.c.job_type.in_(wanted)).limit(most - found).subquery()
                found += connection.execute(select(func.count()).select_from(some)).scalar_one()
            return found


def _first_of_each_type(connection: Connection) -> dict[str, _Place]:
    """Steps from type to type through the claim index, so that a long queue of one type costs nothing."""
    found: dict[str, _Place] = {}
    query = select(job.c.job_type, *_ORDER).where(_READY).order_by(job.c.job_type, *_ORDER).limit(1)
    row = connection.execute(query).first()
    while row is not None:
        found[row.job_type] = _Place(*row[1:])
        row = connection.execute(query.where(job.c.job_type > row.job_type)).first()
    return found


def _due_types(connection: Connection, *, now_us: int) -> list[str]:
    return list(connection.execute(select(job.c.job_type).where(_became_due(now_us)).distinct()).scalars())


def _became_due(now_us: int) -> ColumnElement[bool]:
    return and_(job.c.ready.is_(None), job.c.due_at.is_not(None), job.c.gate.is_(None), job.c.due_at <= now_us)


def _paused(connection: Connection, types: set[str], *, now_us: int) -> set[str]:
    """Those of these types that are paused now."""
    holding = {name for name, until in read_limits(connection).paused.items() if until is None or until > now_us}
    return set(types) if EVERYTHING in holding else types & holding
