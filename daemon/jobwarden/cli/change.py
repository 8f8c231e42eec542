"""`jobwarden cancel` and `jobwarden retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, JobId, open_client, refuse_without_wait
from jobwarden.cli.printing import print_json

if TYPE_CHECKING:
    from jobwarden.jobs import JobRecord


def cancel_command(
    job_id: JobId,
    *,
    reason: Annotated[str | None, typer.Option(help="Why, for people.", show_default=False)] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until a running job is dead.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most, with --wait.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Cancel a job that has not ended; a running one is told to stop and then killed."""
    from jobwarden.client.arguments import LONGEST_WAIT_SECONDS
    from jobwarden.jobs import JobStatus

    refuse_without_wait(wait_timeout, wait=wait)
    limit = LONGEST_WAIT_SECONDS if wait_timeout is None else wait_timeout
    with open_client(database_url, config) as client:
        job = client.cancel_job(job_id, reason=reason, wait_seconds=limit if wait else None)
    sentence = f"job {job.id} is {job.status}"
    _print(
        job,
        f"job {job.id} was asked to stop" if job.status is JobStatus.PROCESSING else sentence,
        as_json=as_json,
    )
    if wait and job.status is not JobStatus.CANCELLED:
        raise typer.Exit(1)


def retry_command(
    job_id: JobId, *, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Make a failed or cancelled job run again now."""
    with open_client(database_url, config) as client:
        job = client.retry_job(job_id)
    _print(job, f"job {job.id} is {job.status} again", as_json=as_json)


def _print(job: JobRecord, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"job": job.model_dump(by_alias=True, mode="json")})
    else:
        print(sentence)
