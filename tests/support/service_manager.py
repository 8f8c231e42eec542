"""What a service manager hears (sd_notify(3)), and the other end of a supervisor's line to it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from jobwarden.supervisor.systemd import Notifier
from tests.support.waiting import LIMIT_SECONDS

_LONGEST = 65_536

Message = list[str]


class Listener:
    """A datagram socket at a path, as `NOTIFY_SOCKET` names it."""

    def __init__(self, path: Path | str) -> None:
        """Begin to listen; a path that begins with `@` is an abstract one."""
        self.address = str(path)
        self.heard: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0", 1) if self.address.startswith("@") else self.address)
        self._socket.settimeout(LIMIT_SECONDS)

    def receive(self) -> Message:
        """The next message, line by line."""
        self.heard.append(self._socket.recv(_LONGEST).decode().split("\n"))
        return self.heard[-1]

    def await_line(self, beginning: str) -> Message:
        """The next message with a line that begins so."""
        while True:
            message = self.receive()
            if any(line.startswith(beginning) for line in message):
                return message

    def rest(self) -> list[Message]:
        """What has come and was not received yet; all has come when whoever spoke has ended."""
        before = len(self.heard)
        self._socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.receive()
        return self.heard[before:]

    def close(self) -> None:
        """Nobody listens any more."""
        self._socket.close()


class Line:
    """The keeper's end, for tests without one, and the `notifier` at the other."""

    def __init__(self) -> None:
        """Nothing was said."""
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(0)
        theirs.settimeout(0)
        self.notifier = Notifier(theirs.detach())

    def said(self) -> list[Message]:
        """The messages since the last look."""
        found: list[Message] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._ours.recv(_LONGEST):
                found.append(data.decode().split("\n"))
        return found

    def close(self) -> None:
        """Nobody passes on what is said."""
        self.notifier.close()
        self._ours.close()
