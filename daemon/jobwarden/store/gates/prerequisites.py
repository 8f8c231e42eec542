"""What `dependsOn.jobIds` of jobs to be added refers to: checked before anything is written, then resolved.

Refused are unknown ids, references outside of the batch, a job that depends on itself and cycles within the batch
(older jobs cannot depend on new ones). The same id twice in one list is one dependency; with two different
onParentFailure it is refused.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from sqlalchemy import select

from jobwarden.errors import InvalidJobError
from jobwarden.store.matching import chunks
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from jobwarden.jobs.options import JobOptions

References = dict[int, str]
"""A job's id, or -(i+1) for the i-th job of the same batch -> onParentFailure."""


def references_of(options: Sequence[JobOptions]) -> dict[int, References]:
    """Place in the batch -> what that job refers to; only those that refer to anything. Raises InvalidJobError."""
    found = {place: _merged(each, place, options) for place, each in enumerate(options) if each.depends_on.job_ids}
    if found:
        _refuse_cycles(found, options)
    return found


def resolve(
    connection: Connection, references: dict[int, References], ids: Sequence[int], new: Sequence[int]
) -> dict[int, References]:
    """Place -> the prerequisites' ids, of those places that are `new`. Raises InvalidJobError for unknown ids.

    `ids` are those of the whole batch: a reference to a job whose key is held means its holder.
    """
    resolved: dict[int, References] = {}
    older: dict[int, int] = {}
    to_come = {ids[place] for place in new}
    for place in new:
        if place in references:
            resolved[place] = {}
            for reference, on_failure in references[place].items():
                target = reference if reference > 0 else ids[-reference - 1]
                if reference > 0 or target not in to_come:
                    older.setdefault(target, place)
                if resolved[place].setdefault(target, on_failure) != on_failure:
                    raise _twice(place, target, batch=len(ids))
    _refuse_unknown(connection, older, batch=len(ids))
    return resolved


def field_of(place: int, name: str, *, batch: int) -> str:
    """How an error names an option of one of the jobs of an add."""
    return name if batch == 1 else f"jobs[{place}].{name}"


def _merged(options: JobOptions, place: int, batch: Sequence[JobOptions]) -> References:
    found: References = {}
    for each in options.depends_on.job_ids:
        if each.id < -len(batch):
            problem = f"{each.id} refers to job {-each.id - 1} of the batch, which has {len(batch)} (counted from 0)"
            raise InvalidJobError(_field(place, len(batch)), problem)
        if found.setdefault(each.id, str(each.on_parent_failure)) != each.on_parent_failure:
            raise _twice(place, each.id, batch=len(batch))
    return found


def _twice(place: int, job_id: int, *, batch: int) -> InvalidJobError:
    return InvalidJobError(_field(place, batch), f"job {job_id} is named twice, with different onParentFailure")


def _refuse_cycles(references: dict[int, References], options: Sequence[JobOptions]) -> None:
    """Places with the same key are one job."""
    first: dict[str, int] = {}
    same = [
        place if each.idempotency_key is None else first.setdefault(each.idempotency_key, place)
        for place, each in enumerate(options)
    ]
    waits: dict[int, set[int]] = {}
    for place, found in references.items():
        if same[place] == place:
            waits[place] = {same[-reference - 1] for reference in found if reference < 0}
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        circle: list[int] = error.args[1]
        place = min(circle)
        problem = "it depends on itself" if len(set(circle)) == 1 else "it depends on itself through other jobs"
        raise InvalidJobError(_field(place, len(options)), f"{problem}, so it could never run") from None


def _refuse_unknown(connection: Connection, wanted: dict[int, int], *, batch: int) -> None:
    """`wanted`: id -> a place that names it."""
    known: set[int] = set()
    for some in chunks(sorted(wanted)):
        known.update(connection.execute(select(job.c.id).where(job.c.id.in_(some))).scalars())
    for job_id, place in wanted.items():
        if job_id not in known:
            raise InvalidJobError(_field(place, batch), f"there is no job {job_id} in this store")


def _field(place: int, batch: int) -> str:
    return field_of(place, "depends_on.job_ids", batch=batch)
