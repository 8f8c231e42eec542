"""Following one job to its end, with a live bar where standard error is a terminal."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from jobwarden.client.waiting import Patience
from jobwarden.errors import UnknownJobError, WaitTimeoutError
from jobwarden.jobs import JobStatus

if TYPE_CHECKING:
    from jobwarden.client import Client
    from jobwarden.jobs import JobRecord


def follow(client: Client, job_id: int, *, seconds: float | None) -> JobRecord:
    """Wait until the job has ended, at most `seconds`. Raises WaitTimeoutError and UnknownJobError."""
    try:
        return _watch(client, job_id, seconds) if sys.stderr.isatty() else client.wait(job_id, seconds)
    except KeyboardInterrupt:
        print(f"jobwarden: no longer waiting; job {job_id} goes on", file=sys.stderr)
        raise


def _watch(client: Client, job_id: int, seconds: float | None) -> JobRecord:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from jobwarden.cli.printing import screen

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
    )
    patience = Patience(job_id, seconds=seconds)
    with Progress(*columns, console=screen(errors=True), transient=True) as progress:
        bar = progress.add_task(f"job {job_id}", total=None, shown="")
        while True:
            record = client.get_job(job_id)
            if record is None:
                raise UnknownJobError(job_id)
            progress.update(
                bar, description=f"job {job_id}", shown=_state(record), completed=record.progress, total=_total(record)
            )
            if record.ended:
                return record
            wait_seconds = patience.next_wait_seconds()
            with suppress(WaitTimeoutError):
                client.wait(job_id, wait_seconds)


def _state(record: JobRecord) -> str:
    if record.retrying:
        return f"failed, attempt {record.attempts} of {record.max_attempts}; waits for its next attempt"
    if record.status is JobStatus.PENDING:
        return "waits" + (f": {record.pending_reason}" if record.pending_reason else "")
    percent = "" if record.progress is None else f" {record.progress:.0f} %"
    return f"{record.status}{percent}"


def _total(record: JobRecord) -> float | None:
    """A known progress fills the bar; without one it swings."""
    return None if record.progress is None else 100.0
