"""`jobwarden add`: add one job, and wait for its end if wanted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client, refuse_without_wait
from jobwarden.cli.printing import print_json, printable

if TYPE_CHECKING:
    from jobwarden.jobs import JobRecord


def add_command(
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="The job type.", show_default=False)],
    payload: Annotated[
        str | None,
        typer.Argument(metavar="[JSON|@FILE|-]", help="The payload; - is standard input.", show_default=False),
    ] = None,
    *,
    priority: Annotated[int | None, typer.Option(help="Higher first; 0 by default.")] = None,
    run_at: Annotated[
        str | None, typer.Option(help="Not before: 2030-01-31T08:00:00Z, or from now: +90s, +5m, +2h, +1d.")
    ] = None,
    timeout_ms: Annotated[int | None, typer.Option(help="Run time limit in milliseconds.")] = None,
    force_kill_on_timeout: Annotated[
        bool, typer.Option("--force-kill-on-timeout", help="Kill at the limit, without a grace.")
    ] = False,
    max_attempts: Annotated[
        int | None, typer.Option(help="How often to try; by default as the handler says, else 3.")
    ] = None,
    retry_delay: Annotated[
        float | None, typer.Option(help="Seconds to a retry; by default as the handler says, else 60.")
    ] = None,
    retry_backoff: Annotated[
        bool | None, typer.Option("--retry-backoff/--no-retry-backoff", help="Double the delay each time.")
    ] = None,
    retry_delay_max: Annotated[float | None, typer.Option(help="Longest delay in seconds.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; repeat it for more.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="A second job with this key is not added; the first id is printed.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object kept with the job.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 0 only if completed.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most, with --wait.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Add a job and print its id."""
    from jobwarden.cli.reading import read_metadata, read_moment, read_payload
    from jobwarden.client.arguments import checked_seconds

    checked_seconds(wait_timeout, name="wait-timeout")
    refuse_without_wait(wait_timeout, wait=wait)
    given = {
        "priority": priority,
        "run_at": read_moment(run_at),
        "timeout_ms": timeout_ms,
        "force_kill_on_timeout": force_kill_on_timeout,
        "max_attempts": max_attempts,
        "retry_delay": retry_delay,
        "retry_backoff": retry_backoff,
        "retry_delay_max": retry_delay_max,
        "tags": tag,
        "idempotency_key": idempotency_key,
        "metadata": read_metadata(metadata),
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with open_client(database_url, config) as client:
        job_id = client.add_job(job_type, read_payload(payload), **options)
        if not (wait and as_json):
            _print_id(job_id, as_json=as_json)
        if wait:
            from jobwarden.cli.follow import follow

            _finish(follow(client, job_id, seconds=wait_timeout), as_json=as_json)


def _print_id(job_id: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": job_id})
    else:
        print(job_id, flush=True)


def _finish(record: JobRecord, *, as_json: bool) -> None:
    """Print how the job ended; the exit code tells it too."""
    from jobwarden.jobs import JobStatus

    completed = record.status is JobStatus.COMPLETED
    if as_json:
        print_json({"id": record.id, "job": record.model_dump(by_alias=True, mode="json")})
    elif completed:
        print_json(record.model_dump(mode="json")["output"])
    else:
        reason = record.error_history[-1].message if record.error_history else record.failure_reason
        print(printable(f"jobwarden: job {record.id} is {record.status}: {reason}"), file=sys.stderr)
    raise typer.Exit(0 if completed else 1)
