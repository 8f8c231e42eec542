"""What outside of a free job keeps it from running: pauses, limits, rates, and that no node can take it.

A part of `explaining`; reads only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import RowMapping, func, literal, select, text, tuple_

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.jobs.control import EVERYTHING, Reason, ReasonKind
from jobwarden.store.gates.limits import GROUP, TYPE, read_limits
from jobwarden.store.gates.starts import starts_of
from jobwarden.store.people.reading import all_nodes
from jobwarden.store.readiness import Gate
from jobwarden.store.schema import control, job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection

    from jobwarden.jobs.rate import Rate
    from jobwarden.store.gates.limits import Lane, Limits
    from jobwarden.store.work import NodeView

MOST_HOLDERS = 5
"""Jobs that are named as holding a limit."""
MOST_IN_FRONT = 1_000
"""Jobs in front of a ready one that are counted."""

_READY = text("ready = 1")
_RUNNING = text("status = 'processing'")
_GROUPED = text("group_id IS NOT NULL AND (ready = 1 OR status = 'processing')")


class _Nodes(NamedTuple):
    live: list[NodeView]
    late: list[NodeView]
    serving: list[NodeView]
    """Live ones that have a handler for the job's type."""


def hindrances(connection: Connection, row: RowMapping, *, now_us: int, admitted: bool) -> Iterator[Reason]:
    """The reasons, for a job that is free. `admitted`: nothing of its own holds it, so that there must be one."""
    limits = read_limits(connection)
    nodes = _nodes(connection, row["job_type"], now_us=now_us)
    found = [*_pauses(connection, row, now_us=now_us)]
    if admitted:
        found += _lanes(connection, row, limits, now_us=now_us)
    found += _no_node(row, nodes, now_us=now_us)
    if nodes.serving:
        found += _node_limit(connection, row, limits, nodes)
    yield from found
    if admitted and not found:
        yield _turn(connection, row, limits, nodes)


def _pauses(connection: Connection, row: RowMapping, *, now_us: int) -> Iterator[Reason]:
    kept = control.c.paused_at.is_not(None) & control.c.name.in_([EVERYTHING, row["job_type"]])
    for each in connection.execute(select(control).where(kept).order_by(control.c.scope)).mappings():
        until = each["paused_until"]
        if each["scope"] == GROUP or (until is not None and until <= now_us):
            continue
        what = f"jobs of type {each['name']} are" if each["scope"] == TYPE else "all jobs are"
        why = f": {each['pause_reason']}" if each["pause_reason"] else ""
        end = "until somebody resumes them" if until is None else f"until {shown(until)}"
        moment = None if until is None else to_datetime(until)
        yield Reason(kind=ReasonKind.PAUSED, text=f"{what} paused {end}{why}", until=moment)


def _lanes(connection: Connection, row: RowMapping, limits: Limits, *, now_us: int) -> Iterator[Reason]:
    if row["ready"] is not None:
        return
    lanes = limits.lanes_of(row["job_type"], row["group_id"])
    full: list[Reason | None] = []
    for lane in lanes:
        limit = limits.of(lane)
        full.append(None if limit.max_running is None else _held(connection, lane, limit.max_running))
        full.append(None if limit.rate is None else _rate(connection, lane, limit.rate, now_us=now_us))
    told = [reason for reason in full if reason is not None]
    yield from told
    if not told and row["gate"] == Gate.LANE and row["job_type"] not in limits.paused:
        names = " and ".join(f"{lane.scope} {lane.name}" for lane in lanes)
        yield Reason(kind=ReasonKind.LIMIT, text=f"it waits for its turn among the limited jobs of {names}")


def _held(connection: Connection, lane: Lane, most: int) -> Reason | None:
    standing = [_mine(lane), _GROUPED] if lane.scope == GROUP else [_mine(lane)]
    ready = select(job.c.id).where(_READY, *standing)
    running = select(job.c.id).where(_RUNNING, *standing)
    number = sum(
        connection.execute(select(func.count()).select_from(each.subquery())).scalar_one() for each in (ready, running)
    )
    if number < most:
        return None
    held = [f"job {each} (running)" for each in connection.execute(running.limit(MOST_HOLDERS)).scalars()]
    held += [f"job {each} (ready)" for each in connection.execute(ready.limit(MOST_HOLDERS)).scalars()]
    names = "".join([": ", ", ".join(held[:MOST_HOLDERS]), ", …" if number > MOST_HOLDERS else ""]) if held else ""
    told = f"{lane.scope} {lane.name} is limited to {most} at once, and {number} of {most} are taken{names}"
    return Reason(kind=ReasonKind.LIMIT, text=told)


