"""`jobwarden cancel`, `retry` and `replay`: one job by its id, or all that a filter finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobwarden.cli.filters import All, AnyJobId, changed_sentence, one_or_many, with_filters
from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client, refuse_without_wait, shown_job
from jobwarden.cli.printing import print_json
from jobwarden.errors import InvalidJobError

if TYPE_CHECKING:
    from jobwarden.client import Client
    from jobwarden.jobs import JobFilter, JobRecord

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list the jobs that a filter finds; change nothing.")]


@with_filters
def cancel_command(
    job_id: AnyJobId = None,
    *,
    everything: All = False,
    reason: Annotated[str | None, typer.Option(help="Why, for people.", show_default=False)] = None,
    running: Annotated[
        bool, typer.Option("--running", help="With a filter: stop running jobs too, which are else left alone.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until a running job is dead.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most, with --wait.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
    **given: Any,
) -> None:
    """Cancel jobs that have not ended.

    One job, or all that a filter finds. One that runs is told to stop and then killed; a filter leaves those that run
    alone without --running.
    """
    wanted = one_or_many(job_id, given, everything=everything, command="cancel")
    one = isinstance(wanted, int)
    refuse_without_wait(wait_timeout, wait=wait)
    _refuse("wait", wait and not one, "is for one job; give its id")
    _refuse("running", running and one, "goes with a filter; a job that is named is stopped in any case")
    with open_client(database_url, config) as client:
        if isinstance(wanted, int):
            _cancel_one(client, wanted, reason=reason, wait=wait, wait_timeout=wait_timeout, as_json=as_json)
            return
        changed = client.cancel_jobs(wanted, reason=reason, running=running)
    if as_json:
        print_json({"ids": changed.ids, "running": changed.running})
    else:
        fate = "asked to stop" if running else "left alone"
        print(changed_sentence("cancelled", ids=len(changed.ids), running=changed.running, fate=fate))


def _cancel_one(
    client: Client, job_id: int, *, reason: str | None, wait: bool, wait_timeout: float | None, as_json: bool
) -> None:
    from jobwarden.client.arguments import LONGEST_WAIT_SECONDS
    from jobwarden.jobs import JobStatus

    limit = LONGEST_WAIT_SECONDS if wait_timeout is None else wait_timeout
    job = shown_job(client, client.cancel_job(job_id, reason=reason, wait_seconds=limit if wait else None))
    sentence = f"job {job.id} is {job.status}"
    _print(
        job,
        f"job {job.id} was asked to stop" if job.status is JobStatus.PROCESSING else sentence,
        as_json=as_json,
    )
    if wait and job.status is not JobStatus.CANCELLED:
        raise typer.Exit(1)


@with_filters
def retry_command(
    job_id: AnyJobId = None,
    *,
    everything: All = False,
    dry_run: DryRun = False,
    with_dependents: Annotated[
        bool, typer.Option("--with-dependents", help="With an ID: also the jobs that ended because of it.")
    ] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
    **given: Any,
) -> None:
    """Make failed or cancelled jobs run again.

    One job, or all that a filter finds; they are ready at once.
    """
    wanted = one_or_many(job_id, given, everything=everything, command="retry")
    one = isinstance(wanted, int)
    _refuse("dry-run", dry_run and one, "is for a filter; write for example --id 17")
    _refuse("with-dependents", with_dependents and not one, "is for one job; give its id")
    with open_client(database_url, config) as client:
        if isinstance(wanted, int):
            job = shown_job(client, client.retry_job(wanted, with_dependents=with_dependents))
            _print(job, f"job {job.id} runs again", as_json=as_json)
            return
        ids = client.retry_jobs(wanted, dry_run=dry_run)
    _print_ids(ids, "retried", dry_run=dry_run, as_json=as_json)


@with_filters
def replay_command(
    job_id: AnyJobId = None,
    *,
    everything: All = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
    **given: Any,
) -> None:
    """Run again what has left a dead letter.

    One job, or all that a filter finds. The dead letters themselves stay.
    """
    wanted = one_or_many(job_id, given, everything=everything, command="replay")
    with open_client(database_url, config) as client:
        found = _named(wanted) if isinstance(wanted, int) else wanted
        ids = client.replay_dead_letters(found, dry_run=dry_run)
    if job_id is not None and not ids:
        raise InvalidJobError("replay", f"job {job_id} has left no dead letter; retry it instead")
    _print_ids(ids, "replayed", dry_run=dry_run, as_json=as_json)


def _named(job_id: int) -> JobFilter:
    from jobwarden.jobs import JobFilter

    return JobFilter.parse(ids=[job_id])


def _refuse(option: str, wrong: bool, problem: str) -> None:
    if wrong:
        raise InvalidJobError(option, problem)


def _print(job: JobRecord, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"job": job.model_dump(by_alias=True, mode="json")})
    else:
        print(sentence)


def _print_ids(ids: list[int], verb: str, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"ids": ids, "dryRun": dry_run})
        return
    print(changed_sentence(f"would be {verb}" if dry_run else verb, ids=len(ids)))
    if dry_run:
        print(*ids, sep="\n", end="\n" if ids else "")
