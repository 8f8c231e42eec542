"""Which lanes there are, and what each allows: the controls as one transaction sees them. Decides nothing.

A type is a lane if it has a limit or a rate; a group too, by a control of its own or by that of `*`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, and_, false, or_, text

from jobwarden.jobs.control import EVERYTHING, ControlScope
from jobwarden.jobs.rate import Rate
from jobwarden.store.schema import control, job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

_FIELDS = ("scope", "name", "max_running", "max_per_node", "rate", "rate_seconds", "paused_at", "paused_until")
_COLUMNS = [control.c[name] for name in _FIELDS]
# Executed at each claim: plain text, of which only the moments are typed.
_READ = text(f"SELECT {', '.join(_FIELDS)} FROM control").columns(*_COLUMNS)

TYPE = str(ControlScope.TYPE)
GROUP = str(ControlScope.GROUP)


class Lane(NamedTuple):
    """A limited type or group."""

    scope: str
    name: str


class Limit(NamedTuple):
    """What a lane allows; None for no limit of that kind."""

    max_running: int | None
    rate: Rate | None

    @property
    def limits(self) -> bool:
        """Whether it limits anything; a group's control may only take it out of the default."""
        return self.max_running is not None or self.rate is not None


class ControlRow(NamedTuple):
    """What of a control matters for jobs."""

    scope: str
    name: str
    max_running: int | None
    max_per_node: int | None
    rate: int | None
    rate_seconds: float | None
    paused_at: int | None
    paused_until: int | None

    @property
    def limit(self) -> Limit:
        """Its limits over all nodes."""
        known = self.rate is not None and self.rate_seconds is not None
        return Limit(self.max_running, Rate.of(self.rate or 0, self.rate_seconds or 0) if known else None)


class Limits:
    """All controls, read at once."""

    def __init__(self, rows: Iterable[ControlRow] = ()) -> None:
        self._types: dict[str, Limit] = {}
        self._groups: dict[str, Limit] = {}
        self._default: Limit | None = None
        self.per_node: dict[str, int] = {}
        """Type -> how many of its jobs may run on one node."""
        self.paused: dict[str, int | None] = {}
        """Type -> the moment at which its pause is over, None for no such moment; `*` stands for all types."""
        for row in rows:
            self._enter(row)

    def _enter(self, row: ControlRow) -> None:
        limit = row.limit
        if row.scope == GROUP and row.name == EVERYTHING:
            self._default = limit if limit.limits else None
        elif row.scope == GROUP:
            self._groups[row.name] = limit
        elif row.paused_at is not None:
            self.paused[row.name] = row.paused_until
        if row.scope == TYPE and limit.limits:
            self._types[row.name] = limit
        if row.scope == TYPE and row.max_per_node is not None:
            self.per_node[row.name] = row.max_per_node

    @property
    def empty(self) -> bool:
        """Whether nothing is limited."""
        return not self._types and self._default is None and not any(limit.limits for limit in self._groups.values())

    def of(self, lane: Lane) -> Limit:
        """What the lane allows."""
        return self._types[lane.name] if lane.scope == TYPE else self._of_group(lane.name)

    def lanes_of(self, job_type: str, group_id: str | None) -> list[Lane]:
        """The lanes, none to two, in which a job of this type and group stands."""
        found = [Lane(TYPE, job_type)] if job_type in self._types else []
        if group_id is not None and self._of_group(group_id).limits:
            found.append(Lane(GROUP, group_id))
        return found

    @property
    def named(self) -> list[Lane]:
        """The types and groups that have a control of their own; a group's may be without limits."""
        return [Lane(TYPE, name) for name in self._types] + [Lane(GROUP, name) for name in self._groups]

    @property
    def default_most(self) -> int | None:
        """How many jobs of each group without a control of its own may run; None for no such limit."""
        return None if self._default is None else self._default.max_running

    @property
    def has_rates(self) -> bool:
        """Whether anything has a rate."""
        return bool(self.rated) or self.default_rated

    @property
    def rated(self) -> list[Lane]:
        """The lanes with a rate that have a control of their own."""
        types = [Lane(TYPE, name) for name, limit in self._types.items() if limit.rate is not None]
        return types + [Lane(GROUP, name) for name, limit in self._groups.items() if limit.rate is not None]

    @property
    def default_rated(self) -> bool:
        """Whether each group without a control of its own has a rate."""
        return self._default is not None and self._default.rate is not None

    def condition(self) -> ColumnElement[bool]:
        """Whether a row of `job` stands in any lane."""
        own = [name for name, limit in self._groups.items() if limit.limits]
        parts: list[ColumnElement[bool]] = [job.c.job_type.in_(list(self._types))] if self._types else []
        if self._default is not None:
            free = [name for name, limit in self._groups.items() if not limit.limits]
            parts.append(and_(job.c.group_id.is_not(None), job.c.group_id.not_in(free)))
        elif own:
            parts.append(and_(job.c.group_id.is_not(None), job.c.group_id.in_(own)))
        return or_(false(), *parts)

    def _of_group(self, group_id: str) -> Limit:
        return self._groups.get(group_id) or self._default or _NO_LIMIT


_NO_LIMIT = Limit(None, None)


def says_nothing() -> ColumnElement[bool]:
    """A control that may go. A group's without limits says something: `*` does not hold for it."""
    limits = [control.c[name].is_(None) for name in ("max_running", "max_per_node", "rate")]
    return and_(control.c.scope != GROUP, control.c.paused_at.is_(None), *limits)


def read_limits(connection: Connection) -> Limits:
    """One tiny read."""
    return Limits(ControlRow(*row) for row in connection.execute(_READ))
