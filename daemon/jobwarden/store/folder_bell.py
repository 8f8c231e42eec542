"""A doorbell for one host: one datagram to each socket file in a folder beside the database."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.store.bell import NODE, WAIT
from jobwarden.store.side_files import make_side_folder, share_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SUFFIX = ".sock"
_UNBORN = ".new"


class FolderBell:
    """The listeners' folder; it is made, for whoever may use the database, when the first listener comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ring(self) -> None:
        """Ring everybody."""
        self._ring("")

    def ring_nodes(self) -> None:
        """Ring the daemons: something may be there to do."""
        self._ring(f"{NODE}-")

    def ring_waiters(self) -> None:
        """Ring clients that wait for jobs to end."""
        self._ring(f"{WAIT}-")

    def listen(self, kind: str) -> socket.socket:
        """A socket with a file of its own. Raises OSError."""
        make_side_folder(self._folder)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with self._reached() as (descriptor, address):
                name = f"{kind}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
                # bind(2) makes the file before the socket answers: until then it would be taken for a stale one.
                listener.bind(address(name + _UNBORN))
                share_socket(name + _UNBORN, folder=descriptor)
                os.rename(name + _UNBORN, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        except BaseException:
            listener.close()
            raise
        return listener

    def leave(self, listener: socket.socket) -> None:
        """Close the socket and remove its file."""
        name = Path(listener.getsockname()).name.removesuffix(_UNBORN)
        listener.close()
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()

    def _ring(self, prefix: str) -> None:
        with contextlib.suppress(OSError), self._reached() as (descriptor, address):
            names = [
                name
                for name in os.listdir(descriptor)  # noqa: PTH208 - by descriptor
                if name.startswith(prefix) and name.endswith(_SUFFIX)
            ]
            if not names:
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ringer:
                for name in names:
                    self._ring_one(ringer, address(name), descriptor=descriptor)

    def _ring_one(self, ringer: socket.socket, address: str, *, descriptor: int) -> None:
        try:
            ringer.sendto(b"!", address)
        except ConnectionRefusedError:
            # Its owner is gone without a goodbye.
            with contextlib.suppress(OSError):
                os.unlink(Path(address).name, dir_fd=descriptor)
        except OSError:
            # EAGAIN: its queue is full of rings, so it will look anyway. Otherwise it has just left.
            return

    @contextmanager
    def _reached(self) -> Iterator[tuple[int, Callable[[str], str]]]:
        """The folder's descriptor and what makes addresses: those hold 108 bytes, and a path may be longer."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor, lambda name: f"/proc/self/fd/{descriptor}/{name}"
        finally:
            os.close(descriptor)
