"""What is configured, and from where: the values in force, and a schema for editors.

Asks nobody and starts nothing. It must never print a password: `settings.effective` masks them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson, Config
from jobwarden.cli.printing import print_json, printable
from jobwarden.cli.setting_flags import with_a_flag_per_setting
from jobwarden.errors import InvalidSettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobwarden.settings.effective import Effective
    from jobwarden.settings.load import Traced

_WIDEST = 60


@with_a_flag_per_setting
def _show(
    *,
    changed: Annotated[bool, typer.Option("--changed", help="Leave out what is at its default.")] = False,
    config: Config = None,
    as_json: AsJson = False,
    **flags: object,
) -> None:
    """Print the values in force and where each comes from.

    As a config file, with the place behind each value; passwords are masked. Takes the flags of `run`. Exit code 2 if
    the configuration has a mistake: `jobwarden check` lists them all.
    """
    from jobwarden.settings.load import trace_settings

    traced = trace_settings(config=config, flags=flags)
    if traced.problems:
        raise InvalidSettingsError(traced.problems)
    if as_json:
        print_json(_document(traced, changed=changed))
    else:
        for line in _lines(traced, changed=changed):
            print(printable(line))


def _schema() -> None:
    """Print the JSON Schema of the config file.

    For editors: jobwarden config schema > jobwarden.schema.json, and `#:schema jobwarden.schema.json` as the first line
    of the config file beside it.
    """
    from jobwarden.settings.schema import config_schema

    print(json.dumps(config_schema(), indent=2))


config_commands = {"show": _show, "schema": _schema}


def _document(traced: Traced, *, changed: bool) -> dict[str, object]:
    from jobwarden.settings.effective import of_pool, of_the_top

    pools = [
        {"name": pool.name, "options": _options(_wanted(of_pool(pool, traced), changed=changed))}
        for pool in traced.settings.pools
    ]
    return {"options": _options(_wanted(of_the_top(traced), changed=changed)), "pools": pools}


def _options(found: Iterable[Effective]) -> dict[str, object]:
    return {each.name: {"value": each.value, "source": each.source} for each in found}


def _wanted(found: Iterable[Effective], *, changed: bool) -> Iterator[Effective]:
    from jobwarden.settings.effective import DEFAULT

    return (each for each in found if not changed or each.source != DEFAULT)


def _lines(traced: Traced, *, changed: bool) -> Iterator[str]:
    """A TOML file; of a pool, what differs from the top or stands elsewhere."""
    from jobwarden.settings.effective import of_pool, of_the_top

    top = list(_wanted(of_the_top(traced), changed=changed))
    yield from _aligned(top)
    for pool in traced.settings.pool:
        yield ""
        yield "[[pool]]"
        yield f"name = {json.dumps(pool.name)}"
        yield from _aligned([each for each in _wanted(of_pool(pool, traced), changed=changed) if each not in top])


def _aligned(found: list[Effective]) -> Iterator[str]:
    lines = [(_assignment(each), each.source) for each in found]
    width = min(max((len(line) for line, _source in lines), default=0), _WIDEST)
    yield from (f"{line:{width}}  # {source}" for line, source in lines)


def _assignment(each: Effective) -> str:
    if each.value is None:
        return f"# {each.name} = none"
    return f"{each.name} = {json.dumps(each.value, ensure_ascii=False)}"
