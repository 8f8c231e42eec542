"""`jobwarden pause`, `resume`, `limit` and `controls`: what may run, for all daemons on the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client
from jobwarden.cli.printing import duration, moment, print_json, printable, screen, table
from jobwarden.errors import InvalidJobError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobwarden.jobs.control import Control

AnyType = Annotated[str | None, typer.Argument(metavar="TYPE", help="A job type; all without.", show_default=False)]
Bound = Annotated[str | None, typer.Option(metavar="N|none", help="none takes this limit away.", show_default=False)]
_NONE = "none"
HEADINGS = ("of", "name", "at once", "on one node", "rate", "paused")


def pause_command(
    job_type: AnyType = None,
    *,
    reason: Annotated[str | None, typer.Option(help="Why, for people.", show_default=False)] = None,
    until: Annotated[
        str | None, typer.Option(help="Go on by itself then: 2030-01-31T08:00:00Z, or +2h.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Start no further job, of a type or at all.

    On any daemon, also after restarts, until `resume` or --until. What runs goes on.
    """
    from jobwarden.cli.reading import read_moment

    when = read_moment(until, name="until")
    with open_client(database_url, config) as client:
        control = client.pause(job_type, reason=reason, until=when)
    if as_json:
        print_json({"control": control.model_dump(by_alias=True, mode="json")})
    else:
        print(printable(f"{_subject(job_type)} is {_pause(control)}"))


def resume_command(
    job_type: AnyType = None, *, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """End the pause of a type or of everything."""
    with open_client(database_url, config) as client:
        resumed = client.resume(job_type)
    if as_json:
        print_json({"resumed": resumed})
    else:
        print(printable(f"{_subject(job_type)} {'goes on' if resumed else 'was not paused'}"))


def limit_command(
    scope: Annotated[str, typer.Argument(metavar="type|group", help="What is limited.", show_default=False)],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name; group '*' is each without its own.", show_default=False)
    ],
    *,
    max_running: Bound = None,
    max_per_node: Bound = None,
    rate: Bound = None,
    per: Annotated[
        str | None, typer.Option(metavar="SECONDS|5m", help="The time that --rate is for.", show_default=False)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take all limits away.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Limit a type or a group.

    How many of its jobs run at once over all daemons or on each (types only), and how many start in a time. What is not
    given stays as it is.
    """
    lane = _lane(scope, name)
    limits = _given_limits({"max_running": max_running, "max_per_node": max_per_node, "rate": rate}, per)
    if clear == bool(limits):
        raise InvalidJobError("limit", "say which: --max-running, --max-per-node, --rate with --per, or --clear alone")
    with open_client(database_url, config) as client:
        if clear:
            _print_cleared(f"{scope} {name}", cleared=client.clear_limits(**lane), as_json=as_json)
            return
        control = client.set_limit(**lane, **limits)
    if as_json:
        print_json({"control": control.model_dump(by_alias=True, mode="json")})
    else:
        print(printable(f"{scope} {name}: {', '.join(_limits(control)) or 'no limits'}"))


def _given_limits(texts: dict[str, str | None], per: str | None) -> dict[str, Any]:
    """Only what was given; a rate goes together with its time."""
    from jobwarden.cli.reading import read_seconds

    limits: dict[str, Any] = {field: _number(text, name=field) for field, text in texts.items() if text is not None}
    if per is not None:
        limits["rate_seconds"] = read_seconds(per, name="per")
    elif texts["rate"] == _NONE:
        limits["rate_seconds"] = None
    return limits


def _print_cleared(lane: str, *, cleared: bool, as_json: bool) -> None:
    if as_json:
        print_json({"cleared": cleared})
    else:
        print(printable(f"{lane} {'has no limits any more' if cleared else 'had no limits'}"))


def controls_command(*, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None) -> None:
    """List limits and pauses."""
    with open_client(database_url, config) as client:
        controls = client.get_controls()
    if as_json:
        print_json({"controls": [control.model_dump(by_alias=True, mode="json") for control in controls]})
    elif controls:
        screen().print(table(HEADINGS, control_rows(controls)))
    else:
        print("no limits, no pauses")


def control_rows(controls: Iterable[Control]) -> Iterator[tuple[object, ...]]:
    """What belongs under `HEADINGS`."""
    for each in controls:
        rate = None if each.rate is None else f"{each.rate} in {duration(each.rate_seconds or 0)}"
        paused = None if each.paused_at is None else _pause(each)
        yield each.scope, each.name, each.max_running, each.max_per_node, rate, paused


def _subject(job_type: str | None) -> str:
    return "everything" if job_type is None else f"type {job_type}"


def _pause(control: Control) -> str:
    until = f" until {moment(control.paused_until)}" if control.paused_until else ""
    return f"paused{until}" + (f": {control.pause_reason}" if control.pause_reason else "")


def _limits(control: Control) -> Iterator[str]:
    if control.max_running is not None:
        yield f"{control.max_running} at once"
    if control.max_per_node is not None:
        yield f"{control.max_per_node} on one node"
    if control.rate is not None:
        yield f"{control.rate} starts in {duration(control.rate_seconds or 0)}"


def _lane(scope: str, name: str) -> dict[str, Any]:
    if scope not in {"type", "group"}:
        raise InvalidJobError("limit", f"{scope[:60]!r} cannot be limited; write type NAME or group NAME")
    return {"job_type" if scope == "type" else "group_id": name}


def _number(text: str, *, name: str) -> int | None:
    if text == _NONE:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidJobError(name.replace("_", "-"), f"{text[:60]!r} is no number; give an integer, or none") from None
