"""Another user than the one that runs the tests, with handlers and a Python of its own that it can reach.

A stranger has no process but those of a pool under test, so it may be killed as a whole. Where there is none (not
root, or nothing of ours in anybody else's reach) a test that needs one is skipped with a sentence.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import jobwarden
from tests.support.daemon import HANDLERS

_NAMES = ("games", "news", "uucp")
"""Users of every Debian, for things of former times."""
_PYTHONS = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")
_TAG = "import sys; print(sys.implementation.cache_tag)"


class Stranger(NamedTuple):
    """What a daemon is told about the pool of another user. `folder` can be reached by everybody."""

    user: str
    folder: Path
    python: Path
    handlers: Path

    @property
    def flags(self) -> dict[str, Any]:
        """For `Site.start`."""
        return {"user": self.user, "python": self.python, "handlers": self.handlers}


@contextmanager
def stranger() -> Iterator[Stranger]:
    """Somebody as whom handlers can run here; skips the test where there is nobody."""
    if os.geteuid() != 0:
        pytest.skip("handlers can run as another user only where the tests run as root")
    user, python = _idle_user(), _open_python()
    # Not pytest's own folder: that is closed to all others, whatever its permissions inside say.
    folder = Path(tempfile.mkdtemp(prefix="jobwarden-open-", dir="/tmp"))
    try:
        folder.chmod(0o711)
        handlers = folder / "handlers"
        shutil.copytree(HANDLERS, handlers, ignore=shutil.ignore_patterns("__pycache__"))
        yield Stranger(user, folder, _environment_of(folder / "venv", python), handlers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _idle_user() -> str:
    owners = set()
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            owners.add(process.stat().st_uid)
    for name in _NAMES:
        with suppress(KeyError):
            if pwd.getpwnam(name).pw_uid not in owners:
                return name
    pytest.skip(f"none of the users {', '.join(_NAMES)} is on this machine, or all of them have processes")


def _open_python() -> str:
    """A Python for which our compiled packages are made, and which others can run."""
    for each in _packages():
        if (closed := _first_closed(each)) is not None:
            pytest.skip(f"{closed} is closed to other users, so they cannot import {each}")
    for python in _PYTHONS:
        if Path(python).exists() and _first_closed(Path(python)) is None and _has_our_tag(python):
            return str(Path(python).resolve())
    pytest.skip(f"none of {', '.join(_PYTHONS)} is a {sys.implementation.cache_tag} that other users can run")


def _has_our_tag(python: str) -> bool:
    answer = subprocess.run([python, "-I", "-c", _TAG], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == sys.implementation.cache_tag


def _packages() -> list[Path]:
    return [Path(jobwarden.__file__).parents[1], Path(sysconfig.get_path("purelib"))]


def _first_closed(path: Path) -> Path | None:
    """The first folder on the way to `path` through which others may not go."""
    ways = [*reversed(path.parents), *reversed(path.resolve().parents)]
    return next((each for each in ways if not each.stat().st_mode & stat.S_IXOTH), None)


def _environment_of(place: Path, python: str) -> Path:
    """The interpreter of a virtual environment that sees the packages of ours."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "ours.pth").write_text("".join(f"{each}\n" for each in _packages()))
    (place / "pyvenv.cfg").write_text(f"home = {Path(python).parent}\ninclude-system-site-packages = false\n")
    own = place / "bin" / "python"
    own.parent.mkdir()
    own.symlink_to(python)
    return own
