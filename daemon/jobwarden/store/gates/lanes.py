"""Lanes: limited types and groups. A job of one becomes ready only when a lane has room for it (R14).

The claim knows nothing of this: it takes what is ready. Claiming moves a job from ready to running and leaves the
sum of both as it was, so the limit is exact, and nothing that could leak is counted. Running jobs are never touched.
One row is locked by whoever adjusts lanes or changes controls; nothing waits for a row of `job` from then on.
What is not due waits for its time first, and a job of a paused type waits outside: neither takes a place.

Next is who has the lowest (claim_rank, due_at, id). A job may stand in two lanes, that of its type and that of its
group, and needs room in both. One that its other lane holds up does not hold up those behind it; at most `FURTHEST`
waiters of a lane, and `MOST_FULL` full other lanes, are looked past in one go, by the repair pass all (`thorough`).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, insert, not_, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from jobwarden.jobs.control import EVERYTHING
from jobwarden.store.gates.limits import GROUP, TYPE, Lane, Limits, read_limits
from jobwarden.store.gates.occupancy import Occupancy
from jobwarden.store.matching import chunks
from jobwarden.store.row_locks import lock_idle_jobs
from jobwarden.store.schema import job, maintenance

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, TextClause

Place = tuple[str, str | None]
"""(job type, group): what decides in which lanes a job is."""

FURTHEST = 10_000
MOST_FULL = 500
MOST_FULL_THOROUGH = 20_000
_CHUNK = 500

# Literals, so that the partial indexes job_claim, job_lane_type, job_lane_group and job_group are used.
_READY = text("ready = 1")
_GATED = text("gate = 'lane'")
_GATED_IN_GROUP = text("gate = 'lane' AND group_id IS NOT NULL")
_GROUPED = text("group_id IS NOT NULL AND (ready = 1 OR status = 'processing')")
_ORDER = (job.c.claim_rank, job.c.due_at, job.c.id)
_NAME = "lanes"
_LOCK = select(maintenance.c.name).where(maintenance.c.name == _NAME).with_for_update()

_WITHDRAW: dict[str, object] = {"ready": None, "gate": "lane"}
_ADMIT: dict[str, object] = {"ready": 1, "gate": None}


class Waiter(NamedTuple):
    """A due job of a lane."""

    id: int
    job_type: str
    group_id: str | None


WAITER = (job.c.id, job.c.job_type, job.c.group_id)


class Lanes:
    """The limits in force, as this transaction sees them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    @classmethod
    def load(cls, connection: Connection) -> Lanes:
        """Read them; cheap where there are none."""
        return cls(read_limits(connection))

    @classmethod
    def lock(cls, connection: Connection) -> Lanes:
        """Lock them until this transaction ends, so that nobody else counts or changes them, then read them."""
        if connection.execute(_LOCK).first() is None:
            _make_lock(connection)
        return cls.load(connection)

    @property
    def empty(self) -> bool:
        """Whether nothing is limited."""
        return self.limits.empty

    def limited(self, job_type: str, group_id: str | None) -> bool:
        """Whether a job of this type and group has to be admitted once it is due."""
        return bool(self.limits.lanes_of(job_type, group_id))

    def of(self, places: Iterable[Place]) -> set[Lane]:
        """The lanes in which jobs of these places stand."""
        return {lane for each in set(places) for lane in self.limits.lanes_of(*each)}

    def settle(self, connection: Connection, lanes: Collection[Lane], *, now_us: int, thorough: bool = False) -> int:
        """Admit what there is room for in these lanes, and withdraw what there is no room for. How many became ready.

        For whoever has locked them.
        """
        if not lanes:
            return 0
        occupancy = Occupancy(connection, self.limits, now_us=now_us)
        wanted = set(lanes) | self._withdraw_paused(connection, lanes)
        wanted |= self._withdraw(connection, occupancy, wanted)
        # Types first: they see the waiters of all groups in one order.
        open_lanes = [lane for lane in wanted if lane.scope == GROUP or lane.name not in self.limits.paused]
        ordered = sorted(open_lanes, key=lambda each: (each.scope != TYPE, each.name))
        return sum(self._admit(connection, occupancy, lane, thorough=thorough) for lane in ordered)

    def _withdraw_paused(self, connection: Connection, lanes: Collection[Lane]) -> set[Lane]:
        """A job of a paused type must not hold a place of its group; the lanes of those that did."""
        names = sorted(lane.name for lane in lanes if lane.scope == GROUP)
        if not names or not self.limits.paused:
            return set()
        freed: set[Lane] = set()
        for first in range(0, len(names), _CHUNK):
            query = select(*WAITER).where(_GROUPED, _READY, job.c.group_id.in_(names[first : first + _CHUNK]))
            held = [row for row in connection.execute(query) if row.job_type in self.limits.paused]
            withdraw(connection, [row.id for row in held])
            freed |= self.of((row.job_type, row.group_id) for row in held)
        return freed

    def _withdraw(self, connection: Connection, occupancy: Occupancy, lanes: set[Lane]) -> set[Lane]:
        """Take the last of the ready jobs out of lanes that have too many; the other lanes that these stood in."""
        occupancy.count(lanes)
        freed: set[Lane] = set()
        for lane in sorted(lanes):
            surplus = -occupancy.room(lane)
            if surplus > 0:
                last = connection.execute(_ready_of(lane).limit(surplus)).all()
                withdraw(connection, [row.id for row in last])
                freed |= self.of((row.job_type, row.group_id) for row in last)
                occupancy.forget()
        return freed

    def _admit(self, connection: Connection, occupancy: Occupancy, lane: Lane, *, thorough: bool) -> int:
        """Make the next waiters of this lane ready for which all their lanes have room; how many."""
        number = 0
        full = set(self.limits.paused) if lane.scope == GROUP else set()
        most_full, furthest = (MOST_FULL_THOROUGH, None) if thorough else (MOST_FULL, FURTHEST)
        while (room := occupancy.room(lane)) > 0 and len(full) < most_full:
            known = len(full)
            # Where some lanes are full others may be: they are found out together.
            limit = max(room, _CHUNK) if full else room
            query = _waiters_of(lane, full, limit=limit, furthest=furthest)
            found = [Waiter(*row[:3]) for row in connection.execute(query)]
            admitted = self._fitting(occupancy, lane, found, full)
            number += admit(connection, admitted)
            if len(found) < limit or len(full) == known:
                break
        return number

    def _fitting(self, occupancy: Occupancy, lane: Lane, waiters: list[Waiter], full: set[str]) -> list[int]:
        """Those that fit into their other lanes too; they are entered. The names of closed lanes go to `full`."""
        others = [[each for each in self.limits.lanes_of(*waiter[1:]) if each != lane] for waiter in waiters]
        occupancy.count(each for lanes in others for each in lanes)
        fitting: list[int] = []
        for waiter, lanes in zip(waiters, others, strict=True):
            if occupancy.room(lane) <= 0:
                break
            closed = [each.name for each in lanes if occupancy.room(each) <= 0]
            full.update(closed)
            if not closed:
                fitting.append(waiter.id)
                for each in (lane, *lanes):
                    occupancy.enter(each)
        return fitting


