"""`jobwarden edit`: change a job that has not begun, or all that a filter finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobwarden.cli.filters import All, AnyJobId, changed_sentence, one_or_many, where_options
from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client, shown_job
from jobwarden.cli.printing import print_json
from jobwarden.cli.signatures import extended
from jobwarden.errors import InvalidJobError

if TYPE_CHECKING:
    from collections.abc import Callable

CLEARED = {
    "payload": "payload",
    "run-at": "run_at",
    "timeout-ms": "timeout_ms",
    "heartbeat-timeout-ms": "heartbeat_timeout_ms",
    "max-attempts": "max_attempts",
    "retry-delay": "retry_delay",
    "retry-delay-max": "retry_delay_max",
    "tag": "tags",
    "dead-letter": "dead_letter_job_type",
    "group": "group_id",
}
"""What can be taken away, by the name of its option."""


def _with_where(command: Callable[..., None]) -> Callable[..., None]:
    return extended(command, where_options())


@_with_where
def edit_command(
    job_id: AnyJobId = None,
    *,
    payload: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="A new payload.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher first.")] = None,
    run_at: Annotated[str | None, typer.Option(help="Not before: 2030-01-31T08:00:00Z, or +5m.")] = None,
    timeout_ms: Annotated[int | None, typer.Option(help="Run time limit in milliseconds.")] = None,
    heartbeat_timeout_ms: Annotated[int | None, typer.Option(help="Longest silence in milliseconds.")] = None,
    force_kill_on_timeout: Annotated[
        bool | None,
        typer.Option("--force-kill-on-timeout/--no-force-kill-on-timeout", help="Kill at the limit, without a grace."),
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(help="How often to try.")] = None,
    retry_delay: Annotated[float | None, typer.Option(help="Seconds to a retry.")] = None,
    retry_backoff: Annotated[
        bool | None, typer.Option("--retry-backoff/--no-retry-backoff", help="Double the delay each time.")
    ] = None,
    retry_delay_max: Annotated[float | None, typer.Option(help="Longest delay in seconds.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Its tags instead of those that it has; repeat it.")
    ] = None,
    dead_letter: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Type of the job to add when it has failed for good.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Its group.")] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help=f"Take away what was set: {', '.join(CLEARED)}; repeat it for more."),
    ] = None,
    everything: All = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
    **given: Any,
) -> None:
    """Change jobs that have not begun.

    One job, or all that a filter finds (--where-tag, --where-group, --where-priority, --where-run-at, --type ...). What
    is running or has ended is left alone.
    """
    from jobwarden.cli.reading import read_moment, read_payload

    where = {name.removeprefix("where_"): value for name, value in given.items()}
    wanted = one_or_many(job_id, where, everything=everything, command="edit")
    named = {
        "priority": priority,
        "run_at": read_moment(run_at),
        "timeout_ms": timeout_ms,
        "heartbeat_timeout_ms": heartbeat_timeout_ms,
        "force_kill_on_timeout": force_kill_on_timeout,
        "max_attempts": max_attempts,
        "retry_delay": retry_delay,
        "retry_backoff": retry_backoff,
        "retry_delay_max": retry_delay_max,
        "tags": tag or None,
        "dead_letter_job_type": dead_letter,
        "group_id": group,
    }
    changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if payload is not None:
        changes["payload"] = read_payload(payload)
    changes |= _cleared(clear or [], beside=changes)
    with open_client(database_url, config) as client:
        if not isinstance(wanted, int):
            changed = client.edit_jobs(wanted, changes)
            _print_many(changed.ids, changed.running, as_json=as_json)
            return
        job = shown_job(client, client.edit_job(wanted, **changes))
    if as_json:
        print_json({"job": job.model_dump(by_alias=True, mode="json")})
    else:
        print(f"job {job.id} is changed")


def _cleared(names: list[str], *, beside: dict[str, Any]) -> dict[str, None]:
    for name in names:
        if name not in CLEARED:
            raise InvalidJobError("clear", f"{name[:60]!r} cannot be cleared; use {', '.join(CLEARED)}")
        if CLEARED[name] in beside:
            raise InvalidJobError("clear", f"{name} is given and cleared; do one of them")
    return dict.fromkeys(CLEARED[name] for name in names)


def _print_many(ids: list[int], running: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"ids": ids, "running": running})
    else:
        print(changed_sentence("changed", ids=len(ids), running=running))
