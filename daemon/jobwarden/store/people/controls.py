"""`store.controls`: pauses, limits and rates, editable at run time and kept in the store; why a job does not run.

Arguments are checked before anything is touched. What a changed limit means for jobs is `lanes`' affair, in the same
transaction. Nothing here stops a running job.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, RowMapping, and_, delete, insert, select, update

from jobwarden.clock import to_datetime
from jobwarden.errors import InvalidJobError
from jobwarden.jobs.control import EVERYTHING, Control, ControlScope, Explanation
from jobwarden.jobs.options import LONGEST_SECONDS, refuse_unstorable
from jobwarden.store.gates.lanes import Lanes, adjust_changed
from jobwarden.store.gates.limits import says_nothing
from jobwarden.store.people.explaining import explain_job
from jobwarden.store.schema import control

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from jobwarden.store.access import Access, Answer


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""What a limit that is not mentioned stays at; None takes a limit away."""

MOST_RUNNING = 1_000_000
SHORTEST_RATE_SECONDS = 0.05
LONGEST_NAME = 255
LONGEST_REASON = 1_000

_ControlList = list[Control]
_LIMITS = ("max_running", "max_per_node", "rate", "rate_seconds")


class Controls:
    """Made by `Store`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def set_limit(
        self,
        scope: str,
        name: str,
        *,
        max_running: int | Unchanged | None = UNCHANGED,
        max_per_node: int | Unchanged | None = UNCHANGED,
        rate: int | Unchanged | None = UNCHANGED,
        rate_seconds: float | Unchanged | None = UNCHANGED,
        now_us: int,
    ) -> Control:
        """Limit a type or a group (`*`: each group without limits of its own); the control as it is then.

        What is not given stays, None takes a limit away. `max_running` holds over all nodes, `max_per_node` (types
        only) on each; `rate` jobs may start in any `rate_seconds`. Jobs beyond a limit wait; running ones go on.
        Raises InvalidJobError naming the argument.
        """
        kind = _limited_scope(scope, name)
        given = {"max_running": max_running, "max_per_node": max_per_node, "rate": rate, "rate_seconds": rate_seconds}
        changes = {field: value for field, value in given.items() if value is not UNCHANGED}
        if not changes:
            raise InvalidJobError("limit", f"nothing to set; give {', '.join(_LIMITS[:3])} or rate with rate_seconds")
        _check_limits(kind, changes)

        def put(connection: Connection) -> Control:
            Lanes.lock(connection)
            before = _row(connection, kind, name)
            merged = {field: changes.get(field, before[field] if before else None) for field in _LIMITS}
            if (merged["rate"] is None) != (merged["rate_seconds"] is None):
                raise InvalidJobError(
                    "rate_seconds", "rate and rate_seconds go together: so many jobs in so many seconds"
                )
            _put(connection, kind, name, merged, now_us=now_us)
            adjust_changed(connection, kind, name, now_us=now_us)
            return _shown(connection, kind, name, now_us=now_us)

        return self._changed(put, kind, name, now_us=now_us)

    def clear_limits(self, scope: str, name: str, *, now_us: int) -> bool:
        """Take all limits of a type or group away (a pause stays); whether there were any.

        A group falls back to the limits of `*`. Raises InvalidJobError.
        """
        kind = _limited_scope(scope, name)

        def clear(connection: Connection) -> bool:
            Lanes.lock(connection)
            before = _row(connection, kind, name)
            if before is None:
                return False
            if before["paused_at"] is None:
                connection.execute(delete(control).where(_key(kind, name)))
            else:
                _put(connection, kind, name, dict.fromkeys(_LIMITS), now_us=now_us)
            adjust_changed(connection, kind, name, now_us=now_us)
            return kind is ControlScope.GROUP or any(before[field] is not None for field in _LIMITS)

        return self._changed(clear, kind, name, now_us=now_us)

    def pause(
        self, job_type: str | None = None, *, reason: str | None = None, until_us: int | None = None, now_us: int
    ) -> Control:
        """Start no further job of this type (None: of any type), on any node, until it is resumed or `until_us`.

        Survives restarts. Jobs that run go on. Raises InvalidJobError.
        """
        kind, name = _paused_scope(job_type)
        reason = _reason(reason)
        if until_us is not None and until_us <= now_us:
            raise InvalidJobError("until", "is in the past; give a later moment, or none to pause until resumed")
        values = {"paused_at": now_us, "paused_until": until_us, "pause_reason": reason}

        def put(connection: Connection) -> Control:
            Lanes.lock(connection)
            _put(connection, kind, name, values, now_us=now_us)
            _adjust_paused(connection, kind, name, now_us=now_us)
            return _shown(connection, kind, name, now_us=now_us)

        return self._access.write(put)

    def resume(self, job_type: str | None = None, *, now_us: int) -> bool:
        """End the pause of this type (None: the pause of everything); whether there was one. Raises InvalidJobError."""
        kind, name = _paused_scope(job_type)

        def resume(connection: Connection) -> bool:
            Lanes.lock(connection)
            before = _row(connection, kind, name)
            if before is None or before["paused_at"] is None:
                return False
            _put(connection, kind, name, dict.fromkeys(("paused_at", "paused_until", "pause_reason")), now_us=now_us)
            connection.execute(delete(control).where(_key(kind, name), says_nothing()))
            _adjust_paused(connection, kind, name, now_us=now_us)
            return before["paused_until"] is None or before["paused_until"] > now_us

        return self._access.write(resume)

    def list(self, *, now_us: int | None = None) -> _ControlList:
        """All controls, by scope and name; pauses that are over by `now_us` are not shown."""
        with self._access.reading() as connection:
            rows = connection.execute(select(control).order_by(control.c.scope, control.c.name)).mappings()
            return [_control(row, now_us=now_us) for row in rows]

    def explain(self, job_id: int, *, now_us: int) -> Explanation:
        """Why this job does not run now, and when it may. Raises UnknownJobError."""
        with self._access.reading() as connection:
            return explain_job(connection, job_id, now_us=now_us)

    def _changed(self, verb: Callable[[Connection], Answer], kind: ControlScope, name: str, *, now_us: int) -> Answer:
        """Once it is committed, jobs are looked at once more: some were being added, or promoted, by the old limits."""
        answer = self._access.write(verb)
        if not self._access.dialect.shares_kernel:
            self._access.write(lambda connection: _adjust_again(connection, kind, name, now_us=now_us))
        return answer


def _adjust_again(connection: Connection, kind: ControlScope, name: str, *, now_us: int) -> None:
    Lanes.lock(connection)
    adjust_changed(connection, kind, name, now_us=now_us)


def _limited_scope(scope: str, name: str) -> ControlScope:
    if scope not in {ControlScope.TYPE, ControlScope.GROUP}:
        raise InvalidJobError("scope", "limits are set for a type or a group; use type or group")
    if scope == ControlScope.TYPE and name == EVERYTHING:
        raise InvalidJobError("name", "* is the default of groups; there is none for types, so name the type")
    _check_text("name", name)
    return ControlScope(scope)


def _paused_scope(job_type: str | None) -> tuple[ControlScope, str]:
    if job_type is None:
        return ControlScope.ALL, EVERYTHING
    _check_text("job_type", job_type)
    if job_type == EVERYTHING:
        raise InvalidJobError("job_type", "* is no job type; give none to pause everything")
    return ControlScope.TYPE, job_type


def _check_text(field: str, given: object, *, longest: int = LONGEST_NAME) -> None:
    if not isinstance(given, str) or not 1 <= len(given) <= longest:
        raise InvalidJobError(field, f"must be a text of 1 to {longest} characters")
    try:
        refuse_unstorable(given)
    except ValueError as error:
        raise InvalidJobError(field, str(error)) from None


def _reason(reason: str | None) -> str | None:
    if reason is None:
        return None
    _check_text("reason", reason, longest=LONGEST_REASON)
    return reason


def _check_limits(kind: ControlScope, given: dict[str, Any]) -> None:
    for field, least in (("max_running", 0), ("max_per_node", 0), ("rate", 1)):
        _check_number(field, given.get(field), least=least)
    if kind is ControlScope.GROUP and given.get("max_per_node") is not None:
        raise InvalidJobError("max_per_node", "can be set for types only; a group's limit is max_running")
    seconds = given.get("rate_seconds")
    if seconds is None:
        return
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not SHORTEST_RATE_SECONDS <= seconds <= LONGEST_SECONDS:
        raise InvalidJobError("rate_seconds", f"must be a number from {SHORTEST_RATE_SECONDS} to {LONGEST_SECONDS}")


def _check_number(field: str, value: object, *, least: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST_RUNNING:
        raise InvalidJobError(field, f"must be a whole number from {least} to {MOST_RUNNING}, or none for no limit")


def _adjust_paused(connection: Connection, kind: ControlScope, name: str, *, now_us: int) -> None:
    """Jobs of a paused type leave the places of their groups to others."""
    if kind is ControlScope.TYPE:
        adjust_changed(connection, kind, name, now_us=now_us)


def _key(kind: ControlScope, name: str) -> ColumnElement[bool]:
    return and_(control.c.scope == str(kind), control.c.name == name)


def _row(connection: Connection, kind: ControlScope, name: str) -> RowMapping | None:
    return connection.execute(select(control).where(_key(kind, name))).mappings().first()


def _put(connection: Connection, kind: ControlScope, name: str, values: dict[str, Any], *, now_us: int) -> None:
    values = {**values, "updated_at": now_us}
    if not connection.execute(update(control).where(_key(kind, name)).values(values)).rowcount:
        connection.execute(insert(control).values(scope=str(kind), name=name, **values))


def _shown(connection: Connection, kind: ControlScope, name: str, *, now_us: int) -> Control:
    return _control(connection.execute(select(control).where(_key(kind, name))).mappings().one(), now_us=now_us)


def _control(row: RowMapping, *, now_us: int | None) -> Control:
    over = now_us is not None and row["paused_until"] is not None and row["paused_until"] <= now_us
    pause = (
        {}
        if over or row["paused_at"] is None
        else {
            "paused_at": to_datetime(row["paused_at"]),
            "paused_until": None if row["paused_until"] is None else to_datetime(row["paused_until"]),
            "pause_reason": row["pause_reason"],
        }
    )
    return Control(scope=row["scope"], name=row["name"], **{field: row[field] for field in _LIMITS}, **pause)
