"""`jobwarden remove` and `clear`: take jobs out of the store, with their history."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobwarden.cli.filters import All, changed_sentence, demanded_filter, with_filters
from jobwarden.cli.places import AsJson, Config, DatabaseUrl, JobId, open_client
from jobwarden.cli.printing import print_json
from jobwarden.errors import InvalidJobError


def remove_command(
    job_id: JobId, *, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Remove a job that is not running.

    With its attempts and events.
    """
    with open_client(database_url, config) as client:
        client.remove_job(job_id)
    if as_json:
        print_json({"id": job_id})
    else:
        print(f"job {job_id} is removed")


@with_filters
def clear_command(
    *,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it is only counted.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
    **given: Any,
) -> None:
    """Remove all jobs that a filter finds.

    With their attempts and events. Those that run are left alone.
    """
    wanted = demanded_filter(given, everything=everything, command="clear")
    with open_client(database_url, config) as client:
        if not yes:
            found = changed_sentence("found", ids=client.count_jobs(wanted))
            raise InvalidJobError("clear", f"{found}; add --yes to remove what is not running")
        changed = client.clear_jobs(wanted)
    if as_json:
        print_json({"ids": changed.ids, "running": changed.running})
    else:
        print(changed_sentence("removed", ids=len(changed.ids), running=changed.running))
