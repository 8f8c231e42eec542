"""`jobwarden status`: the daemons on this store, what their slots do, how much waits, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client
from jobwarden.cli.printing import print_json, screen

if TYPE_CHECKING:
    from jobwarden.cli.situation import Situation


def status_command(*, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Show daemons, slots, running jobs and queues."""
    from jobwarden.cli.situation import observe

    with open_client(database_url, config) as client:
        situation = observe(client.store)
    if as_json:
        print_json(situation.as_json())
    else:
        _print(situation)


def _print(situation: Situation) -> None:
    to_screen = screen()
    for chapter in situation.chapters():
        to_screen.print(chapter)
    for problem in situation.problems():
        to_screen.print(problem)
