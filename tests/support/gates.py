"""Gates: a handler says on one FIFO that it has started and waits for "go" on another, so tests decide the moment."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.waiting import LIMIT_SECONDS


class Arrival(NamedTuple):
    """Who has come to the gate."""

    job_id: int
    attempt: int
    pid: int


class Gate:
    """One pair of FIFOs; put `gate.path` into a payload as `gate`. Any number of jobs may use it."""

    def __init__(self, path: Path) -> None:
        """Make both. They are opened for reading and writing, so that nobody's open blocks and none sees an end."""
        self.path = str(path)
        self._started = self._make("started")
        self._go = self._make("go")
        self._unread = b""

    def _make(self, suffix: str) -> int:
        os.mkfifo(f"{self.path}.{suffix}")
        Path(f"{self.path}.{suffix}").chmod(0o666)  # whoever the handler runs as
        return os.open(f"{self.path}.{suffix}", os.O_RDWR | os.O_CLOEXEC)

    def await_arrival(self, *, seconds: float = LIMIT_SECONDS) -> Arrival:
        """The next job that has come to the gate."""
        while b"\n" not in self._unread:
            assert select.select([self._started], [], [], seconds)[0], f"nobody came to {self.path}"
            self._unread += os.read(self._started, 4096)
        line, _, self._unread = self._unread.partition(b"\n")
        return Arrival(*map(int, line.split()))

    @property
    def somebody_came(self) -> bool:
        """Whether an arrival waits to be read."""
        return bool(self._unread) or bool(select.select([self._started], [], [], 0)[0])

    def let_go(self, count: int = 1) -> None:
        """Let so many jobs pass."""
        os.write(self._go, b"g" * count)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._started)
        os.close(self._go)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