def _rate(connection: Connection, lane: Lane, rate: Rate, *, now_us: int) -> Reason | None:
    starts = starts_of(connection, lane.scope, [lane.name]).get(lane.name, [])
    if rate.free(starts, now_us=now_us) > 0:
        return None
    next_us = rate.next_free_us(starts, now_us=now_us) or now_us
    seconds = rate.window_us / SECOND_US
    told = f"{lane.scope} {lane.name} starts {rate.number} jobs in {seconds:g} s at most; the next at {shown(next_us)}"
    return Reason(kind=ReasonKind.RATE, text=told, until=to_datetime(next_us))


def _mine(lane: Lane) -> ColumnElement[bool]:
    return (job.c.job_type if lane.scope == TYPE else job.c.group_id) == lane.name


def _nodes(connection: Connection, job_type: str, *, now_us: int) -> _Nodes:
    nodes = all_nodes(connection)
    live = [each for each in nodes if now_us - each.beat_us <= each.lease_seconds * SECOND_US]
    serving = [each for each in live if any(served.job_type == job_type for served in each.types or ())]
    return _Nodes(live, [each for each in nodes if each not in live], serving)


def _no_node(row: RowMapping, nodes: _Nodes, *, now_us: int) -> Iterator[Reason]:
    if nodes.serving:
        return
    late = [f"{each.name} last beat {(now_us - each.beat_us) / SECOND_US:.0f} s ago" for each in nodes.late]
    loading = [f"{each.name} is loading its handlers" for each in nodes.live if each.types is None]
    broken = [f"{each.name}: {problem}" for each in nodes.live if (problem := (each.report or {}).get("problem"))]
    notes = "".join(f"; {note}" for note in (*loading, *broken, *late)[:MOST_HOLDERS])
    if not nodes.live:
        yield Reason(kind=ReasonKind.NO_NODE, text=f"no daemon runs on this store{notes}; start `jobwarden run`")
    else:
        told = f"no live node has a handler for {row['job_type']}{notes}"
        yield Reason(kind=ReasonKind.NO_HANDLER, text=told)


def _node_limit(connection: Connection, row: RowMapping, limits: Limits, nodes: _Nodes) -> Iterator[Reason]:
    most = limits.per_node.get(row["job_type"])
    if most is None:
        return
    ids = [each.node_id for each in nodes.serving]
    running = select(job.c.node_id, func.count()).where(
        _RUNNING, job.c.node_id.in_(ids), job.c.job_type == row["job_type"]
    )
    counts = {found[0]: found[1] for found in connection.execute(running.group_by(job.c.node_id))}
    if all(counts.get(node_id, 0) >= most for node_id in ids):
        told = f"a node runs {most} jobs of type {row['job_type']} at most, and each that has a handler runs as many"
        yield Reason(kind=ReasonKind.NODE_LIMIT, text=told)


def _turn(connection: Connection, row: RowMapping, limits: Limits, nodes: _Nodes) -> Reason:
    if row["ready"] is None:
        told = "its time has come; the next look at the store makes it ready"
        return Reason(kind=ReasonKind.READY, text=told)
    served = {each.job_type for node in nodes.serving for each in node.types or ()} - limits.paused.keys()
    order = (job.c.claim_rank, job.c.due_at, job.c.id)
    before = tuple_(*order) < tuple_(*(literal(row[column.name], column.type) for column in order))
    front = select(job.c.id).where(_READY, job.c.job_type.in_(sorted(served)), before).limit(MOST_IN_FRONT)
    number = connection.execute(select(func.count()).select_from(front.subquery())).scalar_one()
    before_it = f"{number} or more" if number == MOST_IN_FRONT else str(number)
    names = ", ".join(each.name for each in nodes.serving[:MOST_HOLDERS])
    told = f"it is ready and waits for a free worker of {names}; {before_it} ready jobs go before it"
    return Reason(kind=ReasonKind.READY, text=told)


def shown(us: int) -> str:
    """A moment for people."""
    return f"{to_datetime(us):%Y-%m-%d %H:%M:%S} UTC"
