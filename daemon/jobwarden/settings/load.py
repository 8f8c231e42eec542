"""Read settings: flags over environment over credentials over conf.d over the file over defaults, all problems at once.

Each value is kept with the place it came from, so that a problem names it. Called by the CLI before anything
is started and by the supervisor when it is told to read its configuration again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from jobwarden.errors import InvalidSettingsError
from jobwarden.settings.address import mask_password, password_problem
from jobwarden.settings.describe import explain
from jobwarden.settings.gather import CONFIG_VARIABLE, POOLS_FLAG, flag, gather
from jobwarden.settings.model import Settings
from jobwarden.settings.pool import PoolOptions, PoolSettings
from jobwarden.settings.storage import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jobwarden.settings.found import Found, Gathered, Table

_JUDGED_TOGETHER = {"handlers", "state_dir"}
"""Without the one, a contradiction with the other's default would be nobody's mistake."""
_LONGEST_SENTENCE, _LONGEST_END = 2_000, 400


class Traced(NamedTuple):
    """Settings, what is wrong with what was said, and all that was said."""

    settings: Settings
    problems: list[str]
    gathered: Gathered


def load_settings(*, config: Path | None, flags: Mapping[str, object]) -> Settings:
    """Settings from `flags` (option name to value; None means not given), environment, files and defaults.

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
    settings, problems, _gathered = trace_settings(config=config, flags=flags)
    return settings, problems


def trace_settings(*, config: Path | None, flags: Mapping[str, object]) -> Traced:
    """As `examine_settings`, with the places from which the values came."""
    problems: list[str] = []
    gathered = gather(find_config(config), flags, problems)
    options, tables, said = gathered
    pools = [judged for table in tables if (judged := _judge(table, options, said, problems)) is not None]
    settings = _validate(options, pools, said, problems)
    settings = _chosen(settings, flags.get(POOLS_FLAG), tables, problems)
    return Traced(settings, [_in_one_line(each) for each in problems], gathered)


def complete_url(url: str, *, config: Path | None) -> str:
    """This URL with the password that another place gives. Raises InvalidSettingsError for what is wrong about that."""
    if password_problem(url):
        return url
    settings, problems = examine_settings(config=config, flags={"database_url": url})
    if about_it := [each for each in problems if PASSWORD in each.lower()]:
        raise InvalidSettingsError(about_it)
    return settings.connection_url


def find_config(config: Path | None) -> Path | None:
    """The file to read: the one given, else the one that JOBWARDEN_CONFIG names, else None."""
    named = os.environ.get(CONFIG_VARIABLE)
    return config or (Path(named) if named else None)


def _in_one_line(sentence: str) -> str:
    """A key of a TOML file may hold line ends and what moves a terminal's cursor, and be as long as the file.

    A database URL that stands in a wrong place is told without its password, too.
    """
    sentence = mask_password(sentence)
    shown = sentence if sentence.isprintable() else "".join(map(_visible, sentence))
    return (
        shown if len(shown) <= _LONGEST_SENTENCE else f"{shown[: _LONGEST_SENTENCE // 2]} ... {shown[-_LONGEST_END:]}"
    )


def _visible(each: str) -> str:
    return each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode("ascii")


# judging


class _Judged:
    """A pool whose values are right, and where it stands."""

    def __init__(self, table: Table, settings: PoolSettings) -> None:
        self.table = table
        self.settings = settings


def _judge(
    table: Table, options: Mapping[str, Found], said: Mapping[str, Found], problems: list[str]
) -> _Judged | None:
    """The pool, or None if something about it is wrong; what its table leaves out it takes from the top."""
    found = {
        name: each for name, each in {**options, **table.options, **said}.items() if name in PoolOptions.model_fields
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
        f"{flag(POOLS_FLAG)}: there is no pool {name!r} in the configuration; give one of {', '.join(there)}"
        for name in dict.fromkeys(names)
        if name not in known
    )
    return settings.model_copy(update={"pool": [each for each in settings.pool if each.name in names] or settings.pool})
