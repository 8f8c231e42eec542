"""`jobwarden reload`: what SIGHUP does, with an answer; with `--check`, only what it would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.desk import ask_daemon
from jobwarden.cli.places import AsJson, Config
from jobwarden.cli.printing import print_json, printable
from jobwarden.cli.reload_report import as_document, in_words, is_well
from jobwarden.errors import DeskError, InvalidSettingsError, NoDaemonError
from jobwarden.settings import examine_settings
from jobwarden.wire import desk as wire

if TYPE_CHECKING:
    from jobwarden.settings import Settings

_BROKEN = 1


def reload_command(
    *,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; tell what a reload would change.")] = False,
    pool: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the handlers of this pool.", show_default=False)
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="State directory of the daemon; else from the config.", show_default=False),
    ] = None,
    wait_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Wait for the answer no longer than this.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Load handlers and configuration again.

    Does what SIGHUP does and waits for the result. Exit code 0: the new generation serves; 1: something is wrong with
    it, and the old one serves on; 2: no daemon runs with this state directory.
    """
    flags = {"state_dir": None if state_dir is None else str(state_dir)}
    settings, problems = examine_settings(config=config, flags=flags)
    request = wire.TryOut(pool=pool) if check else wire.Reload(pool=pool)
    try:
        answer = ask_daemon(settings.state_dir, request, wait_seconds=wait_timeout)
    except NoDaemonError:
        if not check or problems:
            if problems:
                raise InvalidSettingsError(problems) from None
            raise
        answer = _without_daemon(settings, pool)
    if answer.refused is not None:
        raise DeskError(answer.refused)
    if as_json:
        print_json(as_document(answer, check=check))
    else:
        for line in in_words(answer, check=check):
            print(printable(line))
    if not is_well(answer):
        raise typer.Exit(_BROKEN)


def _without_daemon(settings: Settings, pool: str | None) -> wire.Answer:
    """What a daemon would serve that was started now."""
    from jobwarden.supervisor.inspection import inspect_pools

    names = [each.name for each in settings.pools]
    if pool not in {None, *names}:
        return wire.Answer(refused=f"there is no pool {pool!r} in this configuration, which has {', '.join(names)}")
    told = f"no daemon runs with the state directory {settings.state_dir}; this is what one would serve"
    return wire.Answer(pools=list(inspect_pools(settings, only=pool)), notes=[told])
