"""The doorbell: "look at the store now". It carries no meaning and may be lost.

Nothing is ever read out of a ring. Ringing never blocks and never fails: whoever misses it looks by itself a little
later. Clients and daemons ring; daemons (`node`) and waiting clients (`wait`) listen. Each dialect brings its own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket

NODE = "node"
WAIT = "wait"
KINDS = (NODE, WAIT)

LARGEST_DATAGRAM = 64
MOST_RINGS = 1_024
"""Taken at once: more than a socket holds, but somebody may ring faster than they are taken."""


class Bell(Protocol):
    """The doorbell of one store, in this process. Safe to share between threads."""

    def ring(self) -> None:
        """Ring everybody."""

    def ring_nodes(self) -> None:
        """Ring the daemons: something may be there to do."""

    def ring_waiters(self) -> None:
        """Ring clients that wait for jobs to end."""

    def listen(self, kind: str) -> socket.socket:
        """A non-blocking socket that becomes readable when somebody rings; close it with `leave`. Raises OSError."""

    def leave(self, listener: socket.socket) -> None:
        """Listen with it no more, and close it."""


def drain(listener: socket.socket) -> None:
    """Take all rings that have come, so that the socket is silent until the next one; an empty one is one too."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(MOST_RINGS):
            listener.recv(LARGEST_DATAGRAM)