NO_LANES = Lanes(Limits())
"""For a store without controls."""


def _make_lock(connection: Connection) -> None:
    """A row of its own: those of `control` come and go, and whoever locked them twice could meet others crosswise."""
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(insert(maintenance), {"name": _NAME, "next_at": 0})
    connection.execute(_LOCK)


def adjust(connection: Connection, touched: Collection[Place], *, now_us: int) -> int:
    """Admit what there is room for, and withdraw what there is no room for, where jobs came into lanes or left them.

    `touched` are the places of these jobs. How many became ready. It comes last in a transaction, but for the claim.
    """
    if not touched or not Lanes.load(connection).of(touched):
        return 0
    lanes = Lanes.lock(connection)
    return lanes.settle(connection, lanes.of(touched), now_us=now_us)


@contextmanager
def lanes_adjusted(connection: Connection, *, now_us: int) -> Iterator[set[Place]]:
    """For the places that jobs come to or leave inside: at the end, their lanes are adjusted."""
    touched: set[Place] = set()
    yield touched
    adjust(connection, touched, now_us=now_us)


def admit(connection: Connection, ids: Sequence[int], standing: TextClause = _GATED) -> int:
    """Those of these that (still) stand so may be claimed; how many."""
    return _change(connection, ids, standing, _ADMIT)


