"""The desk: a socket in the state directory at which people on this host ask the running daemon (`jobwarden reload`).

It lives in the loop's selector, blocks nowhere, and needs no database. It starts nothing by itself: a reload is the one
that SIGHUP asks for, a trial is a template that never serves. Its socket is its owner's alone; a daemon without a desk
(a file system that holds no sockets) works as well, and takes SIGHUP.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from typing import TYPE_CHECKING

from jobwarden.errors import FrameError
from jobwarden.supervisor.visits import ReloadVisit, TrialVisit, Visit
from jobwarden.wire import desk as wire
from jobwarden.wire.frames import FrameReader, frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobwarden.supervisor.visits import Office

_UNBORN = ".new"
_LARGEST_REQUEST = 65_536
_MOST_CALLERS = 16
"""At once; whoever comes then is told to come again."""
_OWNER_ONLY = 0o600


class Desk:
    """Takes requests, and answers each when its visit is over."""

    def __init__(self, state_dir: Path, selector: selectors.BaseSelector, *, office: Office) -> None:
        """`office` is what the desk may have done, and what it can see of the pools."""
        self._folder = state_dir
        self._selector = selector
        self._office = office
        self._listener: socket.socket | None = None
        self._callers: dict[Caller, Visit | None] = {}

    def open(self) -> None:
        """Listen. Raises OSError. The holder of the state directory's lock takes the place of a dead one's socket."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            _bind(listener, self._folder)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._greet)

    def close(self) -> None:
        """Nobody is answered any more; whoever waits sees the connection end."""
        for caller in list(self._callers):
            caller.leave()
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                (self._folder / wire.SOCKET_NAME).unlink()

    def look(self) -> None:
        """After each turn of the loop: answer those whose visit is over."""
        for caller, visit in list(self._callers.items()):
            answer = None if visit is None else visit.look()
            if answer is not None:
                self._callers[caller] = None
                caller.answer(answer)

    def _greet(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(OSError):  # gone again, or no descriptor is to be had
            connection, _address = self._listener.accept()
            caller = Caller(connection, self._selector, heard=self._take, gone=self._forget)
            self._callers[caller] = None
            if len(self._callers) > _MOST_CALLERS:
                caller.answer(wire.Answer(refused="too many people ask this daemon at once; ask again"))

    def _take(self, caller: Caller, request: wire.Request) -> None:
        if self._callers[caller] is not None:
            return  # one request each
        unknown = request.pool if request.pool not in {None, *self._office.pools} else None
        if unknown is not None:
            names = ", ".join(self._office.pools)
            caller.answer(wire.Answer(refused=f"there is no pool {unknown!r} in this daemon, which has {names}"))
            return
        kind = ReloadVisit if isinstance(request, wire.Reload) else TrialVisit
        self._callers[caller] = kind(self._office, request.pool)

    def _forget(self, caller: Caller) -> None:
        visit = self._callers.pop(caller, None)
        if visit is not None:
            visit.abandon()


class Caller:
    """One connection."""

    def __init__(
        self,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        *,
        heard: Callable[[Caller, wire.Request], None],
        gone: Callable[[Caller], None],
    ) -> None:
        """`heard` gets the request, `gone` is told of the connection's end."""
        connection.settimeout(0)
        self._connection = connection
        self._selector = selector
        self._heard = heard
        self._gone = gone
        self._reader = FrameReader(largest=_LARGEST_REQUEST)
        self._unsent = b""
        selector.register(connection, selectors.EVENT_READ, self._hear)

    def answer(self, answer: wire.Answer) -> None:
        """Send it, as fast as it is taken, and leave."""
        self._unsent = frame(wire.encode(answer))
        self._selector.modify(self._connection, selectors.EVENT_WRITE, self._send)

    def leave(self) -> None:
        """Close the connection."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._connection)
        self._connection.close()
        self._gone(self)

    def _hear(self) -> None:
        try:
            data = self._connection.recv(_LARGEST_REQUEST)
            if not data:
                self.leave()
                return
            for message in self._reader.feed(data)[:1]:
                self._heard(self, wire.decode_request(message))
        except BlockingIOError:
            return
        except OSError:
            self.leave()
        except (FrameError, ValueError):
            told = "this daemon does not understand the question; ask with the same version of jobwarden"
            self.answer(wire.Answer(refused=told))

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""
        if not self._unsent:
            self.leave()


def _bind(listener: socket.socket, folder: Path) -> None:
    """Addresses hold 108 bytes, and a path may be longer: the folder is named by a descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unborn = wire.SOCKET_NAME + _UNBORN
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unborn, dir_fd=descriptor)
        listener.bind(f"/proc/self/fd/{descriptor}/{unborn}")
        os.chmod(unborn, _OWNER_ONLY, dir_fd=descriptor)
        listener.listen()
        os.rename(unborn, wire.SOCKET_NAME, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    finally:
        os.close(descriptor)
