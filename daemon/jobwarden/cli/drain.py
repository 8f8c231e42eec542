"""`jobwarden drain`: nothing new starts, and what runs is waited for; the state in which to upgrade or to move.

A pause like that of `jobwarden pause`, for all daemons on the store and also after restarts, until `jobwarden resume`.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client
from jobwarden.cli.printing import print_json, printable
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jobwarden.client import Client
    from jobwarden.store.people.reading import RunningJob

GO_ON = "nothing new starts until `jobwarden resume`"
_EVERYTHING = "all"
_LOOKS = 2
"""In a row without a running job: a claim that began before the pause may commit after the first."""
_MOST_NAMED = 5


def drain_command(
    *,
    wait_timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="SECONDS|5m", help="Wait for so long at most.", show_default=False),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "drain",
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Start no further job, and wait until none runs.

    On all daemons, also after restarts, until `resume`. Ends with 0 when nothing runs, with 1 at the --timeout; the
    pause stays in both cases.
    """
    from jobwarden.cli.reading import read_seconds
    from jobwarden.client.arguments import checked_seconds

    seconds = checked_seconds(read_seconds(wait_timeout, name="timeout"), name="timeout")
    with open_client(database_url, config) as client:
        _pause(client, reason)
        try:
            with _progress() as told:
                left = _wait_until_idle(client, seconds=seconds, told=told)
        except KeyboardInterrupt:
            print(f"jobwarden: no longer waiting; {GO_ON}", file=sys.stderr)
            raise
    if as_json:
        print_json({"idle": not left, "running": [each.id for each in left]})
    else:
        print(printable(_sentence(left)))
    if left:
        raise typer.Exit(1)


def _pause(client: Client, reason: str) -> None:
    """One that somebody else made for good stays as it is, with its reason."""
    paused = any(
        each.scope == _EVERYTHING and each.paused_at is not None and each.paused_until is None
        for each in client.get_controls()
    )
    if not paused:
        client.pause(reason=reason)


def _wait_until_idle(
    client: Client, *, seconds: float | None, told: Callable[[Sequence[RunningJob]], None]
) -> list[RunningJob]:
    """What still runs at the end: nothing, or after `seconds` whatever it is."""
    from jobwarden.client.waiting import SAFETY_LOOK_SECONDS, listen, listening

    until_ns = None if seconds is None else SYSTEM_CLOCK.monotonic_ns() + int(seconds * SECOND_NS)
    idle = 0
    with listening(client.store) as ear:
        while True:
            running = client.store.running()
            told(running)
            idle = 0 if running else idle + 1
            if idle == _LOOKS or (until_ns is not None and SYSTEM_CLOCK.monotonic_ns() >= until_ns):
                return running
            listen(ear if running else None, seconds=SAFETY_LOOK_SECONDS)


def _sentence(left: Sequence[RunningJob]) -> str:
    if not left:
        return f"idle: no job runs; {GO_ON}"
    named = ", ".join(f"{each.id} ({each.job_type}, on {each.locked_by or 'nobody'})" for each in left[:_MOST_NAMED])
    more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
    return f"still running: {named}{more}; {GO_ON}, and `jobwarden drain` waits again"


@contextmanager
def _progress() -> Iterator[Callable[[Sequence[RunningJob]], None]]:
    """On standard error: how many still run; a line that changes on a terminal, one for each change elsewhere."""
    last: int | None = None
    terminal = sys.stderr.isatty()

    def tell(running: Sequence[RunningJob]) -> None:
        nonlocal last
        if running and len(running) != last:
            last = len(running)
            text = "1 job still runs" if last == 1 else f"{last} jobs still run"
            print(f"\r\x1b[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
