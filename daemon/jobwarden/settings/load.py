"""Read settings: flags over environment over TOML file over defaults, and report every problem at once.

Each value is kept with the place it came from, so that a problem names it. Called by the CLI before anything
is started and by the supervisor when it is told to read its configuration again.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from jobwarden.errors import InvalidSettingsError
from jobwarden.settings.describe import did_you_mean, explain
from jobwarden.settings.model import ENVIRONMENT_PREFIX, OPTIONS, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_VARIABLE = "JOBWARDEN_CONFIG"

RESERVED_VARIABLES = frozenset({CONFIG_VARIABLE, "JOBWARDEN_NODE"})
"""JOBWARDEN_ variables that are no options: the path of the file, and the mark of the daemon's processes."""

RESERVED_PREFIX = "JOBWARDEN_TEST_"

_JUDGED_TOGETHER = {"handlers", "state_dir"}
"""Without the one, a contradiction with the other's default would be nobody's mistake."""


class Found(NamedTuple):
    """One value and the place where it was found, in words."""

    value: object
    place: str


def load_settings(*, config: Path | None, flags: Mapping[str, object]) -> Settings:
    """Settings from `flags` (option name to value; None means not given), environment, file and defaults.

    `config` is the TOML file; without it JOBWARDEN_CONFIG names one, else none is read. Raises
    InvalidSettingsError with one sentence per problem, all of them; no sentence repeats the database URL.
    """
    settings, problems = examine_settings(config=config, flags=flags)
    if problems:
        raise InvalidSettingsError(problems)
    return settings


def examine_settings(*, config: Path | None, flags: Mapping[str, object]) -> tuple[Settings, list[str]]:
    """As `load_settings`, but what is wrong is left at its default and told beside it."""
    problems: list[str] = []
    found = (
        _from_file(find_config(config), problems)
        | _from_environment(problems)
        | {name: Found(value, _flag(name)) for name, value in flags.items() if value is not None}
    )
    return _validate(found, problems), problems


def find_config(config: Path | None) -> Path | None:
    """The file to read: the one given, else the one that JOBWARDEN_CONFIG names, else None."""
    named = os.environ.get(CONFIG_VARIABLE)
    return config or (Path(named) if named else None)


def _from_file(path: Path | None, problems: list[str]) -> dict[str, Found]:
    table = _flattened(_read(path, problems)) if path else {}
    options = {name: value for name, value in table.items() if name in Settings.model_fields}
    problems.extend(
        f"{path}, key {key}: there is no such option; {did_you_mean(key, options=OPTIONS)}"
        for key in table
        if key not in options
    )
    return {name: Found(value, f"{path}, key {name}") for name, value in options.items()}


def _flattened(table: dict[str, object]) -> dict[str, object]:
    """`[handlers]` with `directory`, `python` and so on is another spelling of the options at the top."""
    section = table.get("handlers")
    if not isinstance(section, dict):
        return table
    named = {"handlers" if name == "directory" else name: value for name, value in section.items()}
    return {**{name: value for name, value in table.items() if name != "handlers"}, **named}


def _read(path: Path, problems: list[str]) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{path}: there is no such file; give the path of a TOML file, or leave out --config")
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}); give a readable TOML file")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: is not valid TOML: {error}; correct that line")
    return {}


def _from_environment(problems: list[str]) -> dict[str, Found]:
    problems.extend(
        f"environment variable {variable}: there is no such option; "
        + did_you_mean(variable, options=map(_variable, OPTIONS))
        for variable in sorted(os.environ)
        if variable.startswith(ENVIRONMENT_PREFIX) and not _known_variable(variable)
    )
    values = EnvSettingsSource(Settings, env_ignore_empty=True)()
    return {name: Found(value, f"environment variable {_variable(name)}") for name, value in _options(values).items()}


def _known_variable(variable: str) -> bool:
    name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
    return name in OPTIONS or variable in RESERVED_VARIABLES or variable.startswith(RESERVED_PREFIX)


def _options(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name in OPTIONS}


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _validate(found: Mapping[str, Found], problems: list[str]) -> Settings:
    """Check all values; those that are wrong are named and left out of a second look for contradictions."""
    try:
        return Settings.model_validate({name: value for name, (value, _) in found.items()})
    except ValidationError as error:
        wrong = _report(error, found, problems)
    return _validate({name: each for name, each in found.items() if name not in wrong}, problems)


def _report(error: ValidationError, found: Mapping[str, Found], problems: list[str]) -> set[str]:
    wrong: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0]) if detail["loc"] else str(detail.get("ctx", {}).get("field", ""))
        place = found[name].place if name in found else name
        wrong.setdefault(name, f"{place}: {explain(name, detail)}")
    problems.extend(wrong.values())
    return set(wrong) | (_JUDGED_TOGETHER if _JUDGED_TOGETHER & set(wrong) else set())
