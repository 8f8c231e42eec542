"""Connections that handler files open while their generation is loaded: all workers would share them.

Two processes that speak on one connection read each other's answers, so such a file is refused like one that does not
import. A socket that was never connected, or is connected to this process itself (an event loop's), does no harm.
Called by the loader.
"""

from __future__ import annotations

import os
import socket

from jobwarden.worker.descriptors import open_descriptors


class Connections:
    """Tells which connections are new since it was made, or since the last look."""

    def __init__(self) -> None:
        self._known = open_descriptors()

    def new(self) -> list[str]:
        """The peers of the new ones, for people."""
        now = open_descriptors()
        peers = [_peer_of(each) for each in sorted(now - self._known)]
        self._known = now
        return [peer for peer in peers if peer]


def _peer_of(descriptor: int) -> str:
    """Whom the socket is connected to; empty for none, and for whatever else the descriptor may be."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as found:
            if found.type != socket.SOCK_STREAM:
                return ""
            peer = found.getpeername()
    except OSError:
        return ""
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else os.fsdecode(peer).replace("\0", "@")
