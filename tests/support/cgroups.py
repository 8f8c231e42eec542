"""Cgroups that are delegated as systemd delegates them (`user.delegate`), on this machine's own cgroup v2.

Where the tests may make none (not root, no cgroup v2, a container whose tree is read-only) they are skipped, each with
its sentence.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import eventually

MARK = "user.delegate"
_REMOVE = """
import os, sys
os.chdir(sys.argv[1])
names = []
while True:
    below = next((each.name for each in os.scandir() if each.is_dir()), None)
    if below is not None:
        names.append(below)
        os.chdir(below)
    elif names:
        os.chdir("..")
        os.rmdir(names.pop())
    else:
        break
os.rmdir(sys.argv[1])
"""
"""One may lie deeper than a path can say."""


@contextmanager
def delegated(*, to: int | None = None) -> Iterator[Path]:
    """A new cgroup with nothing in it, for one daemon; whatever is left there at the end is killed.

    It is marked, or handed to the user `to` as the kernel's documentation has it (cgroup-v2, Model of Delegation).
    """
    folder = _root() / f"jobwarden-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
        if to is None:
            os.setxattr(folder, MARK, b"1")
        for handed in () if to is None else ("", "cgroup.procs", "cgroup.subtree_control"):
            os.chown(folder / handed, to or 0, -1)
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no cgroup can be made and marked at {folder}: {error.strerror}")
    try:
        yield folder
    finally:
        (folder / "cgroup.kill").write_text("1")
        eventually(lambda: "populated 0" in (folder / "cgroup.events").read_text(), what=f"nobody in {folder}")
        subprocess.run([sys.executable, "-c", _REMOVE, str(folder)], check=True)


def within(folder: Path) -> tuple[str, ...]:
    """What to put before a command for it to be in this cgroup from its first moment."""
    return ("sh", "-c", 'echo 0 > "$0" && exec "$@"', str(folder / "cgroup.procs"))


def members(folder: Path) -> set[int]:
    """The processes of this very cgroup."""
    return {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}


def _root() -> Path:
    """Where this machine shows the whole of its cgroup v2."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    pytest.skip("this machine has mounted no cgroup v2")
