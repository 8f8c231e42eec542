"""Where the service is installed: this machine, or a file system that is being prepared below `--root`.

All paths that are handed in are those that the service will see.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from jobwarden.cli.service.errors import ServiceError, StepFailedError

_SYSTEM = Path("/")


class Ground:
    """Reads, and does single things; decides nothing."""

    def __init__(self, root: Path) -> None:
        """`root` is `/` for this machine."""
        self.root = root.absolute()

    @property
    def here(self) -> bool:
        """It is this machine's own file system."""
        return self.root == _SYSTEM

    @property
    def booted(self) -> bool:
        """A systemd runs here that could start a service (sd_booted(3))."""
        return self.here and Path("/run/systemd/system").is_dir()

    def systemd_version(self) -> int:
        """Of the systemctl that is found here; 0 without one."""
        systemctl = shutil.which("systemctl")
        if systemctl is None:
            return 0
        words = (systemctl, "--version")
        said = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
        found = re.match(r"systemd (\d+)", said)
        return int(found[1]) if found else 0

    def at(self, path: Path) -> Path:
        """The place of that path below the root."""
        return self.root / path.relative_to(_SYSTEM)

    def read(self, path: Path) -> bytes | None:
        """What the file there contains; None if there is none. A link counts as one that somebody else made."""
        place = self.at(path)
        if place.is_symlink():
            return b""
        return place.read_bytes() if place.exists() else None

    def there(self, path: Path) -> bool:
        """Something has that name."""
        return os.path.lexists(self.at(path))

    def names(self, folder: Path) -> list[str]:
        """What lies in that folder, sorted; nothing if there is none."""
        place = self.at(folder)
        return sorted(os.listdir(place)) if place.is_dir() else []  # noqa: PTH208 - names are wanted

    def id_of(self, name: str, *, table: str) -> int | None:
        """The number of a user (`passwd`) or group (`group`); None if there is none of that name."""
        if self.here:
            return _number_here(name, table=table)
        lines = (self.read(Path("/etc", table)) or b"").decode(errors="replace").splitlines()
        rows = (line.split(":") for line in lines)
        return next((int(row[2]) for row in rows if row[0] == name and len(row) > 2), None)  # noqa: PLR2004 - the id

    def write(self, path: Path, content: bytes, *, mode: int, group: str | None) -> None:
        """Put it there in one step: nobody ever reads half of it, or with another mode."""
        place = self.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                self._give(descriptor, group)
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            Path(name).replace(place)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def make_folder(self, path: Path, *, mode: int) -> None:
        """Make it, and what is missing above it."""
        place = self.at(path)
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(mode)

    def run(self, words: tuple[str, ...], *, hint: str = "") -> None:
        """Run a command of the system. Raises StepFailedError."""
        program = shutil.which(words[0])
        if program is None:
            raise StepFailedError(words, "could not run: there is no such program here", hint=hint)
        code = subprocess.run((program, *words[1:]), stdin=subprocess.DEVNULL, check=False).returncode
        if code:
            raise StepFailedError(words, f"failed with exit code {code}", hint=hint)

    def told_to_systemd(self, *words: str) -> tuple[str, ...]:
        """The command line of systemctl for this root."""
        return ("systemctl", *(() if self.here else (f"--root={self.root}",)), *words)

    def _give(self, descriptor: int, group: str | None) -> None:
        if os.geteuid() != 0:
            return
        number = 0 if group is None else self.id_of(group, table="group")
        if number is None:
            raise ServiceError("user", f"there is no group {group} in {self.at(Path('/etc/group'))}; make it first")
        os.fchown(descriptor, 0, number)


def _number_here(name: str, *, table: str) -> int | None:
    """Asked of the system: users may come from elsewhere than from the files in /etc."""
    try:
        return pwd.getpwnam(name).pw_uid if table == "passwd" else grp.getgrnam(name).gr_gid
    except KeyError:
        return None
