"""This installation of jobwarden, as a service can start it: which command, and what would be in the way.

A service has another user and sees neither homes nor /tmp; an installation there cannot be started by it.
"""

from __future__ import annotations

import stat
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import jobwarden
from jobwarden.cli.service.unit import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 - named, not used
"""What the unit hides from the service: ProtectHome=yes and PrivateTmp=yes (systemd.exec(5))."""
_WAY_OUT = (
    "install jobwarden where every user may read it: "
    "python3 -m venv /opt/jobwarden && /opt/jobwarden/bin/pip install jobwarden"
)


def program_words() -> tuple[str, ...]:
    """The command that starts this installation."""
    script = program_file()
    return (str(script),) if script is not None else (sys.executable, "-m", "jobwarden")


def program_line() -> str:
    """The same as one line of a unit."""
    return " ".join(map(quoted, program_words()))


def program_file() -> Path | None:
    """The script `jobwarden` of this installation; None where there is none, as in a clone that is not installed."""
    script = Path(sysconfig.get_path("scripts"), "jobwarden")
    return script if script.is_file() else None


def obstacles() -> list[tuple[str, str]]:
    """Why a service could not start it: each thing, and what is wrong with it and to be done."""
    parts = {Path(word) for word in program_words() if word.startswith("/")}
    parts |= {Path(sys.executable), Path(sys.prefix), Path(sys.base_prefix), Path(jobwarden.__file__)}
    return problems_of(parts)


def problems_of(parts: set[Path], *, hidden: Sequence[Path] = HIDDEN) -> list[tuple[str, str]]:
    """The same for these files and folders, and for what links among them lead to."""
    return list(dict.fromkeys(_problems(parts | {part.resolve() for part in parts}, hidden)))


def _problems(parts: set[Path], hidden: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for part in sorted(parts):
        hiding = next((folder for folder in hidden if part.is_relative_to(folder)), None)
        if hiding is not None:
            yield str(part), f"a service sees nothing below {hiding}; {_WAY_OUT}"
        elif (closed := _closed(part)) is not None:
            yield str(closed), f"other users cannot reach {part} through it; `chmod o+rx {closed}`, or {_WAY_OUT}"


def _closed(part: Path) -> Path | None:
    """The first folder or file on the way that others may not read, or not pass."""
    for each in (*reversed(part.parents), part):
        mode = each.stat().st_mode
        if not mode & stat.S_IXOTH and stat.S_ISDIR(mode):
            return each
        if not mode & stat.S_IROTH and each == part:
            return each
    return None
