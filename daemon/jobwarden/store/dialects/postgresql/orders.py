"""`Orders`: what the threads of a process want of its ringer, and what that tells them back. Held under one lock.

Between `bell`, which any thread calls, and `ringer`, which is one thread. Knows nothing of the database.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

UNTESTED = "polling: notifications are being tested"
WORKING = "notifications"
POOLED = "polling: a pooler shares the server's connections between transactions, so no notification arrives"
DEAF = "polling: notifications do not arrive"
AWAY = "polling: the connection for notifications is away"

_LINGER_SECONDS = 30.0
"""How long a ringer stays when nobody listens and nobody rings."""
_DATAGRAM = 64


class Orders:
    """One per ringer. The bell calls `owe` to `close`, the ringer the rest."""

    def __init__(self) -> None:
        self._mode = UNTESTED
        self._changed = threading.Condition()
        self._owed: set[str] = set()
        self._served: dict[str, set[socket.socket]] = {}
        self._known: frozenset[str] | None = None
        """Kinds that the server sends us; None while it is away."""
        self._away = False
        self._closing = False
        self._over = False
        self._busy_ns = SYSTEM_CLOCK.monotonic_ns()
        self._wake, self._woken = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @property
    def mode(self) -> str:
        """How this process hears of changes; whoever listens has been woken since it changed."""
        with self._changed:
            return self._mode

    @property
    def are_taken(self) -> bool:
        """Whether anybody will still look at them."""
        return not (self._over or self._closing)

    def owe(self, kinds: Collection[str]) -> bool:
        """Ring these soon; False if nobody is there to do it any more."""
        with self._changed:
            news = not self._owed.issuperset(kinds)
            self._owed.update(kinds)
            taken = not self._over
        if news:
            self._stir()
        return taken

    def serve(self, kind: str, listener: socket.socket) -> None:
        """Write to this socket when that kind is rung."""
        with self._changed:
            self._served.setdefault(kind, set()).add(listener)
        self._stir()

    def forget(self, kind: str, listener: socket.socket) -> None:
        """Write to it no more."""
        with self._changed:
            self._served.get(kind, set()).discard(listener)
        self._stir()

    def await_listening(self, kind: str, *, seconds: float) -> None:
        """Until rings of this kind reach us, the server is known to be away, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._away or self._over or kind in (self._known or ()), seconds)

    def close(self) -> None:
        """Send what is owed, then end."""
        with self._changed:
            self._closing = True
        self._stir()

    def abandon(self) -> None:
        """In a fork: these sockets are the parent's."""
        self._wake.close()
        self._woken.close()

    # for the ringer

    def are_over(self) -> bool:
        """Whether it may end. After that nobody looks at them: the bell makes new ones."""
        with self._changed:
            served = any(self._served.values()) and not self._closing
            idle_ns = SYSTEM_CLOCK.monotonic_ns() - self._busy_ns
            lingers = not self._closing and idle_ns < _LINGER_SECONDS * SECOND_NS
            self._over = self._over or not (self._owed or served or lingers)
            return self._over

    @property
    def owed(self) -> bool:
        """Whether anybody is to be rung."""
        return bool(self._owed)

    def take_owed(self) -> list[str]:
        """The kinds to ring now."""
        with self._changed:
            taken = sorted(self._owed)
            self._owed.clear()
            self._busy_ns = SYSTEM_CLOCK.monotonic_ns()
        return taken

    def wanted(self) -> frozenset[str]:
        """The kinds that somebody listens for."""
        with self._changed:
            return frozenset(kind for kind, sockets in self._served.items() if sockets)

    def know(self, kinds: frozenset[str]) -> None:
        """The server sends us these from now on."""
        with self._changed:
            self._known, self._away = kinds, False
            self._busy_ns = SYSTEM_CLOCK.monotonic_ns()
            self._changed.notify_all()

    def miss_server(self) -> None:
        """It is away: what is owed is lost, and whoever listens looks by himself."""
        with self._changed:
            self._known, self._away = None, True
            self._owed.clear()
            self._changed.notify_all()
        self.become(AWAY)

    def become(self, mode: str) -> None:
        """Whoever listens looks how long he may sleep from now on, and for what he may have missed."""
        with self._changed:
            if self._mode != mode:
                self._mode = mode
                self.pass_on(self.wanted())

    def pass_on(self, kinds: Iterable[str]) -> None:
        """Wake who listens for these."""
        with self._changed:
            for kind in kinds:
                for listener in self._served.get(kind, ()):
                    with contextlib.suppress(OSError):  # full of rings, or just leaving
                        listener.send(b"!")

    def sleep(self, *, seconds: float | None, beside: int | None) -> bool:
        """Until there is an order, the time is over, or this descriptor is readable: whether it is."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if beside is not None:
            poll.register(beside, select.POLLIN)
        found = [descriptor for descriptor, _ in poll.poll(None if seconds is None else max(seconds, 0.0) * 1_000)]
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(_DATAGRAM):
                pass
        return beside in found

    def let_go(self) -> None:
        """The thread has ended."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
            self._wake.close()
            self._woken.close()

    def _stir(self) -> None:
        with contextlib.suppress(OSError):  # full of orders, or nobody there
            self._wake.send(b"!")
