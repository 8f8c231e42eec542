"""Checks of what callers hand to the client, before any store is touched. Pure.

Each raises InvalidJobError with the argument's name and the way out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol, TypeGuard, runtime_checkable

from sqlalchemy import Connection

from jobwarden.clock import to_us
from jobwarden.errors import InvalidJobError, InvalidSettingsError
from jobwarden.jobs import JobOptions
from jobwarden.jobs.options import FIRST_MOMENT, LAST_MOMENT

LARGEST_ID = 2**63 - 1
LARGEST_PAGE = 10_000
LONGEST_NAME = 255
LONGEST_SHOWN = 60
LONGEST_REASON = 1_000
LONGEST_CURSOR = 1_000
LONGEST_WAIT_SECONDS = 31_622_400.0
"""366 days; None waits without a limit."""
SHORTEST_LEASE_SECONDS = 1.0
LONGEST_LEASE_SECONDS = 3_600.0
MOST_TYPES = 1_000
LONGEST_ERROR = 10_000


@runtime_checkable
class Stop(Protocol):
    """What may be set to end something: an Event of `threading` or of `asyncio`."""

    def is_set(self) -> bool:
        """Whether it is."""


def checked_url(url: object) -> str | None:
    """A database URL, as far as its type goes; the store looks at the rest."""
    if url is not None and not isinstance(url, str):
        raise InvalidSettingsError([f"url: is a {type(url).__name__}; give a text like sqlite:///jobs.db"])
    return url


def checked_id(job_id: object) -> int:
    """A job's id: an integer from 1 on."""
    return _integer(job_id, name="id", least=1, most=LARGEST_ID)


def checked_page(limit: object, offset: object) -> tuple[int, int]:
    """How many jobs to list and how many to skip before them."""
    return (
        _integer(limit, name="limit", least=1, most=LARGEST_PAGE),
        _integer(offset, name="offset", least=0, most=LARGEST_ID),
    )


def checked_order(order: object) -> str:
    """The order of a list, as far as its type goes; the store knows the names."""
    return _text(order, name="order")


def checked_cursor(cursor: object, *, name: str) -> str | None:
    """A cursor that we gave out, as far as its type goes; the store reads it."""
    if cursor is None:
        return None
    if not isinstance(cursor, str) or len(cursor) > LONGEST_CURSOR or not cursor.isascii():
        raise InvalidJobError(name, "is no cursor; give one back that was handed out, or None")
    return cursor


def checked_connection(connection: object) -> Connection | None:
    """A connection of the caller's own; the store sees where it leads."""
    if connection is not None and not isinstance(connection, Connection):
        problem = f"is a {type(connection).__name__}; give an SQLAlchemy Connection, of a Session its .connection()"
        raise InvalidJobError("connection", problem)
    return connection


def checked_stop(stop: object) -> Stop | None:
    """An event that ends something when it is set: of `threading`, or of `asyncio`."""
    if stop is not None and not isinstance(stop, Stop):
        raise InvalidJobError("stop", f"is a {type(stop).__name__}; give a threading.Event or asyncio.Event")
    return stop


def checked_flag(value: object, *, name: str) -> bool:
    """True or False, and nothing that only looks like it: "no" would be taken for yes."""
    if not isinstance(value, bool):
        raise InvalidJobError(name, f"is a {type(value).__name__}; give True or False")
    return value


def checked_reason(reason: object) -> str | None:
    """Why something is done, for people; None says nothing."""
    if reason is None:
        return None
    text = _text(reason, name="reason")
    if len(text) > LONGEST_REASON:
        raise InvalidJobError("reason", f"is longer than {LONGEST_REASON} characters; shorten it")
    return text


def checked_seconds(seconds: object, *, name: str) -> float | None:
    """A time to wait; None is without a limit."""
    if seconds is None:
        return None
    if not _is_number(seconds) or not 0 <= seconds <= LONGEST_WAIT_SECONDS:
        limit = f"{LONGEST_WAIT_SECONDS:.0f}"
        raise InvalidJobError(name, f"{_shown(seconds)} is no time to wait; give seconds from 0 to {limit}, or None")
    return float(seconds)


def checked_lease(seconds: object) -> float:
    """How long silence counts as life."""
    if not _is_number(seconds) or not SHORTEST_LEASE_SECONDS <= seconds <= LONGEST_LEASE_SECONDS:
        limits = f"from {SHORTEST_LEASE_SECONDS:g} to {LONGEST_LEASE_SECONDS:g}"
        raise InvalidJobError("lease_seconds", f"{_shown(seconds)} is no lease; give seconds {limits}")
    return float(seconds)


