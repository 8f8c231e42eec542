"""`jobwarden list` and `jobwarden show`: what the store says about jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobwarden.cli.filters import filter_of, with_filters
from jobwarden.cli.places import AsJson, Config, DatabaseUrl, JobId, Reveal, open_client, shown_job
from jobwarden.cli.printing import json_text, moment, print_json, screen, table
from jobwarden.errors import UnknownJobError

if TYPE_CHECKING:
    from jobwarden.jobs import JobRecord

LONGEST_CELL = 60


@with_filters
def list_command(
    *,
    order: Annotated[
        str, typer.Option(metavar="ORDER", help="id, priority, run_at or created_at; with - in front the other way.")
    ] = "-id",
    limit: Annotated[int, typer.Option(help="How many at most.")] = 100,
    offset: Annotated[int, typer.Option(help="How many to skip.")] = 0,
    cursor: Annotated[
        str | None, typer.Option(help="Go on where the page ended that gave this.", show_default=False)
    ] = None,
    reveal: Reveal = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
    **given: Any,
) -> None:
    """List jobs, newest first."""
    from jobwarden.client import arguments
    from jobwarden.jobs.secrecy import SecretFields, masked_record

    wanted = filter_of(given)
    limit, offset = arguments.checked_page(limit, offset)
    order, cursor = arguments.checked_order(order), arguments.checked_cursor(cursor, name="cursor")
    with open_client(database_url, config) as client:
        page = client.store.bulk.find(wanted, order=order, limit=limit, offset=offset, cursor=cursor)
        fields = SecretFields() if reveal else client.store.secret_fields()
    jobs = [masked_record(job, fields) for job in page.jobs]
    if as_json:
        print_json({"jobs": [job.model_dump(by_alias=True, mode="json") for job in jobs], "cursor": page.cursor})
        return
    headings = ("id", "type", "status", "attempts", "priority", "created", "next", "remark")
    screen().print(table(headings, map(_row, jobs)))
    if page.cursor:
        print(f"there are more: --cursor {page.cursor}")


def show_command(
    job_id: JobId,
    *,
    reveal: Reveal = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Show all that is known about a job.

    Record, attempts, errors, events, and what it printed.
    """
    with open_client(database_url, config) as client:
        job = client.get_job(job_id)
        if job is None:
            raise UnknownJobError(job_id)
        job = job if reveal else shown_job(client, job)
        attempts, events = client.get_job_attempts(job_id), client.get_job_events(job_id)
    if as_json:
        print_json(
            {
                "job": job.model_dump(by_alias=True, mode="json"),
                "attempts": [attempt.model_dump(by_alias=True, mode="json") for attempt in attempts],
                "events": [event.model_dump(by_alias=True, mode="json") for event in events],
            }
        )
    else:
        from jobwarden.cli.portrait import portray

        screen().print(portray(job, attempts=attempts, events=events))


def _row(job: JobRecord) -> tuple[object, ...]:
    unknown = job.ended or job.locked_at or job.pending_reason
    next_at = None if unknown else job.next_attempt_at or job.run_at
    tries = f"{job.attempts}/{job.max_attempts}"
    return (
        job.id,
        job.job_type,
        state_of(job),
        tries,
        job.priority,
        moment(job.created_at),
        moment(next_at),
        _remark(job),
    )


def state_of(job: JobRecord) -> str:
    """The status for people: a failed job that will run again says so, a running one its progress."""
    if job.retrying:
        return "failed, will retry"
    if job.locked_at and job.progress is not None:
        return f"{job.status} {job.progress:.0f} %"
    return str(job.status)


def _remark(job: JobRecord) -> str | None:
    if job.pending_reason and not job.ended:
        text = job.pending_reason
    elif job.error_history:
        text = job.error_history[-1].message
    elif job.pending_reason:
        text = job.pending_reason
    elif job.output is not None:
        text = json_text(job.output)
    else:
        return None
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_CELL else line[: LONGEST_CELL - 1] + "…"
