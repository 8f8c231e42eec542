"""Filters and changes as callers give them: keyword arguments, a mapping, or the ready model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobChanges, JobFilter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobwarden.jobs.filter import MomentRange, NumberRange


class FilterFields(TypedDict, total=False):
    """The fields of JobFilter, as keyword arguments; None is as if it was not given."""

    ids: Sequence[int] | int | None
    job_type: Sequence[str] | str | None
    status: Sequence[str] | str | None
    priority: int | Mapping[str, int] | NumberRange | None
    run_at: datetime | Mapping[str, datetime] | MomentRange | None
    created_at: datetime | Mapping[str, datetime] | MomentRange | None
    tags: Sequence[str] | None
    tag_mode: str
    group_id: str | None


def checked_filter(jobs: object, fields: Mapping[str, object] | FilterFields) -> JobFilter:
    """One filter from what was given in either way. Raises InvalidJobError."""
    if jobs is None:
        return JobFilter.parse(**fields)
    if fields:
        problem = "is given beside a ready filter; put everything into one of them"
        raise InvalidJobError(min(fields), problem)
    if isinstance(jobs, JobFilter):
        return jobs
    return JobFilter.parse(**_named(jobs, name="jobs", model="JobFilter"))


def demanded_filter(jobs: object, fields: Mapping[str, object] | FilterFields) -> JobFilter:
    """The same for what changes many jobs: all of them are meant by `JobFilter()`, never by a filter that says nothing.

    `clear_jobs(created_at={"lt": cutoff})` must not remove everything because `cutoff` is None.
    """
    found = checked_filter(jobs, fields)
    if found.narrows or (isinstance(jobs, JobFilter) and not jobs.model_fields_set):
        return found
    raise InvalidJobError(
        "jobs", "no filter says which are meant; give one, for example ids=[17], or JobFilter() for all"
    )


def checked_changes(changes: object) -> JobChanges:
    """The changes of an edit. Raises InvalidJobError, also if nothing is to be changed."""
    if not isinstance(changes, JobChanges):
        changes = JobChanges.parse(**_named(changes, name="changes", model="JobChanges"))
    if not changes.model_fields_set:
        raise InvalidJobError("changes", "name nothing; say what to change, for example priority=5")
    return changes


def _named(given: object, *, name: str, model: str) -> dict[str, object]:
    if not isinstance(given, Mapping):
        raise InvalidJobError(name, f"is a {type(given).__name__}; give a dict or a {model}(...)")
    return {str(key): value for key, value in given.items()}
