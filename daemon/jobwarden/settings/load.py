"""Read settings: flags over environment over TOML file over defaults, and report every problem at once.

Each value is kept with the place it came from, so that a problem names it. Called by the CLI before anything
is started and by the supervisor when it is told to read its configuration again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from jobwarden.errors import InvalidSettingsError
from jobwarden.settings.address import exposed_password
from jobwarden.settings.describe import did_you_mean, explain
from jobwarden.settings.file import Contents, Found, read_file
from jobwarden.settings.model import ENVIRONMENT_PREFIX, OPTIONS, Settings
from jobwarden.settings.pool import PoolOptions, PoolSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic.fields import FieldInfo

    from jobwarden.settings.file import Table

CONFIG_VARIABLE = "JOBWARDEN_CONFIG"

RESERVED_VARIABLES = frozenset({CONFIG_VARIABLE, "JOBWARDEN_NODE"})
"""JOBWARDEN_ variables that are no options: the path of the file, and the mark of the daemon's processes."""

RESERVED_PREFIX = "JOBWARDEN_TEST_"

POOLS_FLAG = "pool"
"""Among the flags, this one is no option: the names of the pools that are meant, all if it is missing."""

_JUDGED_TOGETHER = {"handlers", "state_dir"}
"""Without the one, a contradiction with the other's default would be nobody's mistake."""


def load_settings(*, config: Path | None, flags: Mapping[str, object]) -> Settings:
    """Settings from `flags` (option name to value; None means not given), environment, file and defaults.

    `config` is the TOML file; without it JOBWARDEN_CONFIG names one, else none is read. The flag `pool` is a list of
    names: the settings then have only those pools. Raises InvalidSettingsError with one sentence per problem, all of
    them; no sentence repeats the database URL.
    """
    settings, problems = examine_settings(config=config, flags=flags)
    if problems:
        raise InvalidSettingsError(problems)
    return settings


def examine_settings(*, config: Path | None, flags: Mapping[str, object]) -> tuple[Settings, list[str]]:
    """As `load_settings`, but what is wrong is left at its default (a pool: left out) and told beside it."""
    problems: list[str] = []
    path = find_config(config)
    in_file, tables = read_file(path, problems) if path else Contents({}, [])
    said = _from_environment(problems) | {
        name: Found(value, _flag(name)) for name, value in flags.items() if value is not None and name != POOLS_FLAG
    }
    problems.extend(_exposed(flags.get("database_url")))
    pools = [judged for table in tables if (judged := _judge(table, in_file, said, problems)) is not None]
    settings = _validate(in_file | said, pools, said, problems)
    return _chosen(settings, flags.get(POOLS_FLAG), tables, problems), problems


def _exposed(url: object) -> list[str]:
    """What stands on the command line and must not."""
    problem = exposed_password(url) if isinstance(url, str) else None
    return [f"{_flag('database_url')}: {problem}"] if problem else []


def find_config(config: Path | None) -> Path | None:
    """The file to read: the one given, else the one that JOBWARDEN_CONFIG names, else None."""
    named = os.environ.get(CONFIG_VARIABLE)
    return config or (Path(named) if named else None)


# the environment


class _Variables(EnvSettingsSource):
    """The variables of options; there is none for the tables of pools."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Value, key, and whether it has parts."""
        return super().get_field_value(field, field_name) if field_name in OPTIONS else (None, field_name, False)


def _from_environment(problems: list[str]) -> dict[str, Found]:
    problems.extend(
        f"environment variable {variable}: {_no_such_variable(variable)}"
        for variable in sorted(os.environ)
        if variable.startswith(ENVIRONMENT_PREFIX) and not _known_variable(variable)
    )
    values = _Variables(Settings, env_ignore_empty=True)()
    return {
        name: Found(value, f"environment variable {_variable(name)}")
        for name, value in values.items()
        if name in OPTIONS
    }


def _known_variable(variable: str) -> bool:
    name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
    return name in OPTIONS or variable in RESERVED_VARIABLES or variable.startswith(RESERVED_PREFIX)


def _no_such_variable(variable: str) -> str:
    if variable == _variable(POOLS_FLAG):
        return "pools are not described in the environment; write them as tables [[pool]] into the file"
    return f"there is no such option; {did_you_mean(variable, options=map(_variable, OPTIONS))}"


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


# judging


class _Judged:
    """A pool whose values are right, and where it stands."""

    def __init__(self, table: Table, settings: PoolSettings) -> None:
        self.table = table
        self.settings = settings


def _judge(
    table: Table, in_file: Mapping[str, Found], said: Mapping[str, Found], problems: list[str]
) -> _Judged | None:
    """The pool, or None if something about it is wrong; what its table leaves out it takes from the top."""
    found = {
        name: each for name, each in {**in_file, **table.options, **said}.items() if name in PoolOptions.model_fields
    }
    try:
        named = {} if table.name is None else {"name": table.name}
        settings = PoolSettings.model_validate({**named, **{name: value for name, (value, _) in found.items()}})
    except ValidationError as error:
        _report(error, found, problems)
        return None
    return None if table.name is None else _Judged(table, settings)


def _validate(
    found: Mapping[str, Found], pools: list[_Judged], said: Mapping[str, Found], problems: list[str]
) -> Settings:
    """Check all values; those that are wrong are named and left out of a second look for contradictions."""
    values: dict[str, object] = {name: value for name, (value, _) in found.items()}
    try:
        return Settings.model_validate({**values, "pool": [each.settings for each in pools]})
    except ValidationError as error:
        clash = _clash(error)
        if clash is not None:
            field, place, sentence = clash
            problems.append(f"{_place(field, pools[place].table, said)}: {sentence}")
            return _validate(found, pools[:place] + pools[place + 1 :], said, problems)
        wrong = _report(error, found, problems)
    if wrong & _JUDGED_TOGETHER:
        pools = []
    return _validate({name: each for name, each in found.items() if name not in wrong}, pools, said, problems)


def _clash(error: ValidationError) -> tuple[str, int, str] | None:
    """Which option of which pool is in the way of another pool's."""
    for detail in error.errors(include_url=False):
        context = detail.get("ctx", {})
        if context.get("pool") is not None:
            return str(context["field"]), int(context["pool"]), str(context["sentence"])
    return None


def _place(field: str, table: Table, said: Mapping[str, Found]) -> str:
    if field in said:
        return said[field].place
    return table.options[field].place if field in table.options else f"{table.place}, key {field}"


def _report(error: ValidationError, found: Mapping[str, Found], problems: list[str]) -> set[str]:
    wrong: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0]) if detail["loc"] else str(detail.get("ctx", {}).get("field", ""))
        place = found[name].place if name in found else name
        wrong.setdefault(name, f"{place}: {explain(name, detail)}")
    problems.extend(each for each in wrong.values() if each not in problems)  # pools take over the top's mistakes
    return set(wrong) | (_JUDGED_TOGETHER if _JUDGED_TOGETHER & set(wrong) else set())


# choosing


def _chosen(settings: Settings, names: object, tables: Iterable[Table], problems: list[str]) -> Settings:
    """Only the pools that are wanted; all if none is named."""
    if not isinstance(names, list | tuple) or not names:
        return settings
    there = [each.name for each in settings.pools]
    known = {*there, *(table.name for table in tables)}
    problems.extend(
        f"{_flag(POOLS_FLAG)}: there is no pool {name!r} in the configuration, which has {', '.join(there)}"
        for name in dict.fromkeys(names)
        if name not in known
    )
    return settings.model_copy(update={"pool": [each for each in settings.pool if each.name in names] or settings.pool})
