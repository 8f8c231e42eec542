"""What stands in the TOML file: options at the top and in `[handlers]`, and the tables `[[pool]]`, each with its place.

Judges keys and names, never values; each mistake is one sentence in `problems`. Called by `load`.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from jobwarden.settings.describe import did_you_mean
from jobwarden.settings.found import Contents, Found, Table
from jobwarden.settings.model import OPTIONS
from jobwarden.settings.opened import read_text
from jobwarden.settings.pool import PoolOptions, naming_problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

SECTION = {"directory": "handlers", "python": "python", "watch": "watch"}
"""What `[handlers]` may say -> the option of which it is another spelling."""
_TABLES = ("pool", "handlers")
_AT_THE_TOP = "write it at the top of the file, above the first line in brackets"


def read_file(path: Path, problems: list[str]) -> Contents:
    """What stands in this file; what is wrong with its keys goes to `problems`."""
    table = _read(path, problems)
    options = _options(table, str(path), among=OPTIONS, problems=problems)
    return Contents(options, _tables(table.get("pool", []), path, problems))


def _read(path: Path, problems: list[str]) -> dict[str, object]:
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        problems.append(f"{path}: there is no such file; give the path of a TOML file, or leave out --config")
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}); give a readable TOML file")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: is not valid TOML: {error}; correct that line")
    except RecursionError:
        problems.append(f"{path}: is not valid TOML for jobwarden: too many brackets in each other; correct that line")
    except ValueError as error:  # what tomllib hands on: a number of 5,000 digits, a date that no calendar has
        problems.append(f"{path}: is not valid TOML for jobwarden: {error}; correct that value")
    return {}


def _options(
    table: Mapping[str, object], place: str, *, among: Collection[str], problems: list[str]
) -> dict[str, Found]:
    """The options of this table by their names, those of its `[handlers]` included."""
    section = table.get("handlers")
    own = {key: value for key, value in table.items() if key in among and not (key == "handlers" and _is_table(value))}
    problems.extend(
        f"{place}, key {key}: {_no_option_of_a_pool(key) if 'name' in among else _no_option(key)}"
        for key in table
        if key not in among and key not in _TABLES
    )
    found = {key: Found(value, f"{place}, key {key}") for key, value in own.items()}
    return found | (_of_section(section, place, found, problems) if isinstance(section, dict) else {})


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _of_section(
    section: Mapping[str, object], place: str, beside: Collection[str], problems: list[str]
) -> dict[str, Found]:
    """`[handlers]` with `directory` and so on is another spelling of options that may stand beside it."""
    found = {}
    for key, value in section.items():
        where, name = f"{place}, [handlers], key {key}", SECTION.get(key)
        if name is None:
            problems.append(f"{where}: {_no_key_of_the_section(key)}")
        elif name in beside:
            problems.append(f"{where}: `{name}` is given outside of [handlers] too; keep one of the two")
        else:
            found[name] = Found(value, where)
    return found


def _no_option(key: str) -> str:
    return f"there is no such option; {did_you_mean(key, options=(*OPTIONS, 'pool'))}"


def _no_option_of_a_pool(key: str) -> str:
    if key in OPTIONS:
        return f"is an option of the whole daemon, not of one pool; {_AT_THE_TOP}"
    return f"there is no such option; {did_you_mean(key, options=('name', *PoolOptions.model_fields))}"


def _no_key_of_the_section(key: str) -> str:
    if key in OPTIONS:
        return f"does not belong into [handlers], which takes {', '.join(SECTION)}; {_AT_THE_TOP}"
    return f"there is no such option; {did_you_mean(key, options=SECTION)}"


def _tables(tables: object, path: Path, problems: list[str]) -> list[Table]:
    if not isinstance(tables, list) or not all(map(_is_table, tables)):
        problems.append(
            f'{path}, key pool: pools are tables; write [[pool]], and below it name = "NAME" and its options'
        )
        return []
    return [_table(table, number, path, problems) for number, table in enumerate(tables, start=1)]


def _table(table: Mapping[str, object], number: int, path: Path, problems: list[str]) -> Table:
    name = table.get("name")
    wrong = naming_problem(name)
    place = f"{path}, [[pool]] number {number}" if wrong else f'{path}, [[pool]] "{name}"'
    if wrong:
        problems.append(f"{place}, key name: {wrong}")
    among = ("name", *PoolOptions.model_fields)
    options = _options(table, place, among=among, problems=problems)
    options.pop("name", None)
    return Table(place, None if wrong else str(name), options)
