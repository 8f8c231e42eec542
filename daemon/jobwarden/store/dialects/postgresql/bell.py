"""The doorbell of PostgreSQL: NOTIFY on a channel for each kind of listener, by a thread with a connection of its own.

Whoever rings only leaves word for the thread, so nothing blocks and nothing can fail. The first ring goes out at once,
those that follow soon go out together: a commit with NOTIFY takes a lock that is one for the whole server. It is never
inside anybody's transaction. The thread begins with the first ring or listener, and ends when there has been neither
for a while. A fork begins with a new state.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING

from jobwarden.store.bell import KINDS, NODE, WAIT
from jobwarden.store.dialects.postgresql.orders import WORKING, Orders
from jobwarden.store.dialects.postgresql.ringer import Ringer

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobwarden.store.dialects.postgresql.exchange import Reach

_LISTENING_SECONDS = 2.0
"""How long `listen` waits until the server knows of it; later, its user's own looks have to do."""
_FLUSH_SECONDS = 1.0
"""How long an ending process waits until its last ring is out."""
_SILENT = "notifications: nobody listens in this process"


class NotifyBell:
    """One per dialect. Safe to share between threads."""

    def __init__(self, reach: Reach) -> None:
        """Nothing is opened yet."""
        self._reach = reach
        self._lock = threading.Lock()
        self._orders: Orders | None = None
        self._ringer: Ringer | None = None
        self._listeners: dict[socket.socket, tuple[str, socket.socket]] = {}
        _bells.add(self)

    @property
    def works(self) -> bool:
        """Whether rings are known to arrive, so that nobody needs to look by himself."""
        return self.mode == WORKING

    @property
    def mode(self) -> str:
        """How this process hears of changes, for people."""
        return self._orders.mode if self._orders is not None and self._orders.are_taken else _SILENT

    def ring(self) -> None:
        """Ring everybody."""
        self._owe(KINDS)

    def ring_nodes(self) -> None:
        """Ring the daemons."""
        self._owe((NODE,))

    def ring_waiters(self) -> None:
        """Ring clients that wait for jobs to end."""
        self._owe((WAIT,))

    def listen(self, kind: str) -> socket.socket:
        """Returns when the server knows of it, or is known to be away. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with self._lock:
            self._listeners[theirs] = (kind, ours)
            orders = self._current()
            orders.serve(kind, ours)
        orders.await_listening(kind, seconds=_LISTENING_SECONDS)
        return theirs

    def leave(self, listener: socket.socket) -> None:
        """Listen with it no more, and close it."""
        with self._lock:
            kind, ours = self._listeners.pop(listener, ("", None))
            if ours is not None and self._orders is not None:
                self._orders.forget(kind, ours)
        if ours is not None:
            ours.close()
        listener.close()

    def close(self) -> None:
        """Let the last ring go out, and end the thread; a later ring begins a new one."""
        with self._lock:
            orders, self._orders = self._orders, None
            ringer, self._ringer = self._ringer, None
        if orders is not None and ringer is not None:
            orders.close()
            ringer.join(_FLUSH_SECONDS)

    def forget(self) -> None:
        """In a fork: the thread is not here, and what it held is the parent's."""
        ringer = self._ringer
        for _kind, ours in self._listeners.values():
            ours.close()
        self._lock, self._orders, self._ringer, self._listeners = threading.Lock(), None, None, {}
        if ringer is not None:
            _inherited.append(ringer)
            ringer.abandon()

    def _owe(self, kinds: Collection[str]) -> None:
        with self._lock:
            if not self._current().owe(kinds):
                self._current().owe(kinds)

    def _current(self) -> Orders:
        """Those of a thread that still looks at them; called under the lock."""
        if self._orders is None or not self._orders.are_taken:
            self._orders = Orders()
            for kind, ours in self._listeners.values():
                self._orders.serve(kind, ours)
            self._ringer = Ringer(self._reach, self._orders)
            self._ringer.start()
        return self._orders


_bells: weakref.WeakSet[NotifyBell] = weakref.WeakSet()
_inherited: list[Ringer] = []
"""What a parent process had. Kept for ever: that its connection goes out of scope must not end it there."""


def _forget_all() -> None:
    for bell in list(_bells):
        bell.forget()


def _close_all() -> None:
    for bell in list(_bells):
        bell.close()


os.register_at_fork(after_in_child=_forget_all)
atexit.register(_close_all)