def withdraw(connection: Connection, ids: Sequence[int], standing: TextClause = _READY) -> int:
    """Those of these that (still) stand so wait in their lanes; how many."""
    return _change(connection, ids, standing, _WITHDRAW)


def adjust_changed(connection: Connection, scope: str, name: str, *, now_us: int) -> None:
    """A control was set, cleared, paused or resumed: withdraw what is now beyond a limit, release what no longer is.

    For whoever has locked the lanes. What somebody else is changing at this moment stays as it is.
    """
    lanes = Lanes.load(connection)
    limited = lanes.limits.condition()
    ready, waiting = _rows_of(scope, name)
    pairs = select(job.c.job_type, job.c.group_id).where(limited).distinct()
    touched = {(row[0], row[1]) for rows in (ready, waiting) for row in connection.execute(pairs.where(rows))}
    withdraw(connection, _ids(connection, ready, limited))
    admit(connection, _ids(connection, waiting, not_(limited)))
    lanes.settle(connection, lanes.of(touched), now_us=now_us)


def _ids(connection: Connection, *conditions: ColumnElement[bool]) -> list[int]:
    return list(connection.execute(select(job.c.id).where(*conditions)).scalars())


def _rows_of(scope: str, name: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The ready and the waiting rows that this control is, or was, about."""
    if scope == TYPE:
        own = job.c.job_type == name
        return and_(_READY, own), and_(_GATED, own)
    named = job.c.group_id.is_not(None) if name == EVERYTHING else job.c.group_id == name
    return and_(_GROUPED, _READY, named), and_(_GATED_IN_GROUP, named)


def _ready_of(lane: Lane) -> Select[tuple[int, str, str | None]]:
    """The ready jobs of a lane, the last first."""
    last_first = [column.desc() for column in _ORDER]
    query = select(*WAITER).where(_READY).order_by(*last_first)
    if lane.scope == TYPE:
        return query.where(job.c.job_type == lane.name)
    return query.where(_GROUPED, job.c.group_id == lane.name)


def _waiters_of(lane: Lane, full: Collection[str], *, limit: int, furthest: int | None) -> Select[Any]:
    """The next of the first `furthest` waiters of a lane, without those of other lanes that are known to be full."""
    query = select(*WAITER, job.c.claim_rank, job.c.due_at).order_by(*_ORDER)
    if lane.scope == TYPE:
        query = query.where(_GATED, job.c.job_type == lane.name)
    else:
        query = query.where(_GATED_IN_GROUP, job.c.group_id == lane.name)
    if not full:
        # Whom somebody else is changing gives its turn to the next.
        return query.limit(limit).with_for_update(skip_locked=True)
    near = query.limit(furthest).subquery()
    other = near.c.group_id if lane.scope == TYPE else near.c.job_type
    order = (near.c.claim_rank, near.c.due_at, near.c.id)
    return select(near).where(or_(other.is_(None), other.not_in(sorted(full)))).order_by(*order).limit(limit)


def _change(connection: Connection, ids: Sequence[int], standing: TextClause, values: dict[str, object]) -> int:
    """Who is passed over because somebody else changes it is dealt with by that transaction, which comes here too."""
    free = lock_idle_jobs(connection, ids, standing)
    for some in chunks(free):
        connection.execute(update(job).where(job.c.id.in_(some)).values(values))
    return len(free)
