"""The verbs that handlers may ask for: from raw JSON arguments to the store's verb and its answer. Used by the clerk.

The sentences are those that a client would get. Each function is one transaction of the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import msgspec

from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobChanges, JobFilter, JobOptions

if TYPE_CHECKING:
    from jobwarden.jobs import JobRecord
    from jobwarden.store import Store

_Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Fields = dict[str, Any]


class Verb(Protocol):
    """One verb."""

    def __call__(self, store: Store, arguments: str, *, now_us: int) -> object:
        """Do it; what msgspec can write as JSON. Raises JobwardenError."""


class _Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _AddJobs(_Arguments, frozen=True):
    jobs: list[_Fields]


class _OneJob(_Arguments, frozen=True):
    job_id: _Id


class _GetJobs(_Arguments, frozen=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    order: str
    filters: _Fields


class _CancelJob(_Arguments, frozen=True):
    job_id: _Id
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)] | None = None


class _EditJob(_Arguments, frozen=True):
    job_id: _Id
    changes: _Fields


_Read = TypeVar("_Read", bound=_Arguments)


def _add_jobs(store: Store, arguments: str, *, now_us: int) -> object:
    jobs = _read(arguments, _AddJobs).jobs
    options = [_options(fields, place=f"jobs[{index}]." if len(jobs) > 1 else "") for index, fields in enumerate(jobs)]
    return store.add(options, now_us=now_us)


def _get_job(store: Store, arguments: str, *, now_us: int) -> object:  # noqa: ARG001 - the shape of a verb
    record = store.get(_read(arguments, _OneJob).job_id)
    return None if record is None else _shown(record)


def _get_jobs(store: Store, arguments: str, *, now_us: int) -> object:  # noqa: ARG001 - the shape of a verb
    wanted = _read(arguments, _GetJobs)
    page = store.bulk.find(
        JobFilter.parse(**wanted.filters), order=wanted.order, limit=wanted.limit, offset=wanted.offset
    )
    return [_shown(record) for record in page.jobs]


def _cancel_job(store: Store, arguments: str, *, now_us: int) -> object:
    wanted = _read(arguments, _CancelJob)
    return store.cancel(wanted.job_id, now_us=now_us, reason=wanted.reason)


def _retry_job(store: Store, arguments: str, *, now_us: int) -> object:
    store.retry(_read(arguments, _OneJob).job_id, now_us=now_us)
    return None


def _edit_job(store: Store, arguments: str, *, now_us: int) -> object:
    wanted = _read(arguments, _EditJob)
    store.bulk.edit(wanted.job_id, JobChanges.parse(**wanted.changes), now_us=now_us)
    return None


VERBS: dict[str, Verb] = {
    "add_jobs": _add_jobs,
    "get_job": _get_job,
    "get_jobs": _get_jobs,
    "cancel_job": _cancel_job,
    "retry_job": _retry_job,
    "edit_job": _edit_job,
}
WRITING = frozenset(VERBS) - {"get_job", "get_jobs"}
"""After one of these, this daemon may have something to do."""


def _options(fields: _Fields, *, place: str) -> JobOptions:
    try:
        return JobOptions.parse(**fields)
    except InvalidJobError as error:
        raise InvalidJobError(f"{place}{error.field}", error.problem) from None


def _read(arguments: str, kind: type[_Read]) -> _Read:
    try:
        return msgspec.json.decode(arguments, type=kind)
    except msgspec.DecodeError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise InvalidJobError(where.rstrip("`") or "arguments", what) from None


def _shown(record: JobRecord) -> _Fields:
    return record.model_dump(by_alias=True, mode="json")
