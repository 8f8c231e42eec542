"""The configuration that a new service begins with: where things lie is set, all else shows its default as a comment.

So that a later version's defaults apply, a default is never written out as a setting. Pure.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobwarden.cli.service.unit import Unit

_SETTING = re.compile(r"^([a-z_]+) = .*$", re.MULTILINE)
_HEAD = """\
# Set are the lines without a # before them; all others show a default, or an example where the default is none.
# After a change: `systemctl reload {name}`. `jobwarden check --config {config}` tells what is wrong.

"""


def first_configuration(shipped: str, unit: Unit) -> str:
    """`shipped` is the file with all options at their defaults."""
    values = {
        "database_url": f"sqlite:///{unit.database}",
        "handlers": str(unit.handlers),
        "state_dir": str(unit.state / "state"),
    }
    return _HEAD.format(name=unit.name, config=unit.config) + with_values(shipped, values)


def with_values(shipped: str, values: Mapping[str, str]) -> str:
    """The same file with these texts as settings, and every other line a comment."""
    return _SETTING.sub(
        lambda line: f'{line[1]} = "{values[line[1]]}"' if line[1] in values else f"# {line[0]}",
        shipped,
    )


def handlers_of(configuration: bytes, unit: Unit) -> Path:
    """The folder that a configuration names; the unit's own if it names none, or cannot be read."""
    try:
        options = tomllib.loads(configuration.decode())
    except ValueError:
        return unit.handlers
    named = options.get("handlers")
    if isinstance(named, dict):
        named = named.get("directory")
    return unit.state / named if isinstance(named, str) else unit.handlers
