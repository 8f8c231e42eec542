"""What a shipped unit says, and the same unit for the program of this installation.

Pure: text in, text out. The unit is the only place where user, paths and options of the service are written; all else
that `service` makes follows from it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_PROGRAM = re.compile(r"^(Exec\w+=[-@:+!]*)(?:/usr/bin/env )?(?:\S*/)?jobwarden(?= )", re.MULTILINE)
_CONFIG = re.compile(r"^ExecStart=.* --config[= ](\S+)", re.MULTILINE)
_SPECIAL = re.compile(r"""[\s"'\\;]""")


class Unit(NamedTuple):
    """One service: `jobwarden.service`, or an instance of `jobwarden@.service`."""

    name: str
    """As systemctl wants it: `jobwarden@blue.service`."""
    file: str
    """`jobwarden@.service`."""
    text: str
    user: str | None
    """None: systemd makes up a user for each start."""
    config: Path
    state: Path
    """The folder that systemd makes for the daemon."""
    wanted_by: str
    """The target that starts it at boot."""

    @property
    def handlers(self) -> Path:
        """The folder of the handlers, beside the configuration."""
        return self.config.parent / "handlers"

    @property
    def database(self) -> Path:
        """The SQLite file that the first configuration names."""
        return self.state / "jobwarden.db"


def read_unit(shipped: str, *, program: str, instance: str | None) -> Unit:
    """The unit with `program` (words of a command line, quoted) where the shipped one looks for `jobwarden`."""
    text = with_program(shipped, program=program)
    config = _CONFIG.search(text)
    return Unit(
        name="jobwarden.service" if instance is None else f"jobwarden@{instance}.service",
        file=unit_file(instance),
        text=text,
        user=_expanded(_value(text, "User"), instance) or None,
        config=Path(_expanded(config[1] if config else "/etc/jobwarden/jobwarden.toml", instance)),
        state=Path("/var/lib", _expanded(_value(text, "StateDirectory") or "jobwarden", instance)),
        wanted_by=_value(text, "WantedBy"),
    )


def unit_file(instance: str | None) -> str:
    """The name of the unit's file."""
    return "jobwarden.service" if instance is None else "jobwarden@.service"


def with_program(text: str, *, program: str) -> str:
    """The text of a unit or drop-in whose commands run `program`."""
    return _PROGRAM.sub(lambda found: found[1] + program, text)


def program_of(text: str) -> str | None:
    """The command that an installed unit starts, up to `run`."""
    found = re.search(r"^ExecStart=[-@:+!]*(.*?) run\b", text, re.MULTILINE)
    return found[1] if found else None


def quoted(word: str) -> str:
    """A word of a command line in a unit (systemd.service(5), "Command lines")."""
    word = word.replace("%", "%%")
    if not _SPECIAL.search(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(text: str, key: str) -> str:
    found = re.findall(rf"^{key}=(\S*)", text, re.MULTILINE)
    return found[-1] if found else ""


def _expanded(value: str, instance: str | None) -> str:
    """The specifiers of systemd.unit(5) that make sense in these places."""
    specifiers = {"%i": instance or "", "%I": instance or "", "%p": "jobwarden", "%E": "/etc", "%S": "/var/lib"}
    for specifier, meaning in specifiers.items():
        value = value.replace(specifier, meaning)
    return value
