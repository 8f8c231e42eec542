"""`jobwarden run`, `check` and `migrate`: the daemon's own commands.

`run` and `check` take every setting as a flag; the flags are made from `Settings`, so that each default and
each explanation exists once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, find_url
from jobwarden.cli.printing import print_json, printable
from jobwarden.cli.signatures import extended, option
from jobwarden.errors import InvalidJobError, JobwardenError
from jobwarden.settings import Settings, examine_settings, load_settings
from jobwarden.settings.describe import default_text
from jobwarden.settings.model import OPTIONS

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable

    from jobwarden.settings.pool import PoolSettings
    from jobwarden.supervisor.terms import Errand
    from jobwarden.wire.messages import HandlerInfo, Problem

_METAVARS = {"database_url": "URL", "handlers": "DIR", "state_dir": "DIR", "worker_environment": "NAMES"}


def _with_a_flag_per_setting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `**flags` one option per setting; all are text, judged by `Settings`."""
    return extended(command, map(_flag, OPTIONS))


def _flag(name: str) -> inspect.Parameter:
    return option(
        name,
        str | None,
        "--" + name.replace("_", "-"),
        metavar=_METAVARS.get(name, "VALUE"),
        about=f"{OPTIONS[name].description} Default: {default_text(name) or 'none'}.",
    )


@_with_a_flag_per_setting
def run_command(
    *,
    once: Annotated[bool, typer.Option("--once", help="Claim ready jobs once, run them, and end.")] = False,
    burst: Annotated[bool, typer.Option("--burst", help="Run jobs until nothing is ready, and end.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            help="With --once or --burst: at most so many jobs; by default 100 with --once.", show_default=False
        ),
    ] = None,
    job_type: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="With --once or --burst: only this type; repeat it for more.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    **flags: str | None,
) -> None:
    """Run the daemon in the foreground.

    It ends with SIGTERM or SIGINT. With --once or --burst it runs what is ready, prints {"processed": N} on standard
    output, and ends with 0, also if jobs failed; 1 says that the handlers or the database cannot be used.
    """
    errand = _errand(once=once, burst=burst, limit=limit, types=job_type or [])
    settings = load_settings(config=config, flags=flags)
    from jobwarden.supervisor.start import start

    given = {name: value for name, value in flags.items() if value is not None}
    start(settings, config=config, flags=given, errand=errand)


def _errand(*, once: bool, burst: bool, limit: int | None, types: list[str]) -> Errand | None:
    """What is to be processed by hand; None for a daemon that stays. Raises InvalidJobError."""
    from jobwarden.client.arguments import LARGEST_PAGE

    if once and burst:
        raise InvalidJobError("burst", "goes on where --once ends; give one of the two")
    if not (once or burst):
        for name, value in (("limit", limit), ("type", types)):
            if value not in (None, []):
                raise InvalidJobError(name, "is for --once and --burst only; add one of them")
        return None
    if limit is not None and not 1 <= limit <= LARGEST_PAGE:
        raise InvalidJobError("limit", f"{limit} is not possible; give an integer from 1 to {LARGEST_PAGE}")
    if "" in types:
        raise InvalidJobError("type", "is empty; name a job type")
    from jobwarden.supervisor.terms import Errand

    return Errand(burst=burst, limit=limit, types=tuple(dict.fromkeys(types)))


@_with_a_flag_per_setting
def check_command(*, config: Config = None, as_json: AsJson = False, **flags: str | None) -> None:
    """Check configuration and handlers.

    All problems are listed; exit code 1 if there is one.
    """
    settings, problems = examine_settings(config=config, flags=flags)
    problems += _unsupported(settings)
    served: list[HandlerInfo] = []
    for pool in settings.pools:
        if not problems or pool.handlers.is_dir():
            more, wrong = _inspect(pool, settings.state_dir)
            served += more
            problems += wrong
    if as_json:
        print_json({"ok": not problems, "problems": problems, "handlers": [_handler(each) for each in served]})
    else:
        _print_check(settings, problems, served)
    if problems:
        raise typer.Exit(1)


def migrate_command(*, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Bring the tables to this version's schema.

    Creates them if there are none.
    """
    from jobwarden.store.dialects import StoreOptions, dialect_for
    from jobwarden.store.store import Store

    store = Store(dialect_for(find_url(database_url, config), StoreOptions()))
    try:
        applied = store.migrate()
        revision = store.schema_revision()
    finally:
        store.close()
    if as_json:
        print_json({"applied": applied, "revision": revision})
    else:
        print(f"schema {revision}: {'applied ' + ', '.join(applied) if applied else 'nothing to do'}")


def _unsupported(settings: Settings) -> list[str]:
    """`run` would refuse it with the same words."""
    from jobwarden.store.dialects import unsupported

    problem = unsupported(settings.database_url)
    return [f"database_url: {problem}"] if problem else []


def _inspect(pool: PoolSettings, state_dir: Path) -> tuple[list[HandlerInfo], list[str]]:
    from jobwarden.supervisor.inspection import inspect_handlers

    try:
        loaded = inspect_handlers(pool, state_dir=state_dir)
    except JobwardenError as error:
        return [], [str(error)]
    return loaded.handlers, [_sentence(problem, pool.handlers) for problem in loaded.problems]


def _sentence(problem: Problem, folder: Path) -> str:
    path = folder if problem.file == str(folder) else folder / problem.file
    line = "" if problem.line is None else f":{problem.line}"
    way_out = f"; {problem.way_out}" if problem.way_out else ""
    return f"{path}{line}: {problem.error}{way_out}"


def _handler(info: HandlerInfo) -> dict[str, object]:
    return {
        "jobType": info.job_type,
        "file": info.file,
        "timeoutMs": info.timeout_ms,
        "maxAttempts": info.max_attempts,
        "retryDelay": info.retry_delay,
        "schema": None if info.schema is None else json.loads(info.schema),
    }


def _print_check(settings: Settings, problems: list[str], served: list[HandlerInfo]) -> None:
    for problem in problems:
        print(printable(problem))
    types = ", ".join(sorted(info.job_type for info in served)) or "none"
    folders = ", ".join(str(pool.handlers) for pool in settings.pools)
    print(printable(f"handlers in {folders}: {types}"))
    print(f"database: {settings.shown_url}")
    print(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "all is well")
