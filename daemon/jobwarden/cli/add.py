"""`jobwarden add`: add one job, and wait for its end if wanted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client, refuse_without_wait, shown_job
from jobwarden.cli.printing import print_json, printable

if TYPE_CHECKING:
    from jobwarden.jobs import JobRecord


def add_command(
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="The job type.", show_default=False)],
    payload: Annotated[
        str | None,
        typer.Argument(metavar="JSON|@FILE|-", help="The payload; - is standard input.", show_default=False),
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
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="A tag; repeat it for more.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="A second job with this key is not added; the first id is printed.")
    ] = None,
    idempotency_ttl: Annotated[
        str | None, typer.Option(metavar="SECONDS|5m|forever", help="How long that key holds; else until 7 days after.")
    ] = None,
    depends_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID[:cancel|run|fail]",
            help="Only after this job has completed; what its failure means, else cancel. Repeat it for more.",
        ),
    ] = None,
    depends_on_tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Only when no earlier job with this tag is left; repeat it for more."),
    ] = None,
    group: Annotated[str | None, typer.Option(help="Its group, for which limits may be set.")] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="SECONDS|5m", help="Cancelled if it was not started by then.")
    ] = None,
    heartbeat_timeout_ms: Annotated[
        int | None, typer.Option(help="Killed after so many milliseconds without a sign of life.")
    ] = None,
    dead_letter: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Type of the job to add when this one has failed for good.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object kept with the job.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 0 only if completed.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most, with --wait.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Add a job and print its id."""
    from jobwarden.cli.reading import read_metadata, read_moment, read_payload, read_seconds
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
        "idempotency_ttl": _time_to_live(idempotency_ttl),
        "expires_in": read_seconds(expires_in, name="expires-in"),
        "heartbeat_timeout_ms": heartbeat_timeout_ms,
        "dead_letter_job_type": dead_letter,
        "group_id": group,
        "depends_on": _needs(depends_on, depends_on_tag),
        "metadata": read_metadata(metadata),
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with open_client(database_url, config) as client:
        job_id = client.add_job(job_type, read_payload(payload), **options)
        if not (wait and as_json):
            _print_id(job_id, as_json=as_json)
        if wait:
            from jobwarden.cli.follow import follow

            _finish(shown_job(client, follow(client, job_id, seconds=wait_timeout)), as_json=as_json)


def _time_to_live(argument: str | None) -> float | str | None:
    from jobwarden.cli.reading import read_seconds

    return argument if argument == "forever" else read_seconds(argument, name="idempotency-ttl")


def _needs(jobs: list[str] | None, tags: list[str] | None) -> dict[str, object] | None:
    """What must have happened before, as the options of a job name it."""
    from jobwarden.cli.reading import read_dependency

    needs: dict[str, object] = {"job_ids": [read_dependency(each) for each in jobs or ()], "tags": tags or []}
    return needs if jobs or tags else None


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
