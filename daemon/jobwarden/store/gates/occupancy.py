"""How much room lanes have now: counted from the rows, as far as it was asked for. Never writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, literal_column, select, text, union_all

from jobwarden.store.gates.limits import GROUP, TYPE, Lane
from jobwarden.store.gates.starts import starts_of
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from jobwarden.store.gates.limits import Limits

_CHUNK = 500
_MOST_CROWDED = 1_000
# Literals, so that the partial indexes job_claim, job_node and job_group are used.
_READY = text("ready = 1")
_RUNNING = text("status = 'processing'")
_GROUPED = text("group_id IS NOT NULL AND (ready = 1 OR status = 'processing')")


class Occupancy:
    """Counts once per lane; `enter` keeps the count right while jobs are admitted."""

    def __init__(self, connection: Connection, limits: Limits, *, now_us: int) -> None:
        """Nothing is counted yet."""
        self._connection = connection
        self._limits = limits
        self._now_us = now_us
        self._room: dict[Lane, int] = {}

    def room(self, lane: Lane) -> int:
        """How many more jobs may become ready; negative where too many are."""
        self.count([lane])
        return self._room[lane]

    def count(self, lanes: Iterable[Lane]) -> None:
        """Count those that were not counted before, together."""
        missing = {lane for lane in lanes if lane not in self._room}
        for scope in (TYPE, GROUP):
            names = sorted(lane.name for lane in missing if lane.scope == scope)
            for first in range(0, len(names), _CHUNK):
                self._count(scope, names[first : first + _CHUNK])

    def enter(self, lane: Lane) -> None:
        """One more of its jobs is ready."""
        self._room[lane] -= 1

    def forget(self) -> None:
        """Rows were changed: count anew."""
        self._room.clear()

    def _count(self, scope: str, names: list[str]) -> None:
        ready, running = self._types(names) if scope == TYPE else self._groups(names)
        rated = [name for name in names if self._limits.of(Lane(scope, name)).rate is not None]
        starts = starts_of(self._connection, scope, rated) if rated else {}
        for name in names:
            limit = self._limits.of(Lane(scope, name))
            rooms = []
            if limit.max_running is not None:
                rooms.append(limit.max_running - ready.get(name, 0) - running.get(name, 0))
            if limit.rate is not None:
                rooms.append(max(0, limit.rate.free(starts.get(name, ()), now_us=self._now_us)) - ready.get(name, 0))
            self._room[Lane(scope, name)] = min(rooms)

    def _types(self, names: list[str]) -> tuple[dict[str, int], dict[str, int]]:
        # One statement: a job that is claimed between two would be counted twice, or not at all.
        both = [
            select(literal_column(place).label("place"), job.c.job_type, func.count())
            .where(job.c.job_type.in_(names), standing)
            .group_by(job.c.job_type)
            for place, standing in (("0", _READY), ("1", _RUNNING))
        ]
        found: tuple[dict[str, int], dict[str, int]] = ({}, {})
        for place, name, number in self._connection.execute(union_all(*both)):
            found[place][name] = number
        return found

    def _groups(self, names: list[str]) -> tuple[dict[str, int], dict[str, int]]:
        number = select(job.c.group_id, func.count(), func.count(job.c.ready)).where(_GROUPED)
        found = self._connection.execute(number.where(job.c.group_id.in_(names)).group_by(job.c.group_id)).all()
        ready = {name: count for name, _both, count in found}
        return ready, {name: both - count for name, both, count in found}


def overfull(connection: Connection, limits: Limits, *, now_us: int) -> set[Lane]:
    """Lanes in which more is ready than there is room for: a transaction that did not know of the limit left it."""
    suspects = set(limits.named)
    if limits.default_most is not None:
        query = select(job.c.group_id).where(_GROUPED).group_by(job.c.group_id)
        crowded = query.having(func.count() > limits.default_most).limit(_MOST_CROWDED)
        suspects |= {Lane(GROUP, name) for name in connection.execute(crowded).scalars()}
    known = [lane for lane in suspects if limits.of(lane).limits]
    occupancy = Occupancy(connection, limits, now_us=now_us)
    occupancy.count(known)
    return {lane for lane in known if occupancy.room(lane) < 0}
