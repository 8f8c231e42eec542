"""From a `JobFilter` to SQL conditions on `job`, portable, and the same for every verb that takes a filter.

Statuses are literals: a bound value would hide the partial indexes from the planner. States that only live jobs have
are looked up in the partial indexes, so that a million ended jobs cost nothing. Used by whoever takes a filter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    and_,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    union_all,
)

from jobwarden.clock import to_us
from jobwarden.jobs.filter import ENDED, RETRYING, TagMode
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.moments import Instant
from jobwarden.store.schema import job, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Select

    from jobwarden.jobs.filter import JobFilter, MomentRange, NumberRange

FREE_STATE = "free"
"""A state for `in_states` alone: what `FREE` says, but looked up in the indexes of live jobs."""
RUNNING: ColumnElement[bool] = job.c.status == literal_column("'processing'")
"""As the partial index `job_node` says it."""
NOT_RUNNING: ColumnElement[bool] = job.c.status != literal_column("'processing'")
"""Free, or ended."""
FREE: ColumnElement[bool] = and_(job.c.ended_at.is_(None), NOT_RUNNING)
"""Pending, waiting or retrying: neither running nor ended."""


def conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    """All must hold; empty for a filter that matches everything."""
    found: list[ColumnElement[bool]] = []
    if wanted.ids is not None:
        found.append(job.c.id.in_(wanted.ids))
    if wanted.job_type is not None:
        found.append(job.c.job_type.in_(wanted.job_type))
    if wanted.status is not None:
        found.append(in_states(*wanted.status))
    if wanted.group_id is not None:
        found.append(job.c.group_id == wanted.group_id)
    found += _bounds(job.c.priority, wanted.priority)
    found += _bounds(job.c.run_at, wanted.run_at)
    found += _bounds(job.c.created_at, wanted.created_at)
    if wanted.tags is not None:
        found.append(_tagged(list(dict.fromkeys(wanted.tags)), wanted.tag_mode))
    return found


def in_states(*states: str) -> ColumnElement[bool]:
    """In one of these states (of a filter, or FREE_STATE); for looking up. `FREE` and the like are for guarding."""
    return or_(false(), *(_STATES[state]() for state in dict.fromkeys(states)))


def is_in_state(state: str, status: str, *, ended: bool) -> bool:
    """What `in_states` looks up, of a row at hand."""
    match state:
        case "ended":
            return ended
        case "retrying":
            return status == JobStatus.FAILED and not ended
        case "free":
            return status != JobStatus.PROCESSING and not ended
        case _:
            return status == state


def _bounds(column: Any, limits: NumberRange | MomentRange | None) -> list[ColumnElement[bool]]:
    if limits is None:
        return []
    given = ((name, getattr(limits, name)) for name in type(limits).model_fields)
    return [_COMPARISONS[name](column, _bound(bound)) for name, bound in given if bound is not None]


def _bound(bound: int | datetime) -> ColumnElement[int]:
    """A number is of 64 bits also beside a column of 32: one beyond its range is no error."""
    return literal(bound, BigInteger) if isinstance(bound, int) else literal(to_us(bound), Instant)


_COMPARISONS: dict[str, Callable[[Any, ColumnElement[int]], ColumnElement[bool]]] = {
    "eq": lambda column, bound: column == bound,
    "gt": lambda column, bound: column > bound,
    "gte": lambda column, bound: column >= bound,
    "lt": lambda column, bound: column < bound,
    "lte": lambda column, bound: column <= bound,
}


def _tagged(names: Sequence[str], mode: TagMode) -> ColumnElement[bool]:
    """One subquery for any number of tags: a tree of ANDs would be too deep for SQLite at a thousand."""
    match mode:
        case TagMode.ALL:
            return _carries_all(names)
        case TagMode.ANY:
            return job.c.id.in_(_carriers(names)) if names else false()
        case TagMode.NONE:
            return not_(exists().where(tag.c.job_id == job.c.id, tag.c.name.in_(names))) if names else true()
        case TagMode.EXACT:
            return and_(_carries_all(names), not_(exists().where(tag.c.job_id == job.c.id, tag.c.name.not_in(names))))


def _carries_all(names: Sequence[str]) -> ColumnElement[bool]:
    if not names:
        return true()
    # A job has a tag once, so that their number says that it has all.
    all_of_them = _carriers(names).group_by(tag.c.job_id).having(func.count() == len(names))
    return job.c.id.in_(_carriers(names) if len(names) == 1 else all_of_them)


def _carriers(names: Sequence[str]) -> Select[Any]:
    return select(tag.c.job_id).where(tag.c.name.in_(names))


def _live(status: str | None = None) -> ColumnElement[bool]:
    """A live job that does not run is in one of three partial indexes, each of which holds the status."""
    places: list[Select[Any]] = []
    for place in ("ready", "timed", "gated"):
        live = job.alias(place)
        here = {
            "ready": live.c.ready == literal_column("1"),
            "timed": and_(live.c.ready.is_(None), live.c.due_at.is_not(None), live.c.gate.is_(None)),
            "gated": live.c.gate.is_not(None),
        }
        chosen = select(live.c.id).where(here[place])
        places.append(chosen if status is None else chosen.where(live.c.status == literal_column(f"'{status}'")))
    return job.c.id.in_(union_all(*places))


def _running() -> ColumnElement[bool]:
    """Spelled as a subquery, or a list in the order of ids would read all jobs until it has found enough."""
    busy = job.alias("busy")
    return job.c.id.in_(select(busy.c.id).where(busy.c.status == literal_column("'processing'")))


def _ended(status: str) -> ColumnElement[bool]:
    """Through the index of history; a status that most jobs end in is better read along the key, see `_STATES`."""
    past = job.alias("past")
    return job.c.id.in_(
        select(past.c.id).where(past.c.status == literal_column(f"'{status}'"), past.c.ended_at.is_not(None))
    )


_STATES: dict[str, Callable[[], ColumnElement[bool]]] = {
    JobStatus.PENDING: lambda: _live("pending"),
    JobStatus.WAITING: lambda: _live("waiting"),
    JobStatus.PROCESSING: _running,
    JobStatus.COMPLETED: lambda: job.c.status == literal_column("'completed'"),
    JobStatus.FAILED: lambda: or_(_ended("failed"), _live("failed")),
    JobStatus.CANCELLED: lambda: _ended("cancelled"),
    RETRYING: lambda: _live("failed"),
    ENDED: lambda: job.c.ended_at.is_not(None),
    FREE_STATE: _live,
}
