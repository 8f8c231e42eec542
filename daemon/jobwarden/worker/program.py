"""One run of an executable: started in a process group of its own, its descriptors read until it ends.

0 is the payload, 1 the output, 2 goes on into the captured output, 3 takes lines for the pool (`asides`); nothing else
is open in it. Only waiting is interrupted by a soft stop, so that no byte is lost on the way. Whatever it starts and
leaves behind is the worker's business, as with any handler. Runs in the worker.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from jobwarden.worker.descriptors import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    Sink = Callable[[bytes], bool]
    """Takes bytes; False: no more of them are wanted."""

ASIDE = 3
_OUTPUT, _ERRORS = 1, 2
_LOWEST = ASIDE + 1
"""Ours are above the numbers that the executable is to have, so that no dup2 overwrites another one's source."""
_READ_BYTES = 65_536
_MOST_LAST_READS = 64
"""At its end, of each pipe: what it wrote is in there; what others still write may have no end."""
_ALL_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""What is ignored stays so through exec: SIGPIPE is by Python, others perhaps by a handler of before."""


class Program:
    """One per attempt. `shield` holds soft stops back while it is entered."""

    def __init__(self, path: str, *, sinks: Mapping[int, Sink], shield: AbstractContextManager[object]) -> None:
        """`sinks` are those of the descriptors 1, 2 and 3, as far as they are wanted."""
        self._path = path
        self._sinks = dict(sinks)
        self._shield = shield
        self._pipes: dict[int, int] = {}
        """Our end of each pipe to the number that it has over there."""
        self._poll = select.poll()
        self._pid = 0
        self._pidfd = -1
        self.status: int | None = None
        """That of wait(2), once it has ended."""
        self.peak_rss_kb = 0
        """Of the largest of its processes, once it has ended."""

    def start(self, payload: bytes, environment: Mapping[str, str]) -> None:
        """Raises OSError if it cannot be run."""
        ends = {0: _memory_of(payload)}
        try:
            for number in self._sinks:
                ends[number] = self._open_pipe(number)
            self._pid = self._spawn(ends, environment)
        finally:
            for end in ends.values():
                os.close(end)
        self._pidfd = os.pidfd_open(self._pid)
        self._poll.register(self._pidfd, select.POLLIN)

    @property
    def started(self) -> bool:
        """Whether it was ever run."""
        return self._pid > 0

    def run(self) -> int:
        """Hand out what it writes until it ends; its status. May be interrupted by a soft stop, and called again."""
        while self.status is None:
            found = self._poll.poll()
            with self._shield:
                for descriptor, _event in found:
                    self._serve(descriptor)
        return self.status

    def terminate(self) -> None:
        """SIGTERM to its process group."""
        if self.started and self.status is None:  # our unreaped child: the number cannot have been recycled
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGTERM)

    def close(self) -> None:
        """Give all descriptors back."""
        for descriptor in [*self._pipes, *([self._pidfd] if self._pidfd >= 0 else [])]:
            os.close(descriptor)
        self._pipes = {}
        self._pidfd = -1

    def _open_pipe(self, number: int) -> int:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        self._pipes[ours] = number
        self._poll.register(ours, select.POLLIN)
        return _move_away(theirs)

    def _spawn(self, ends: Mapping[int, int], environment: Mapping[str, str]) -> int:
        actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in ends.items()]
        inherited = (each for each in open_descriptors() if os.get_inheritable(each))
        actions += [(os.POSIX_SPAWN_CLOSE, each) for each in inherited if each > _ERRORS and each not in ends]
        return os.posix_spawn(
            self._path,
            [self._path],
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigmask=[],
            setsigdef=_ALL_SIGNALS,
        )

    def _serve(self, descriptor: int) -> None:
        if descriptor == self._pidfd:
            self._reap()
        elif descriptor in self._pipes:
            self._read(descriptor)

    def _reap(self) -> None:
        _pid, self.status, usage = os.wait4(self._pid, 0)
        self.peak_rss_kb = usage.ru_maxrss
        for descriptor in list(self._pipes):
            for _ in range(_MOST_LAST_READS):
                if not self._read(descriptor):
                    break

    def _read(self, descriptor: int) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if data and self._sinks[self._pipes[descriptor]](data):
            return True
        self._poll.unregister(descriptor)
        del self._pipes[descriptor]
        os.close(descriptor)
        return False


def _memory_of(payload: bytes) -> int:
    """The payload as a file in memory: whoever reads it slowly, twice or not at all holds nobody up."""
    memory = _move_away(os.memfd_create("jobwarden-payload", os.MFD_CLOEXEC))
    with open(memory, "wb", closefd=False) as file:
        file.write(payload)
        file.seek(0)
    return memory


def _move_away(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
    os.close(descriptor)
    return moved
