"""`jobwarden cleanup` and `reclaim`: by hand what daemons do by themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from jobwarden.cli.filters import changed_sentence
from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client
from jobwarden.cli.printing import print_json


def cleanup_command(
    *,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", help="Only what is older; 0 is all.", show_default=False)
    ],
    events: Annotated[bool, typer.Option("--events", help="Only events; the jobs stay.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Remove what ended long ago.

    Jobs with their history. One that will be retried has not ended. Daemons do the same by themselves.
    """
    with open_client(database_url, config) as client:
        remove = client.cleanup_old_job_events if events else client.cleanup_old_jobs
        removed = remove(older_than)
    if as_json:
        print_json({"removed": removed})
    elif events:
        print(f"{removed} event{'' if removed == 1 else 's'} removed")
    else:
        print(changed_sentence("removed", ids=removed))


def reclaim_command(
    *,
    older_than: Annotated[
        float, typer.Option(metavar="MINUTES", help="Only jobs that have been running for longer.", show_default=False)
    ],
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Take back jobs that run for too long.

    Those of daemons that are gone are freed. Daemons that live are asked to kill and requeue theirs, unless the job is
    still within its own limit.
    """
    with open_client(database_url, config) as client:
        reclaimed = client.reclaim_stuck_jobs(older_than)
    if as_json:
        print_json({"freed": reclaimed.freed, "asked": reclaimed.asked})
    else:
        print(f"{changed_sentence('freed', ids=len(reclaimed.freed))}; {len(reclaimed.asked)} more asked for")
