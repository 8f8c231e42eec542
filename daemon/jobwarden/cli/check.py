"""`jobwarden check`: whether a daemon with this configuration would start, and what it would serve.

Asks nobody and changes nothing; `jobwarden reload --check` compares with the daemon that runs.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import typer
from pydantic.alias_generators import to_camel

from jobwarden.cli.places import AsJson, Config
from jobwarden.cli.printing import print_json, printable
from jobwarden.cli.setting_flags import with_a_flag_per_setting
from jobwarden.errors import JobwardenError
from jobwarden.settings import Settings, examine_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from jobwarden.settings.pool import PoolSettings
    from jobwarden.wire.messages import HandlerInfo, Loaded, Problem


@with_a_flag_per_setting
def check_command(*, config: Config = None, as_json: AsJson = False, **flags: object) -> None:
    """Check configuration and handlers.

    All problems are listed; exit code 1 if there is one.
    """
    settings, problems = examine_settings(config=config, flags=flags)
    problems += _unsupported(settings)
    problems += _in_reach_of_others(settings, config, flags)
    problems += _too_slow_to_stop(settings, config)
    found = [_examine(pool, settings.state_dir) for pool in settings.pools if not problems or pool.handlers.is_dir()]
    problems += [problem for each in found for problem in each.problems]
    problems += _claimed_twice(found)
    if as_json:
        print_json({"ok": not problems, "problems": problems, "handlers": list(_handlers(found))})
    else:
        _print(settings, problems, found)
    if problems:
        raise typer.Exit(1)


class _Examined(NamedTuple):
    """One pool, its handlers loaded."""

    pool: PoolSettings
    served: Sequence[HandlerInfo]
    problems: Sequence[str]


def _unsupported(settings: Settings) -> list[str]:
    """`run` would refuse it with the same words."""
    from jobwarden.store.dialects import unsupported

    problem = unsupported(settings.database_url)
    return [f"database_url: {problem}"] if problem else []


def _in_reach_of_others(settings: Settings, config: Path | None, flags: Mapping[str, object]) -> Iterator[str]:
    """As above; whoever checks need not be the daemon's user."""
    from jobwarden.supervisor.guard import breaches, daemon_of

    if settings.strict_modes:
        yield from breaches(settings, config=config, flags=flags, daemon=daemon_of(settings.state_dir))


def _too_slow_to_stop(settings: Settings, config: Path | None) -> list[str]:
    """Whether systemd would wait for the drain: of the unit that this is part of, or that reads this config file."""
    from jobwarden.settings.load import find_config
    from jobwarden.settings.unit import stop_problem
    from jobwarden.supervisor.own_unit import ask_own_unit, ask_unit_with

    limits = ask_own_unit(os.environ) or ask_unit_with(find_config(config), os.environ)
    problem = None if limits is None else stop_problem(settings, limits)
    return [problem] if problem else []


def _examine(pool: PoolSettings, state_dir: Path) -> _Examined:
    from jobwarden.supervisor.inspection import inspect_handlers

    try:
        loaded = inspect_handlers(pool, state_dir=state_dir)
    except JobwardenError as error:
        return _Examined(pool, [], [str(error)])
    return _Examined(pool, loaded.handlers, list(_problems(loaded, pool.handlers)))


def _problems(loaded: Loaded, folder: Path) -> Iterator[str]:
    from jobwarden.supervisor.refusal import refusal_of

    yield from (_sentence(problem, folder) for problem in loaded.problems)
    refused = refusal_of(loaded)
    if refused is not None:
        yield f"{folder}: {refused}"


def _sentence(problem: Problem, folder: Path) -> str:
    path = folder if problem.file == str(folder) else folder / problem.file
    line = "" if problem.line is None else f":{problem.line}"
    way_out = f"; {problem.way_out}" if problem.way_out else ""
    return f"{path}{line}: {problem.error}{way_out}"


def _claimed_twice(found: Sequence[_Examined]) -> Iterator[str]:
    """A job type belongs to one pool; the daemon would refuse whichever loads second."""
    from jobwarden.supervisor.territory import claimed_twice

    first: dict[str, tuple[str, str]] = {}
    for each in found:
        for info in each.served:
            pool, file = first.setdefault(info.job_type, (each.pool.name, info.file))
            if pool != each.pool.name:
                yield claimed_twice(info, each.pool.name, pool, file)


def _handlers(found: Sequence[_Examined]) -> Iterator[dict[str, object]]:
    """Each option of each handler, by the names that jobs have for them."""
    for each in found:
        for info in each.served:
            schema = None if info.schema is None else json.loads(info.schema)
            options = {to_camel(name): value for name, value in msgspec.structs.asdict(info).items()}
            yield {"pool": each.pool.name, **options, "schema": schema}


def _print(settings: Settings, problems: Sequence[str], found: Sequence[_Examined]) -> None:
    for problem in problems:
        print(printable(problem))
    for each in found:
        types = ", ".join(sorted(info.job_type for info in each.served)) or "none"
        name = f"pool {each.pool.name}: " if len(settings.pools) > 1 else ""
        print(printable(f"{name}handlers in {each.pool.handlers}: {types}"))
    print(f"database: {settings.shown_url}")
    print(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "all is well")
