"""`jobwarden events`: what happened to all jobs, one JSON object on each line."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client
from jobwarden.errors import InvalidJobError
from jobwarden.jobs.history import EVENT_TYPES


def events_command(
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens from now on.")] = False,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Begin after the event that had this; `begin` is the first of all."),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only events of this name, as in completed; repeat it for more."),
    ] = None,
    job_type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only of this job type; repeat it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="End after so many.")] = None,
    as_json: AsJson = False,  # noqa: ARG001 - it is always JSON
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Print what happened to all jobs.

    One JSON object on each line. Each has a cursor, with which --after goes on another time.
    """
    if limit is not None and limit < 1:
        raise InvalidJobError("limit", f"{limit} is not possible; give an integer from 1 on")
    for name in event or ():
        if name not in EVENT_TYPES:
            raise InvalidJobError("event", f"{name[:60]!r} is no event; use {', '.join(EVENT_TYPES)}")
    left = limit
    with open_client(database_url, config) as client:
        for each in client.events(after, follow=follow):
            if (event and each.type not in event) or (job_type and each.job_type not in job_type):
                continue
            # A line at once: whoever follows through a pipe waits for it.
            print(json.dumps(each.model_dump(by_alias=True, mode="json"), ensure_ascii=False), flush=follow)
            left = None if left is None else left - 1
            if left == 0:
                return
