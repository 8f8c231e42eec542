"""A round of maintenance: duties in order, each in small batches, one transaction each.

A round belongs to whichever node moves the maintenance row on; there is no election, and a node that dies in a round
leaves nothing half done. What a batch did not reach, the next one does. Called by the writer; never looks at a clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from jobwarden.clock import SECOND_US
from jobwarden.store.gates.aging import lift_starved
from jobwarden.store.gates.lanes import Lanes, lanes_adjusted
from jobwarden.store.keeping import repair, retention, tallies
from jobwarden.store.keeping.expiring import expire
from jobwarden.store.keeping.retention import DAY_US, ENDS, Retention
from jobwarden.store.schema import maintenance

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from jobwarden.jobs.outcome import JobStatus
    from jobwarden.store.statements import Statements

BATCH = 400
"""Jobs in one transaction: it holds up claims and outcomes for some milliseconds."""

STRETCH = 500
"""Awaited jobs that one step of the repair pass looks at."""

MOST_STRETCHES = 50
"""Steps of the repair pass in one round, where nothing is found to repair."""

LANES = 50
"""Groups whose lanes are looked at in one round."""

LEISURE_US = 60 * SECOND_US

LONGEST_PERIOD_US = 3600 * SECOND_US
"""A round that is due later than this was set by a clock that has since been put right."""

_ROW = "round"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set."""

    retention: Retention
    starvation_seconds: float | None
    """None: priorities are strict (see `aging`)."""


class Turn(NamedTuple):
    """What a duty gets for one batch."""

    connection: Connection
    sql: Statements
    now_us: int
    rules: Rules
    marks: Marks


class Marks(msgspec.Struct):
    """Where duties that walk through a table go on, in this round or in the next."""

    edges: int = 0
    barriers: int = 0
    lanes: str = ""
    keys: str = ""
    stretches: int = 0
    """How many stretches of edges and barriers this round has walked."""
    leisure_us: int = 0
    """When the duties of leisure were last done."""


class Batch(NamedTuple):
    """What a duty did. `more`: it may find as much again at once."""

    number: int
    more: bool = False


class Step(NamedTuple):
    """What a committed batch did."""

    number: int
    moved: bool
    """Jobs have ended, or become ready."""


class Duty(NamedTuple):
    """One kind of maintenance."""

    name: str
    """What its number counts, for people."""
    batch: Callable[[Turn], Batch]
    moves_jobs: bool = False
    """Whether jobs end or become ready by it, so that others should look."""


class Rounds:
    """One node's part in maintenance; lives as long as the node does."""

    def __init__(self, rules: Rules) -> None:
        """Nothing is to be done until `begin`."""
        self.rules = rules
        """May be replaced at any time."""
        self.done: dict[str, int] = {}
        """What the current, or the last, round did: name of the duty -> number."""
        self._left: deque[Duty] = deque()
        self._marks = Marks()

    def is_over(self) -> bool:
        """Whether nothing of the round is left."""
        return not self._left

    def begin(self) -> None:
        """A round was won."""
        self._left = deque(DUTIES)
        self._marks.stretches = 0
        self.done = {}

    def repeats_itself(self) -> bool:
        """Whether the next batch is about nothing that anybody was told of: if it were undone, it would come again."""
        return not self._left[0].moves_jobs

    def run(self, connection: Connection, sql: Statements, *, now_us: int) -> Batch:
        """One batch, in the caller's transaction; `note` it once that is committed, else `skip`.

        Duties before it that find nothing to do cost no transaction of their own, so an idle round is two.
        """
        turn = Turn(connection, sql, now_us, self.rules, self._marks)
        while True:
            batch = self._left[0].batch(turn)
            if batch.number or batch.more or not self._next_is_alike():
                return batch
            self._left.popleft()

    def _next_is_alike(self) -> bool:
        """Whether the next duty may share a transaction with this one: both wait for the disk, or neither does."""
        return len(self._left) > 1 and self._left[1].moves_jobs == self._left[0].moves_jobs

    def note(self, batch: Batch) -> Step:
        """The batch stands."""
        duty = self._left.popleft()
        if batch.number:
            self.done[duty.name] = self.done.get(duty.name, 0) + batch.number
        if batch.more:  # behind the others, which would otherwise wait for the end of a long backlog
            self._left.append(duty)
        return Step(batch.number, duty.moves_jobs and batch.number > 0)

    def skip(self) -> str:
        """Leave out what could not be done in this round; its name."""
        return self._left.popleft().name

    def abandon(self) -> None:
        """Leave out all that is left of this round."""
        self._left.clear()


