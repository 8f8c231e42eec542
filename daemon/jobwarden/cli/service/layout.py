"""Where everything of one service lies, and the shipped files that it is made from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.cli.service import program
from jobwarden.cli.service.errors import ServiceError
from jobwarden.cli.service.unit import read_unit, unit_file
from jobwarden.cli.shipped import shipped_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobwarden.cli.service.ground import Ground

UNITS = Path("/etc/systemd/system")
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
DROP_INS = {
    "runas": "jobwarden-runas.conf",
    "internet": "jobwarden-internet.conf",
    "notify-reload": "notify-reload.conf",
}
"""Name for `--with` -> shipped file; each says at its head what it is for."""
_NOTIFY_RELOAD_SINCE = 253


class Layout:
    """One service of this machine: `jobwarden.service`, or an instance of `jobwarden@.service`."""

    link = Path("/usr/local/bin/jobwarden")

    def __init__(self, instance: str | None, *, systemd_version: int) -> None:
        """`systemd_version` says which drop-ins fit. Raises ServiceError."""
        if instance is not None and not _INSTANCE.fullmatch(instance):
            raise ServiceError("--instance", f"{instance!r} is no name; give letters, digits, `.`, `_` and `-`")
        self.instance = instance
        self.program = program.program_line()
        shipped = self.shipped("systemd", unit_file(instance))
        self.unit = read_unit(shipped, program=self.program, instance=instance)
        self.unit_path = UNITS / self.unit.file
        self._systemd_version = systemd_version

    def shipped(self, what: str, name: str) -> str:
        """The text of a shipped file. Raises ServiceError if this version has none of that name."""
        path = shipped_folder(what) / name
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ServiceError(str(path), "this version of jobwarden ships no such file; install it again") from None

    def examples(self) -> list[Path]:
        """The shipped handlers, their side files included."""
        return sorted(path for path in shipped_folder("handlers").iterdir() if path.is_file() and path.suffix != ".md")

    @property
    def drop_in_folder(self) -> Path:
        """Where systemd looks for what changes this unit."""
        return UNITS / f"{self.unit.file}.d"

    def drop_ins(self, ground: Ground, *, wanted: Iterable[str] = ()) -> dict[Path, str]:
        """Path and shipped text of the drop-ins that are wanted, or installed already. Raises ServiceError."""
        files = [self._drop_in_file(name) for name in wanted]
        files += [name for name in ground.names(self.drop_in_folder) if name in DROP_INS.values()]
        return {self.drop_in_folder / name: self.shipped("systemd", name) for name in dict.fromkeys(files)}

    def _drop_in_file(self, name: str) -> str:
        if name not in DROP_INS:
            raise ServiceError("--with", f"there is no drop-in {name!r}; there are {', '.join(DROP_INS)}")
        if name == "notify-reload" and self._systemd_version < _NOTIFY_RELOAD_SINCE:
            since = _NOTIFY_RELOAD_SINCE
            raise ServiceError("--with", f"{name} needs systemd {since}; `systemctl reload` works without it, too")
        return DROP_INS[name]

    @property
    def enabled(self) -> Path:
        """The link that `systemctl enable` makes."""
        return UNITS / f"{self.unit.wanted_by}.wants" / self.unit.name

    @property
    def sysusers(self) -> Path:
        """Where systemd-sysusers(8) reads of the user."""
        return Path("/etc/sysusers.d", f"{self.unit.user}.conf")

    def sysusers_text(self) -> str:
        """The shipped line that makes the user."""
        return self.shipped("systemd", f"sysusers.d/{self.sysusers.name}")

    def others(self, ground: Ground) -> list[str]:
        """The other services of jobwarden that are enabled, or could be started by their file."""
        enabled = [
            name
            for folder in ground.names(UNITS)
            if folder.endswith(".wants")
            for name in ground.names(UNITS / folder)
            if name.startswith(("jobwarden.", "jobwarden@"))
        ]
        return sorted({*enabled} - {self.unit.name})

    def shares_its_unit(self, others: list[str]) -> bool:
        """Whether one of those runs from the same file."""
        return self.instance is not None and any(name.startswith("jobwarden@") for name in others)

    def is_ours(self, link: Path) -> bool:
        """Whether that link leads to this installation, or nowhere any more."""
        script = program.program_file()
        return not link.exists() or (script is not None and link.resolve() == script.resolve())
