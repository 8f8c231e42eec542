"""What a running handler may do in the store: the verbs of `JobContext` that the supervisor carries out for it.

Each call blocks until the change is committed and raises the errors that a client would get. What can be checked
without pydantic is checked here; the rest over there. Must never open a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from jobwarden.errors import InvalidJobError
from jobwarden.wire.messages import LARGEST_ASKED
from jobwarden.worker.output import UnfitOutputError, encode_output

if TYPE_CHECKING:
    from jobwarden.worker.line import Line

LARGEST_PAYLOAD_BYTES = 1_048_576

_decode = msgspec.json.Decoder().decode


class Asking:
    """Mixed into `JobContext`."""

    __slots__ = ()

    _line: Line
    added: list[dict[str, Any]]
    """Without a daemon: what `add_job` and `add_jobs` were given."""

    def add_job(self, job_type: str, payload: object = None, **options: object) -> int:
        """Add a job, as `Client.add_job` does; its id, after the commit.

        This job may run more than once: give an `idempotency_key` to what must be added only once. Raises
        InvalidJobError, StoreUnavailableError.
        """
        return self._add([{**options, "job_type": job_type, "payload": payload}])[0]

    def add_jobs(self, jobs: Iterable[Mapping[str, object]]) -> list[int]:
        """Add many in one transaction; each names its `job_type` and, if it has any, `payload` and options.

        Their ids, in the same order. Raises InvalidJobError (none was added), StoreUnavailableError.
        """
        return self._add(jobs)

    def get_job(self, job_id: int) -> dict[str, Any] | None:
        """The job's record as its JSON says it (`jobType`, `status`, `output`, ...), or None."""
        found: dict[str, Any] | None = self._ask("get_job", job_id=job_id)
        return found

    def get_jobs(
        self, *, limit: int = 100, offset: int = 0, order: str = "-id", **filters: object
    ) -> list[dict[str, Any]]:
        """Jobs that match everything given, the newest first: the filters of `Client.get_jobs`."""
        found: list[dict[str, Any]] = self._ask("get_jobs", limit=limit, offset=offset, order=order, filters=filters)
        return found

    def cancel_job(self, job_id: int, *, reason: str | None = None) -> str:
        """Cancel: "cancelled", or "asked" for a running job, which is stopped soon.

        Raises UnknownJobError, JobStateError for a job that has ended.
        """
        answer: str = self._ask("cancel_job", job_id=job_id, reason=reason)
        return answer

    def retry_job(self, job_id: int) -> None:
        """Run a failed, cancelled or retrying job again, now. Raises UnknownJobError, JobStateError."""
        self._ask("retry_job", job_id=job_id)

    def edit_job(self, job_id: int, **changes: object) -> None:
        """Change a job that has not begun: payload, priority, run_at, ...; None clears.

        Raises UnknownJobError, JobStateError, InvalidJobError.
        """
        self._ask("edit_job", job_id=job_id, changes=changes)

    def _add(self, jobs: Iterable[object]) -> list[int]:
        wanted = [_fields_of(each, place=f"jobs[{index}]") for index, each in enumerate(jobs)]
        if not self._line.answers:
            return self._remember(wanted)
        ids: list[int] = self._ask(
            "add_jobs", jobs=msgspec.Raw(msgspec.json.encode([_encoded_job(job) for job in wanted]))
        )
        return ids

    def _remember(self, jobs: list[dict[str, Any]]) -> list[int]:
        """In a unit test: checked as a daemon would, and kept in `added`; the ids count from 1."""
        from jobwarden.jobs import JobOptions  # noqa: PLC0415 - pydantic: never in a worker

        for job in jobs:
            JobOptions.parse(**job)
        first = len(self.added) + 1
        self.added.extend(jobs)
        return list(range(first, first + len(jobs)))

    def _ask(self, verb: str, **arguments: object) -> Any:
        text = msgspec.json.encode({name: _encoded(value, what=name) for name, value in arguments.items()}).decode()
        if len(text) > LARGEST_ASKED:
            raise InvalidJobError("arguments", f"are more than {LARGEST_ASKED} bytes in one call; make several calls")
        answer = self._line.ask(verb, text)
        return None if answer is None else _decode(answer)


def _fields_of(job: object, *, place: str) -> dict[str, Any]:
    if not isinstance(job, Mapping) or not all(isinstance(name, str) for name in job):
        raise InvalidJobError(place, f"is a {type(job).__name__}; give a dict of job_type, payload and options")
    return dict(job)


def _encoded_job(job: dict[str, Any]) -> dict[str, msgspec.Raw]:
    limits = {"payload": LARGEST_PAYLOAD_BYTES}
    return {name: _encoded(value, what=name, limit=limits.get(name, LARGEST_ASKED)) for name, value in job.items()}


def _encoded(value: object, *, what: str, limit: int = LARGEST_ASKED) -> msgspec.Raw:
    """As JSON: models, dataclasses, dates, enums and paths become what JSON has for them."""
    if isinstance(value, msgspec.Raw):
        return value
    try:
        return msgspec.Raw(encode_output(value, limit=limit).encode())
    except UnfitOutputError as error:
        raise InvalidJobError(what, error.problem) from None