def win_round(connection: Connection, *, period_us: int, now_us: int) -> bool:
    """Whether this round is ours: exactly one of all who ask within a period is told so."""
    due = or_(maintenance.c.next_at <= now_us, maintenance.c.next_at > now_us + LONGEST_PERIOD_US)
    row = maintenance.c.name == _ROW
    if connection.execute(update(maintenance).where(row, due).values(next_at=now_us + period_us)).rowcount:
        return True
    if connection.execute(select(maintenance.c.name).where(row)).first() is not None:
        return False
    try:
        with connection.begin_nested():
            connection.execute(insert(maintenance), {"name": _ROW, "next_at": now_us + period_us})
    except IntegrityError:  # somebody else has just made the row, and so won
        return False
    return True


def _expire(turn: Turn) -> Batch:
    with lanes_adjusted(turn.connection, now_us=turn.now_us) as touched:
        number = len(expire(turn.connection, turn.sql, touched=touched, now_us=turn.now_us, limit=BATCH))
    return Batch(number, more=number == BATCH)


def _edges(turn: Turn) -> Batch:
    marks = turn.marks
    walk = repair.settle_edges(
        turn.connection, turn.sql, after_id=marks.edges, stretch=STRETCH, limit=BATCH, now_us=turn.now_us
    )
    if not walk.number:
        marks.edges = walk.end
    return _walked(marks, walk.number, end=walk.end)


def _barriers(turn: Turn) -> Batch:
    marks = turn.marks
    walk = repair.open_barriers(turn.connection, turn.sql, after_id=marks.barriers, stretch=STRETCH, now_us=turn.now_us)
    if not walk.number:
        marks.barriers = walk.end
    return _walked(marks, walk.number, end=walk.end)


def _walked(marks: Marks, number: int, *, end: int) -> Batch:
    """What brought something is looked at once more, for what followed from it; the rest of a long walk can wait."""
    marks.stretches += 1
    return Batch(number, more=number > 0 or (end > 0 and marks.stretches < MOST_STRETCHES))


def _lanes(turn: Turn) -> Batch:
    number, turn.marks.lanes = repair.fill_lanes(
        turn.connection, turn.sql, after_group=turn.marks.lanes, stretch=LANES, now_us=turn.now_us
    )
    return Batch(number)


def _leisure(turn: Turn) -> Batch:
    """What looks at whole tables, though small ones, and is hardly ever needed."""
    marks = turn.marks
    if 0 <= turn.now_us - marks.leisure_us < LEISURE_US:
        return Batch(0)
    marks.leisure_us = turn.now_us
    Lanes.lock(turn.connection)
    retention.remove_old_slices(turn.connection, now_us=turn.now_us)
    return Batch(repair.release_unlimited(turn.connection))


def _starved(turn: Turn) -> Batch:
    return Batch(lift_starved(turn.connection, now_us=turn.now_us, after_seconds=turn.rules.starvation_seconds))


def _fold(turn: Turn) -> Batch:
    tallies.fold(turn.connection)
    return Batch(0)


def _remove(*statuses: JobStatus) -> Callable[[Turn], Batch]:
    """Remove ended jobs that were kept for their days."""

    def batch(turn: Turn) -> Batch:
        number = 0
        for status in statuses:
            days = turn.rules.retention.days(status)
            if days is not None and number < BATCH:
                number += retention.remove_old_jobs(
                    turn.connection,
                    turn.sql,
                    status,
                    before_us=turn.now_us - int(days * DAY_US),
                    limit=BATCH - number,
                    now_us=turn.now_us,
                )
        return Batch(number, more=number == BATCH)

    return batch


def _expired_keys(turn: Turn) -> Batch:
    number = retention.remove_expired_keys(turn.connection, limit=BATCH, now_us=turn.now_us)
    return Batch(number, more=number == BATCH)


def _idle_keys(turn: Turn) -> Batch:
    number, turn.marks.keys = retention.remove_idle_keys(turn.connection, after=turn.marks.keys, limit=BATCH)
    return Batch(number)


DUTIES = (
    Duty("expired", _expire, moves_jobs=True),
    Duty("settled", _edges, moves_jobs=True),
    Duty("settled", _barriers, moves_jobs=True),
    Duty("admitted", _lanes, moves_jobs=True),
    Duty("admitted", _leisure, moves_jobs=True),
    Duty("lifted", _starved),
    Duty("removed", _remove(*ENDS)),
    Duty("keys", _expired_keys),
    Duty("keys", _idle_keys),
    Duty("folded", _fold),
)
