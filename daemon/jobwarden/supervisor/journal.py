"""Sends records to journald over its native socket, without a library. Called by the log's thread alone.

Connects to nothing: journald may be restarted at any time, and systemd keeps its socket meanwhile. A record too large
for a datagram goes as a sealed memfd, as systemd.io/JOURNAL_NATIVE_PROTOCOL says. Must never raise.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket

SOCKET_PATH = "/run/systemd/journal/socket"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE = {errno.EMSGSIZE, errno.ENOBUFS}


class Journal:
    """journald, as one who writes to it sees it."""

    def __init__(self, path: str = SOCKET_PATH) -> None:
        """`path` is another one in tests."""
        self._path = path
        self._socket: socket.socket | None = None

    def send(self, record: bytes) -> bool:
        """Whether journald has it; waits while journald is busy."""
        try:
            self._open().sendto(record, self._path)
        except OSError as error:
            return error.errno in _TOO_LARGE and self._send_file(record)
        return True

    def close(self) -> None:
        """The last record was sent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        return self._socket

    def _send_file(self, record: bytes) -> bool:
        with contextlib.suppress(OSError):
            flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            with os.fdopen(os.memfd_create("jobwarden-log", flags), "wb", buffering=0) as file:
                file.write(record)
                fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, file.fileno().to_bytes(4, "little"))]
                self._open().sendmsg([], rights, 0, self._path)
                return True
        return False
