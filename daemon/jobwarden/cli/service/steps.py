"""What a plan consists of: each step says what it does, and does it.

Plans are made by `installing` and `removing`, which decide; nothing is decided here.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from jobwarden.cli.service.ground import Ground


class Step:
    """One thing that is done, or left alone."""

    def told(self) -> str:
        """In one line, as a command: `write /etc/jobwarden/jobwarden.toml`."""
        raise NotImplementedError

    def shown(self) -> str:
        """What a dry run prints below that line."""
        return ""

    def do(self, ground: Ground) -> None:
        """Do it. Raises ServiceError and OSError."""


@dataclass(frozen=True)
class MakeFolder(Step):
    """A folder of root's that everybody may read."""

    path: Path

    def told(self) -> str:
        """With its mode."""
        return f"make {self.path} (0755, root)"

    def do(self, ground: Ground) -> None:
        """Make it."""
        ground.make_folder(self.path, mode=0o755)


@dataclass(frozen=True)
class Write(Step):
    """A file of root's, written anew or renewed."""

    path: Path
    content: bytes
    mode: int = 0o644
    group: str | None = None
    renewed: bool = False

    def told(self) -> str:
        """With its mode and group."""
        return f"{'renew' if self.renewed else 'write'} {self.path} ({self.mode:04o}, root:{self.group or 'root'})"

    def shown(self) -> str:
        """The whole file."""
        return self.content.decode(errors="replace")

    def do(self, ground: Ground) -> None:
        """Write it."""
        ground.write(self.path, self.content, mode=self.mode, group=self.group)


@dataclass(frozen=True)
class Copy(Step):
    """A shipped file, copied as it is."""

    path: Path
    source: Path

    def told(self) -> str:
        """From where."""
        return f"copy {self.source} to {self.path}"

    def do(self, ground: Ground) -> None:
        """Copy it; a script stays one."""
        mode = 0o755 if self.source.stat().st_mode & 0o100 else 0o644
        ground.write(self.path, self.source.read_bytes(), mode=mode, group=None)


@dataclass(frozen=True)
class MakeLink(Step):
    """A name in PATH for the program."""

    path: Path
    target: Path

    def told(self) -> str:
        """Where it leads."""
        return f"link {self.path} to {self.target}"

    def do(self, ground: Ground) -> None:
        """Make it."""
        ground.make_folder(self.path.parent, mode=0o755)
        ground.at(self.path).symlink_to(self.target)


@dataclass(frozen=True)
class Command(Step):
    """A command of the system."""

    words: tuple[str, ...]
    hint: str = ""
    """What to look at when it fails."""

    def told(self) -> str:
        """As it is typed."""
        return f"run {' '.join(self.words)}"

    def do(self, ground: Ground) -> None:
        """Run it."""
        ground.run(self.words, hint=self.hint)


@dataclass(frozen=True)
class Remove(Step):
    """A file, a link, or with `whole` a folder with everything in it."""

    path: Path
    whole: bool = False

    def told(self) -> str:
        """What goes."""
        return f"remove {self.path}{' and all that is in it' if self.whole else ''}"

    def do(self, ground: Ground) -> None:
        """Remove it. What systemd keeps elsewhere (a link to /var/lib/private) is followed."""
        place = ground.at(self.path)
        if self.whole and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()


@dataclass(frozen=True)
class SetAside(Step):
    """An edited file under another name, which systemd does not read."""

    path: Path

    def told(self) -> str:
        """The new name."""
        return f"rename {self.path} to {self.path.name}.edited, since it was edited"

    def do(self, ground: Ground) -> None:
        """Rename it."""
        place = ground.at(self.path)
        place.replace(place.with_name(place.name + ".edited"))


@dataclass(frozen=True)
class Keep(Step):
    """Something that is left as it is, and why."""

    path: Path
    why: str

    def told(self) -> str:
        """With the reason."""
        return f"keep {self.path}: {self.why}"
