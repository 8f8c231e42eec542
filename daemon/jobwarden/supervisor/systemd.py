"""How the supervisor speaks to the service manager that started `jobwarden run` (sd_notify(3)): through the keeper.

Only the main process is heard (NotifyAccess=main), and that is the keeper: systemd sees the end of its own child alone,
so it must stay the main process (decision 024). It passes on what is written to the socket that `start` made for both.
Nothing here waits or fails: a service manager that does not listen must not disturb anybody.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_UNSENT = 1_000
"""Messages that may wait for a keeper that is stopped; later ones are dropped."""
ADDRESS, WATCHDOG_USEC, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class Line(NamedTuple):
    """Descriptors that survive exec: `outside` leads to the service manager, the others are the ends of one pair."""

    outside: int
    keeper: int
    supervisor: int


def open_line(environment: Mapping[str, str]) -> Line | None:
    """The line to the service manager that wants to be told of this start; None if nobody does.

    Connected, so that the keeper needs no address and can wait until it may write (unix(7)).
    """
    address = environment.get(ADDRESS, "")
    if address[:1] not in {"/", "@"}:
        return None
    outside = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        outside.connect(f"\0{address[1:]}" if address[0] == "@" else address)
    except OSError:
        outside.close()
        return None
    keeper, supervisor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for each in (outside, keeper, supervisor):
        each.settimeout(0)
        each.set_inheritable(True)
    return Line(outside.detach(), keeper.detach(), supervisor.detach())


def watchdog_usec(environment: Mapping[str, str]) -> int | None:
    """How often, in microseconds, the service manager wants a sign of life of this process (sd_watchdog_enabled(3))."""
    with contextlib.suppress(ValueError):
        if int(environment.get(WATCHDOG_PID) or os.getpid()) == os.getpid():
            return int(environment[WATCHDOG_USEC]) or None if WATCHDOG_USEC in environment else None
    return None


class Notifier:
    """The supervisor's end of the line; without one, it swallows what it is told."""

    def __init__(self, descriptor: int | None) -> None:
        """Of the handover."""
        self._socket = None if descriptor is None else socket.socket(fileno=descriptor)
        self._unsent: list[bytes] = []

    @property
    def listens(self) -> bool:
        """Whether somebody wants to be told."""
        return self._socket is not None

    def tell(self, *assignments: str) -> None:
        """Send these in one message, after those that are still unsent: it may be what all wait for."""
        if self._socket is not None and len(self._unsent) < _MOST_UNSENT:
            self._unsent.append("\n".join(assignments).encode(errors="replace"))
            self.flush()

    def close(self) -> None:
        """Nothing more is said."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def flush(self) -> None:
        """Send what could not be sent before."""
        with contextlib.suppress(BlockingIOError):
            while self._socket is not None and self._unsent:
                with contextlib.suppress(ConnectionError):  # the keeper is gone
                    self._socket.send(self._unsent[0])
                del self._unsent[0]
