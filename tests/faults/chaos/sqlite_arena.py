"""Chaos on SQLite: one file for all daemons, on a small disk of its own where we may mount one.

Faults: another program that holds the write lock beyond the busy timeout, a full disk, a file that cannot be written.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

from jobwarden.store import open_store
from tests.faults.chaos.faults import Fault, Lasting, NothingToHitError

_DISK_BYTES = 512 * 1024 * 1024
_BLOCK = 65_536


class SQLiteArena:
    """See `Arena`. All daemons share a kernel, so they share the wall clock as well."""

    def __init__(self, folder: Path, random_: random.Random, *, lease_seconds: float) -> None:
        self.left_out: list[str] = []
        self.one_host = True
        self.whole_tree_seconds = 2.5 * lease_seconds
        """On one host the flock decides, and a stopped daemon holds it: longer than the lease."""
        self._random = random_
        self._lease = lease_seconds
        self._clock = folder / "clock"
        self._disk = folder / "disk"
        self._disk.mkdir()
        self._database = self._disk / "jobs.db"
        self._mounted = os.geteuid() == 0 and _done(
            "mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "jobwarden-chaos", str(self._disk)
        )
        self._immutable = self._mounted and self._can_be_immutable()

    def open(self) -> None:
        """The file with its tables."""
        open_store(self.true_url).close()

    def url(self, daemon: int) -> str:  # noqa: ARG002 - all use the same file
        """As for everybody."""
        return self.true_url

    @property
    def adder_url(self) -> str:
        """As for everybody."""
        return self.true_url

    @property
    def true_url(self) -> str:
        """The file."""
        return f"sqlite:///{self._database}"

    def clock(self, daemon: int) -> Path:  # noqa: ARG002 - one machine has one clock
        """One for all."""
        return self._clock

    def faults(self) -> list[Fault]:
        """Those that are possible here; the others are named in `left_out`."""
        found = [Fault("write lock held beyond the busy timeout", self._hold_write_lock, 2)]
        if self._mounted:
            found.append(Fault("disk full", self._fill_disk))
        else:
            self.left_out.append("disk full: only root can mount a small disk")
        if self._immutable:
            found.append(Fault("file read-only", self._forbid_writes))
        else:
            self.left_out.append("file read-only: only root, on a file system that knows chattr +i")
        return found

    def own_children(self) -> set[int]:
        """None."""
        return set()

    def numbers(self) -> dict[str, int]:
        """Nothing."""
        return {}

    def leftovers(self) -> list[str]:
        """Lock files of nodes, sockets of the doorbell."""
        folders = [self._database.with_name(f"{self._database.name}.{name}") for name in ("nodes", "doorbell")]
        files = [file for folder in folders if folder.exists() for file in folder.iterdir()]
        return [f"{file.parent.name}/{file.name} was left" for file in files]

    def close(self) -> None:
        """Give the disk back."""
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self._disk)], check=True)

    def _hold_write_lock(self) -> Lasting:
        intruder = sqlite3.connect(self._database, timeout=1, isolation_level=None)
        try:
            intruder.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            intruder.close()
            raise NothingToHitError from None
        return Lasting(self._random.uniform(0.5, 1.2) * self._lease, intruder.close)

    def _fill_disk(self) -> Lasting:
        filler = self._disk / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (_BLOCK, 4096):
                _write_until_full(file.write, bytes(size))
        return Lasting(self._random.uniform(0.3, 1.2) * self._lease, lambda: filler.unlink(missing_ok=True))

    def _forbid_writes(self) -> Lasting:
        names = [str(file) for file in self._disk.glob("jobs.db*") if file.is_file()]
        if not _done("chattr", "+i", *names):
            _done("chattr", "-i", *names)
            raise NothingToHitError
        return Lasting(self._random.uniform(0.3, 1.2) * self._lease, lambda: _allow_writes(names))

    def _can_be_immutable(self) -> bool:
        probe = self._disk / "probe"
        probe.touch()
        possible = _done("chattr", "+i", str(probe)) and _done("chattr", "-i", str(probe))
        probe.unlink()
        return possible


def _allow_writes(names: list[str]) -> None:
    for name in names:  # one by one: the log may be gone
        _done("chattr", "-i", name)


def _write_until_full(write: Callable[[bytes], int | None], block: bytes) -> None:
    try:
        while True:
            write(block)
    except OSError:
        return


def _done(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
