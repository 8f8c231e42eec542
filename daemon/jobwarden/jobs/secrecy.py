"""Which fields of a job are secret, and what people see in their place. Pure.

A name stands for a field at any depth, whatever its letters' case. Names come from handlers and from the option
`secret_fields`; the store keeps them by job type, so that views know them also while no daemon runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jobwarden.jobs.record import JobRecord

MASK = "***"
EVERYTHING = "*"
"""As a job type: all of them. As a name: the whole value."""
SHORTEST_VALUE = 4
"""Characters of a secret value that is taken out of texts; a shorter one would take half of the text with it."""
_ORIGINAL, _ORIGINAL_PAYLOAD = "originalJob", "originalPayload"
"""What a dead letter says of the job that failed."""


class SecretFields:
    """The names of secret fields, by job type."""

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        """`rows` are (job type, name)."""
        self._names: dict[str, frozenset[str]] = {}
        self.add(rows)

    def add(self, rows: Iterable[tuple[str, str]]) -> None:
        """Further ones."""
        for job_type, name in rows:
            self._names[job_type] = self._names.get(job_type, frozenset()) | {name.casefold()}

    def __bool__(self) -> bool:
        """Whether anything at all is secret."""
        return bool(self._names)

    def of(self, job_type: str | None) -> frozenset[str]:
        """The names for jobs of this type; for a type that nobody knows any more, those of all types."""
        if job_type is None:
            return frozenset().union(*self._names.values())
        return self._names.get(job_type, frozenset()) | self._names.get(EVERYTHING, frozenset())

    def of_job(self, job_type: str, payload: object) -> frozenset[str]:
        """The same; a dead letter carries the payload of another job, whose names hold too."""
        names = self.of(job_type)
        while self._names and isinstance(payload, dict) and _ORIGINAL_PAYLOAD in payload:
            original = payload.get(_ORIGINAL)
            known = original.get("jobType") if isinstance(original, dict) else None
            names |= self.of(known if isinstance(known, str) else None)
            payload = payload[_ORIGINAL_PAYLOAD]
        return names


def masked(value: Any, names: frozenset[str]) -> Any:
    """A JSON value as people see it."""
    if not names or value is None:
        return value
    if EVERYTHING in names:
        return MASK
    if isinstance(value, dict):
        return {key: _in_place(key, each, names) for key, each in value.items()}
    return [masked(each, names) for each in value] if isinstance(value, list) else value


def _in_place(key: str, value: Any, names: frozenset[str]) -> Any:
    return MASK if key.casefold() in names and value is not None else masked(value, names)


def masked_record(job: JobRecord, fields: SecretFields) -> JobRecord:
    """A job as people see it; what programs of its owner read is the job itself."""
    names = fields.of_job(job.job_type, job.payload)
    if not names:
        return job
    shown = {name: masked(getattr(job, name), names) for name in ("payload", "output")}
    inner = names - {EVERYTHING}  # what is about the job, not of it, keeps its shape
    shown |= {name: masked(getattr(job, name), inner) for name in ("metadata", "step_data")}
    return job.model_copy(update=shown)


def secret_values(payload: object, names: frozenset[str]) -> list[str]:
    """What must not stand in a text about a job with this payload, as texts may write it; the longest first."""
    found = {form for each in _leaves(payload, names, secret=EVERYTHING in names) for form in _forms(each)}
    return sorted((each for each in found if len(each) >= SHORTEST_VALUE), key=lambda each: (-len(each), each))


def _leaves(value: object, names: frozenset[str], *, secret: bool) -> Iterator[object]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, names, secret=secret or str(key).casefold() in names)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, names, secret=secret)
    elif secret and value is not None and not isinstance(value, bool):
        yield value


def _forms(value: object) -> Iterator[str]:
    """As it is, as Python and as JSON quote it; a text of several lines also by its lines."""
    text = str(value)
    yield from (
        text,
        text.strip(),
        repr(text)[1:-1],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    )
    yield from (line.strip() for line in text.splitlines())


def without(text: str, values: Iterable[str]) -> str:
    """The text with each of these values replaced."""
    for each in values:
        text = text.replace(each, MASK)
    return text


def rows_of(types: Mapping[str, Iterable[str]], everywhere: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """As the store keeps them: (job type, name), each once, in order."""
    rows = {(job_type, name) for job_type, names in types.items() for name in names}
    return tuple(sorted(rows | {(EVERYTHING, name) for name in everywhere}))
