"""How many jobs there are, by type and status, without looking at those that have ended.

Ended jobs are counted in `tally`; live ones where they stand, each in one of four partial indexes (see `readiness`).
Called by `Store.counts` and `bulk.count`; never writes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, literal_column, select

from jobwarden.jobs.filter import ENDED, RETRYING
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.people.filters import RUNNING, conditions
from jobwarden.store.schema import job, tally

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

    from jobwarden.jobs.filter import JobFilter


_TALLIED_BY = {"job_type", "status", "tag_mode"}
_SHOWN_AS: dict[str, set[str]] = {
    JobStatus.FAILED: {JobStatus.FAILED, RETRYING},
    ENDED: {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED},
}
"""Which of the names in `count_jobs` a filter's state means, where it is not its own alone."""


def _group(where: ColumnElement[bool]) -> Select[Any]:
    return select(job.c.job_type, job.c.status, func.count()).where(where).group_by(job.c.job_type, job.c.status)


LIVE = (
    _group(job.c.ready == literal_column("1")),
    _group(and_(job.c.ready.is_(None), job.c.due_at.is_not(None), job.c.gate.is_(None))),
    _group(job.c.gate.is_not(None)),
    _group(RUNNING),
)
"""One query per partial index: job_claim, job_due, job_gated, job_node."""
PAST = select(tally.c.job_type, tally.c.status, func.sum(tally.c.number)).group_by(tally.c.job_type, tally.c.status)


def count_jobs(connection: Connection) -> dict[str, dict[str, int]]:
    """Job type -> status -> number of jobs; `failed` are those that have ended, the others are `retrying`."""
    total: Counter[tuple[str, str]] = Counter()
    for query in LIVE:
        for job_type, status, number in connection.execute(query):
            total[job_type, RETRYING if status == JobStatus.FAILED else status] += number
    for job_type, status, number in connection.execute(PAST):
        total[job_type, status] += int(number)
    counts: dict[str, dict[str, int]] = {}
    for (job_type, status), number in sorted(total.items()):
        if number:
            counts.setdefault(job_type, {})[status] = number
    return counts


def count_matching(connection: Connection, wanted: JobFilter) -> int:
    """How many jobs match. As fast as `count_jobs` for a filter of types and states alone."""
    if wanted.model_dump(exclude=_TALLIED_BY, exclude_none=True) == {}:
        return _sum(count_jobs(connection), wanted)
    return connection.execute(select(func.count()).select_from(job).where(*conditions(wanted))).scalar_one()


def _sum(counts: dict[str, dict[str, int]], wanted: JobFilter) -> int:
    types = set(counts) if wanted.job_type is None else {each for each in wanted.job_type if each in counts}
    if wanted.status is None:
        return sum(sum(counts[each].values()) for each in types)
    shown = {name for state in wanted.status for name in _SHOWN_AS.get(state, {state})}
    return sum(counts[each].get(name, 0) for each in types for name in shown)
