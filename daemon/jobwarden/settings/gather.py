"""From all places where options stand to one value for each: flags, environment, credentials, conf.d, file.

The order is law: the first place that has an option gives it. Judges names and places, never values. Called by `load`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jobwarden.settings.address import exposed_password
from jobwarden.settings.describe import did_you_mean
from jobwarden.settings.file import read_file
from jobwarden.settings.found import Contents, Found, Gathered
from jobwarden.settings.model import ENVIRONMENT_PREFIX, OPTIONS
from jobwarden.settings.secret_files import from_credentials, with_password
from jobwarden.settings.storage import PASSWORD, PASSWORD_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG_VARIABLE = "JOBWARDEN_CONFIG"

RESERVED_VARIABLES = frozenset({CONFIG_VARIABLE, "JOBWARDEN_NODE"})
"""JOBWARDEN_ variables that are no options: the path of the file, and the mark of the daemon's processes."""

RESERVED_PREFIX = "JOBWARDEN_TEST_"

POOLS_FLAG = "pool"
"""Among the flags, this one is no option: the names of the pools that are meant, all if it is missing."""

CONF_D = "conf.d"
"""The folder beside the config file whose `*.toml` are read after it, by name."""


def gather(path: Path | None, flags: Mapping[str, object], problems: list[str]) -> Gathered:
    """What was said about each option; `path` is the config file. What is wrong goes to `problems`."""
    files = _files(path, problems) if path else Contents({}, [])
    environment, given = _from_environment(problems), _from_flags(flags, problems)
    options = files.options
    for stronger in (from_credentials(problems), environment, given):
        options = _over(options, stronger, problems)
    return Gathered(with_password(options, problems), files.tables, environment | given)


def config_files(path: Path, problems: list[str]) -> list[Path]:
    """The config file and those in `conf.d` beside it, the strongest last."""
    folder = path.parent / CONF_D
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml") and not name.startswith("."))  # noqa: PTH208
    except FileNotFoundError:
        names = []
    except OSError as error:
        names = []
        if path.parent.is_dir():
            problems.append(
                f"{folder}: cannot be listed ({error.strerror}); make it a folder that the daemon's user can read, "
                "or remove it"
            )
    return [path, *(folder / name for name in names)]


def variable(name: str) -> str:
    """The environment variable of this option."""
    return ENVIRONMENT_PREFIX + name.upper()


def flag(name: str) -> str:
    """The flag of this option."""
    return "--" + name.replace("_", "-")


# files


def _files(path: Path, problems: list[str]) -> Contents:
    options: dict[str, Found] = {}
    tables = []
    for each in config_files(path, problems):
        contents = read_file(each, problems)
        options = _over(options, contents.options, problems)
        tables += contents.tables
    return Contents(options, tables)


# the environment and flags


def _from_environment(problems: list[str]) -> dict[str, Found]:
    problems.extend(
        f"environment variable {each}: {_no_such_variable(each)}"
        for each in sorted(os.environ)
        if each.startswith(ENVIRONMENT_PREFIX) and not _known_variable(each)
    )
    return {
        name: Found(value, f"environment variable {variable(name)}")
        for name in OPTIONS
        if (value := os.environ.get(variable(name)))
    }


def _known_variable(name: str) -> bool:
    known = RESERVED_VARIABLES.union(map(variable, OPTIONS))
    return name in known or name.startswith(RESERVED_PREFIX)


def _no_such_variable(name: str) -> str:
    if name == variable(POOLS_FLAG):
        return "pools are not described in the environment; write them as tables [[pool]] into the file"
    return f"there is no such option; {did_you_mean(name, options=map(variable, OPTIONS))}"


def _from_flags(flags: Mapping[str, object], problems: list[str]) -> dict[str, Found]:
    url = flags.get("database_url")
    if problem := exposed_password(url) if isinstance(url, str) else None:
        problems.append(f"{flag('database_url')}: {problem}")
    return {name: Found(value, flag(name)) for name, value in flags.items() if value is not None and name != POOLS_FLAG}


# the password and the file with it are two spellings of one thing


def _over(weaker: Mapping[str, Found], stronger: Mapping[str, Found], problems: list[str]) -> dict[str, Found]:
    if PASSWORD in stronger and PASSWORD_FILE in stronger:
        problems.append(f"{stronger[PASSWORD].place}: `{PASSWORD_FILE}` is given there too; keep one of the two")
    if PASSWORD in stronger or PASSWORD_FILE in stronger:
        weaker = {name: each for name, each in weaker.items() if name not in {PASSWORD, PASSWORD_FILE}}
    return {**weaker, **stronger}
