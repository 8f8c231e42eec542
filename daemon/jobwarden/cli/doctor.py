"""`jobwarden doctor`: what is wrong or will be, here and in the store, why it matters and what to do.

Looks and never writes. Each part that cannot be looked at is one finding, and the others still appear.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl
from jobwarden.cli.printing import print_json, printable, screen
from jobwarden.errors import InvalidSettingsError, StoreError
from jobwarden.findings import Severity, problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jobwarden.findings import Finding
    from jobwarden.settings import Settings

_STYLES = {Severity.PROBLEM: "bold red", Severity.WARNING: "yellow", Severity.NOTICE: "cyan", Severity.OK: "green"}
_WIDEST, _INDENT = 120, 9
"""Characters per line at most, and those of them that the severity takes."""


def doctor_command(
    *,
    thorough: Annotated[bool, typer.Option("--thorough", help="Read the whole database too; may take long.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Look for what is wrong here and in the database.

    Each finding says what is so, why it matters and what to do. Exit code 1 if there is a problem; warnings are none.
    """
    found = sorted(
        _findings(database_url, config, thorough=thorough), key=lambda each: list(Severity).index(each.severity)
    )
    failed = any(each.severity is Severity.PROBLEM for each in found)
    if as_json:
        print_json({"ok": not failed, "findings": [msgspec.to_builtins(each) for each in found]})
    else:
        _print(found)
    if failed:
        raise typer.Exit(1)


def _findings(database_url: str | None, config: Path | None, *, thorough: bool) -> Iterator[Finding]:
    from jobwarden.settings import examine_settings
    from jobwarden.supervisor.checkup import examine_host
    from jobwarden.supervisor.guard import examine_reach

    settings, problems = examine_settings(config=config, flags={"database_url": database_url})
    for sentence in problems:
        why = "a daemon with this configuration does not start"
        yield problem("settings", sentence, why=why, do="correct it; `jobwarden check` tells whether all is well")
    yield from examine_host(settings.state_dir)
    yield from examine_reach(settings, config=config, flags={"database_url": database_url})
    if not any("database-url" in sentence or "database_url" in sentence.lower() for sentence in problems):
        yield from _of_store(settings, thorough=thorough)


def _of_store(settings: Settings, *, thorough: bool) -> Iterator[Finding]:
    from jobwarden.clock import SYSTEM_CLOCK
    from jobwarden.store import StoreOptions
    from jobwarden.store.checkup.survey import examine
    from jobwarden.store.dialects import dialect_for

    try:
        dialect = dialect_for(settings.connection_url, StoreOptions(application="jobwarden doctor"))
    except (InvalidSettingsError, StoreError) as error:
        why = "nothing can be added, claimed or finished"
        yield problem("database", str(error), why=why, do="what the sentence says; then ask again")
        return
    try:
        yield from examine(dialect, clock=SYSTEM_CLOCK, thorough=thorough)
    finally:
        dialect.close()


def _print(found: Sequence[Finding]) -> None:
    """Severities in a column of their own, sentences wrapped beside it."""
    from rich.text import Text

    to_screen = screen()
    width = min(to_screen.width, _WIDEST)
    for each in found:
        for number, line in enumerate(_lines(each, width=width)):
            mark = each.severity if number == 0 else ""
            to_screen.print(Text.assemble((f"{mark:9}", _STYLES[each.severity]), printable(line)))
    to_screen.print(_summary(found))


def _lines(each: Finding, *, width: int) -> Iterator[str]:
    for label, text in (("", each.what), ("why: ", each.why), ("do: ", each.do)):
        if text:
            yield from textwrap.wrap(label + text, width - _INDENT, break_long_words=False, break_on_hyphens=False)


def _summary(found: Sequence[Finding]) -> str:
    counts = {each: sum(one.severity is each for one in found) for each in Severity}
    told = [
        f"{number} {severity}{'' if severity is Severity.OK or number == 1 else 's'}"
        for severity, number in counts.items()
    ]
    return ", ".join(told)
