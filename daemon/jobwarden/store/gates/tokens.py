"""Rates at work: the claim takes a token for each job that it starts, from every rate-limited lane of that job.

A token that went to a job which was given back unstarted is returned. Nothing here is touched while nothing has a rate.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select, text

from jobwarden.store.gates.lanes import Lanes, withdraw
from jobwarden.store.gates.limits import GROUP, TYPE, Lane, read_limits
from jobwarden.store.gates.starts import return_tokens, starts_of, take_tokens
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from jobwarden.jobs.rate import Rate
    from jobwarden.store.gates.limits import Limits
    from jobwarden.store.statements import Statements

_CHUNK = 500
_MOST_GROUPS = 500
"""Waiting groups that are looked at for a rate that all groups have; the others follow when these have moved."""

_GATED = text("gate = 'lane'")


class Token(NamedTuple):
    """That a job was started in a lane at `taken_us` (wall microseconds)."""

    lane: Lane
    rate: Rate
    taken_us: int


def admit_by_time(connection: Connection, sql: Statements, lanes: Lanes, *, now_us: int) -> int:
    """Time alone gives tokens: admit waiters of lanes with a rate; how many became ready. For locked lanes."""
    return lanes.settle(connection, _rated_with_waiters(connection, sql, lanes.limits), now_us=now_us)


def next_token_us(connection: Connection, sql: Statements, limits: Limits, *, now_us: int) -> int | None:
    """When the first lane that has waiters and no token gets one; None if there is no such lane."""
    moments: list[int] = []
    lanes = _rated_with_waiters(connection, sql, limits)
    for scope in (TYPE, GROUP):
        names = [lane.name for lane in lanes if lane.scope == scope]
        starts = starts_of(connection, scope, names)
        for name in names:
            rate = limits.of(Lane(scope, name)).rate
            if rate is not None and rate.free(starts.get(name, ()), now_us=now_us) <= 0:
                moments.append(rate.next_free_us(starts.get(name, ()), now_us=now_us) or now_us)
    return min(moments, default=None)


def take_for(connection: Connection, lanes: Lanes, ids: Sequence[int], *, now_us: int) -> set[int]:
    """Take the tokens of these jobs, in this order; those for which there were some. The others go back to wait.

    Lanes admit no more than there are tokens for; fewer are there only if a clock was set back. For locked lanes.
    """
    free: dict[Lane, int] = {}
    taken: Counter[Lane] = Counter()
    allowed: set[int] = set()
    rates = _rates_of(connection, lanes.limits, ids)
    for job_id in ids:
        wanted = rates.get(job_id, {})
        for lane in wanted.keys() - free.keys():
            starts = starts_of(connection, lane.scope, [lane.name])
            free[lane] = wanted[lane].free(starts.get(lane.name, ()), now_us=now_us)
        if all(taken[lane] < free[lane] for lane in wanted):
            allowed.add(job_id)
            taken.update(wanted.keys())
    for lane, number in taken.items():
        rate = lanes.limits.of(lane).rate
        if rate is not None:
            take_tokens(connection, lane, rate, number=number, now_us=now_us)
    withdraw(connection, [job_id for job_id in ids if job_id not in allowed])
    return allowed


def tokens_of(connection: Connection, ids: Sequence[int]) -> dict[int, list[Token]]:
    """Before running jobs are given back: the tokens that each took."""
    limits = read_limits(connection)
    if not limits.has_rates:
        return {}
    rates = _rates_of(connection, limits, ids)
    found: dict[int, list[Token]] = {}
    for some in _chunks(ids):
        query = select(job.c.id, job.c.locked_at).where(job.c.id.in_(some), job.c.locked_at.is_not(None))
        for job_id, taken_us in connection.execute(query):
            found[job_id] = [Token(lane, rate, taken_us) for lane, rate in rates.get(job_id, {}).items()]
    return found


def return_for(connection: Connection, tokens: Iterable[Token]) -> None:
    """These jobs were given back unstarted. For whoever has locked the lanes."""
    for (lane, rate, taken_us), number in Counter(tokens).items():
        return_tokens(connection, lane, rate, number=number, taken_us=taken_us)


def _rated_with_waiters(connection: Connection, sql: Statements, limits: Limits) -> list[Lane]:
    lanes = [lane for lane in limits.rated if _has_waiters(connection, lane)]
    if limits.default_rated:
        names = connection.execute(sql.waiting_groups, {"after": "", "most": _MOST_GROUPS}).scalars()
        lanes += [Lane(GROUP, name) for name in names if limits.of(Lane(GROUP, name)).rate is not None]
    return list(dict.fromkeys(lanes))


def _has_waiters(connection: Connection, lane: Lane) -> bool:
    column = job.c.job_type if lane.scope == TYPE else job.c.group_id
    return connection.execute(select(job.c.id).where(_GATED, column == lane.name).limit(1)).first() is not None


def _rates_of(connection: Connection, limits: Limits, ids: Sequence[int]) -> dict[int, dict[Lane, Rate]]:
    """Job -> its lanes that have a rate; jobs without any are left out."""
    found: dict[int, dict[Lane, Rate]] = {}
    for some in _chunks(ids):
        query = select(job.c.id, job.c.job_type, job.c.group_id).where(job.c.id.in_(some))
        for job_id, *place in connection.execute(query):
            rates = {lane: limits.of(lane).rate for lane in limits.lanes_of(*place)}
            known = {lane: rate for lane, rate in rates.items() if rate is not None}
            if known:
                found[job_id] = known
    return found


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