def checked_moment(moment: object, *, name: str) -> datetime | None:
    """A moment with a time zone; None is never."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise InvalidJobError(name, f"is a {type(moment).__name__}; give a datetime with a time zone")
    if moment.tzinfo is None:
        raise InvalidJobError(name, "is a moment without a time zone; add one, for example tzinfo=UTC")
    if not to_us(FIRST_MOMENT) <= to_us(moment) <= to_us(LAST_MOMENT):
        raise InvalidJobError(name, f"is no moment from {FIRST_MOMENT:%Y} to {LAST_MOMENT:%Y}")
    return moment


def checked_jobs(jobs: object) -> list[JobOptions]:
    """The jobs of one `add_jobs`."""
    if isinstance(jobs, str | bytes | Mapping) or not isinstance(jobs, Iterable):
        raise InvalidJobError("jobs", "is no list of JobOptions")
    accepted: list[JobOptions] = []
    for index, job in enumerate(jobs):
        if not isinstance(job, JobOptions):
            raise InvalidJobError(f"jobs[{index}]", f"is a {type(job).__name__}; make it a JobOptions(...)")
        accepted.append(job)
    return accepted


def checked_lane(job_type: object, group_id: object) -> tuple[str, str]:
    """What a limit is for: ("type", name) or ("group", name)."""
    if (job_type is None) == (group_id is None):
        raise InvalidJobError("job_type", "give either job_type or group_id, to say what the limit is for")
    if job_type is not None:
        return "type", _name(job_type, name="job_type")
    return "group", _name(group_id, name="group_id")


def checked_types(types: object) -> list[str] | None:
    """The job types that a consumer wants; None stands for any. A single text would be taken for its letters."""
    if types is None:
        return None
    if isinstance(types, str | bytes | Mapping) or not isinstance(types, Iterable):
        raise InvalidJobError("types", "is no list of texts; write for example ['report'], or None for any")
    names = [_name(each, name="types") for each in types]
    if not 1 <= len(names) <= MOST_TYPES:
        raise InvalidJobError("types", f"has {len(names)} entries; give 1 to {MOST_TYPES}, or None for any")
    return list(dict.fromkeys(names))


def checked_message_id(value: object) -> int:
    """A job's id as messages have it: a text of digits."""
    if not isinstance(value, str) or not value.isascii() or not value.isdecimal() or len(value) > len(str(LARGEST_ID)):
        raise InvalidJobError("id", f"{_shown(value)} is no id; those of a queue are texts, for example '17'")
    return checked_id(int(value))


def checked_error(error: object) -> str:
    """Why an attempt failed, for people: a text or an exception; cut if it is long."""
    text = (str(error) or type(error).__name__) if isinstance(error, BaseException) else error
    if not isinstance(text, str) or not text:
        raise InvalidJobError("error", f"{_shown(error)} says nothing; give a text or an exception")
    return text if len(text) <= LONGEST_ERROR else text[:LONGEST_ERROR] + "…"


def checked_retry(retry: object) -> tuple[bool, float | None]:
    """Whether another attempt may follow, and after how many seconds; None leaves that to the job."""
    if retry is None:
        return True, None
    if not isinstance(retry, Mapping) or not retry.keys() <= {"enabled", "delayMs"}:
        raise InvalidJobError("retry", 'is no dict of "enabled" and "delayMs"; give for example {"enabled": False}')
    enabled = checked_flag(retry.get("enabled", True), name="retry.enabled")
    delay_ms = retry.get("delayMs")
    if delay_ms is None:
        return enabled, None
    most = int(LONGEST_WAIT_SECONDS) * 1_000
    return enabled, _integer(delay_ms, name="retry.delayMs", least=0, most=most) / 1_000


def checked_statuses(statuses: object, *, known: Collection[str]) -> list[str]:
    """Statuses among those that are possible here."""
    if isinstance(statuses, str) or not isinstance(statuses, Iterable):
        raise InvalidJobError("statuses", f"is no list; give some of {', '.join(known)}")
    names = list(statuses)
    for each in names:
        if not isinstance(each, str) or each not in known:
            raise InvalidJobError("statuses", f"{_shown(each)} is not possible; use {', '.join(known)}")
    return list(dict.fromkeys(str(each) for each in names))


def checked_integer(value: object, *, name: str, least: int, most: int) -> int:
    """An integer within bounds."""
    return _integer(value, name=name, least=least, most=most)


def _integer(value: object, *, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidJobError(name, f"{_shown(value)} is not possible; give an integer from {least} to {most}")
    return value


def _name(value: object, *, name: str) -> str:
    text = _text(value, name=name)
    if len(text) > LONGEST_NAME:
        raise InvalidJobError(name, f"is longer than {LONGEST_NAME} characters")
    return text


def _text(value: object, *, name: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value or not _encodable(value):
        raise InvalidJobError(name, f"{_shown(value)} is no text that could be stored")
    return value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """Short, and never somebody's whole object."""
    if value is None or isinstance(value, bool | int | float | str):
        text = ascii(value)
        return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
    return f"a {type(value).__name__}"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
