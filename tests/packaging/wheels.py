"""Builds wheels and an sdist of this repository, as anybody would who has pip and a package index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_BEHIND = shutil.ignore_patterns(
    ".git", "__pycache__", ".*_cache", ".hypothesis", ".tox", ".venv", "*.db*", "build"
)
_VERSION = "daemon/jobwarden/version.py"


def copied_source(target: Path, *, version: str | None = None) -> Path:
    """A copy of the repository, with another version number if one is given."""
    shutil.copytree(ROOT, target, ignore=_LEFT_BEHIND, symlinks=True)
    if version is not None:
        place = target / _VERSION
        place.write_text(re.sub(r'(__version__ = )".*"', rf'\1"{version}"', place.read_text()))
    return target


def built_wheel(source: Path, folder: Path) -> Path:
    """The wheel of that source, in `folder`."""
    before = set(folder.glob("jobwarden-*.whl"))
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(source))
    (made,) = set(folder.glob("jobwarden-*.whl")) - before
    return made


def downloaded_dependencies(wheel: Path, folder: Path, *, python: str) -> None:
    """What that wheel needs on another machine with CPython `python` (`3.11`), of this one's architecture."""
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    platforms = [f"--platform=manylinux{each}_{machine}" for each in ("1", "2010", "2014", "_2_17", "_2_28")]
    pip("download", "--only-binary=:all:", f"--python-version={python}", *platforms, "--dest", str(folder), str(wheel))


def pip(*words: str) -> None:
    """Run pip; what it says is shown only if it fails."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, f"pip {' '.join(words)}: {answer.stdout}"
