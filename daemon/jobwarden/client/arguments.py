"""Checks of what callers hand to the client, before any store is touched. Pure.

Each raises InvalidJobError with the argument's name and the way out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobOptions, JobStatus
from jobwarden.store.reading import RETRYING

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_ID = 2**63 - 1
LARGEST_PAGE = 10_000
LONGEST_REASON = 1_000
LONGEST_WAIT_SECONDS = 31_622_400.0
"""366 days; None waits without a limit."""


def checked_id(job_id: object) -> int:
    """A job's id: an integer from 1 on."""
    return _integer(job_id, name="id", least=1, most=LARGEST_ID)


def checked_page(limit: object, offset: object) -> tuple[int, int]:
    """How many jobs to list and how many to skip before them."""
    return (
        _integer(limit, name="limit", least=1, most=LARGEST_PAGE),
        _integer(offset, name="offset", least=0, most=LARGEST_ID),
    )


def checked_status(status: object) -> str | None:
    """A status by its name, or "retrying"; None stands for all."""
    if status is None:
        return None
    names = [*JobStatus, RETRYING]
    if status not in names:
        raise InvalidJobError("status", f"{status!r} is no status; use one of {', '.join(names)}")
    return str(status)


def checked_type(job_type: object) -> str | None:
    """A job type to filter by; None stands for all."""
    return None if job_type is None else _text(job_type, name="job_type")


def checked_tags(tags: object) -> list[str]:
    """Tags to filter by; a single string is refused, because its letters would be taken for tags."""
    if tags is None:
        return []
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise InvalidJobError("tags", "is no list of texts; write for example ['urgent']")
    return [_text(tag, name="tags") for tag in tags]


def checked_reason(reason: object) -> str | None:
    """Why a job is cancelled, for people; None says nothing."""
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
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_WAIT_SECONDS:
        limit = f"{LONGEST_WAIT_SECONDS:.0f}"
        raise InvalidJobError(name, f"{seconds!r} is no time to wait; give seconds from 0 to {limit}, or None")
    return float(seconds)


def checked_jobs(jobs: object) -> Sequence[JobOptions]:
    """The jobs of one `add_jobs`."""
    if isinstance(jobs, str) or not isinstance(jobs, Iterable):
        raise InvalidJobError("jobs", "is no list of JobOptions")
    accepted: list[JobOptions] = []
    for index, job in enumerate(jobs):
        if not isinstance(job, JobOptions):
            raise InvalidJobError(f"jobs[{index}]", f"is a {type(job).__name__}; make it a JobOptions(...)")
        accepted.append(job)
    return accepted


def _integer(value: object, *, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidJobError(name, f"{value!r} is not possible; give an integer from {least} to {most}")
    return value


def _text(value: object, *, name: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value or not _encodable(value):
        raise InvalidJobError(name, f"{value!r} is no text that could be stored")
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
