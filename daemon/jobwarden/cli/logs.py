"""`jobwarden logs`: what a job's attempts printed, why they did not succeed, and their stacks before a kill."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, JobId, open_client
from jobwarden.cli.printing import duration, moment, print_json, printable
from jobwarden.errors import InvalidJobError, UnknownJobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobwarden.client import Client
    from jobwarden.jobs import Attempt


def logs_command(
    job_id: JobId,
    *,
    attempt: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only this one, by its number in `show`; -1 is the last.", show_default=False),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with further attempts until the job ends.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Print what a job's attempts printed.

    Each with its outcome, its error, and the stacks before a kill. What an attempt prints is stored when it ends.
    """
    if follow and attempt is not None:
        raise InvalidJobError("follow", "is for all attempts; leave out --attempt")
    with open_client(database_url, config) as client:
        if follow:
            _follow(client, job_id, as_json=as_json)
            return
        attempts, running = _look(client, job_id)
    chosen = _chosen(attempts, attempt, job_id=job_id)
    if as_json:
        print_json({"job": job_id, "attempts": [_fields(each) for each in chosen]})
        return
    for each in chosen:
        print("\n".join(_lines(each)))
    if attempt is None:
        _remark(job_id, attempts, running=running)


def _look(client: Client, job_id: int) -> tuple[list[Attempt], str | None]:
    """The ended attempts, and who runs the job now."""
    job = client.get_job(job_id)
    if job is None:
        raise UnknownJobError(job_id)
    return client.get_job_attempts(job_id), job.locked_by if job.locked_at else None


def _chosen(attempts: Sequence[Attempt], wanted: int | None, *, job_id: int) -> Sequence[Attempt]:
    if wanted is None:
        return attempts
    found = attempts[-1:] if wanted == -1 else [each for each in attempts if each.fence == wanted]
    if not found:
        numbers = ", ".join(str(each.fence) for each in attempts) or "none yet"
        raise InvalidJobError("attempt", f"job {job_id} has no ended attempt {wanted}; it has {numbers}")
    return found


def _follow(client: Client, job_id: int, *, as_json: bool) -> None:
    from jobwarden.client.waiting import SAFETY_LOOK_SECONDS, listen, listening

    told: set[int] = set()
    with listening(client.store) as ear:
        while True:
            job = client.get_job(job_id)
            if job is None:
                raise UnknownJobError(job_id)
            for each in client.get_job_attempts(job_id):
                if each.fence not in told:
                    told.add(each.fence)
                    print(json.dumps(_fields(each)) if as_json else "\n".join(_lines(each)), flush=True)
            if job.ended:
                return
            listen(ear, seconds=SAFETY_LOOK_SECONDS)


def _fields(attempt: Attempt) -> dict[str, object]:
    return attempt.model_dump(by_alias=True, mode="json")


def _lines(attempt: Attempt) -> Iterator[str]:
    begun, ended = attempt.started_at, attempt.ended_at
    took = f", took {duration((ended - begun).total_seconds())}" if begun and ended else ""
    yield f"== attempt {attempt.fence}: {attempt.outcome}, {moment(begun or ended) or 'not started'}{took}"
    for label, text in (
        ("error", attempt.error),
        ("printed", attempt.captured),
        ("stacks before the kill", attempt.stack_dump),
        ("left behind", "\n".join(attempt.left_behind or ())),
    ):
        if text:
            yield f"-- {label}:"
            yield printable(text.rstrip("\n"))


def _remark(job_id: int, attempts: Sequence[Attempt], *, running: str | None) -> None:
    """Why there is less than one may expect; on standard error."""
    if running:
        sys.stdout.flush()
        told = f"job {job_id} runs on {running}; what it prints now is kept when the attempt ends"
        print(printable(f"jobwarden: {told}"), file=sys.stderr)
    elif not attempts:
        print(f"jobwarden: job {job_id} has no attempt on record", file=sys.stderr)
