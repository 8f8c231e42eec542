"""Goes to the desk of the daemon that runs with a state directory, asks one thing, and waits for the answer.

Needs no database. Called by `jobwarden reload`.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.errors import AnswerLostError, DeskError, NoDaemonError
from jobwarden.supervisor.locks import holder_of
from jobwarden.wire import desk as wire
from jobwarden.wire.frames import FrameReader, frame

if TYPE_CHECKING:
    from pathlib import Path

_BEGINNING_SECONDS = 5.0
"""How long a daemon that holds its lock but has no desk is waited for: it has just been started, or it ends."""
_TRY_EVERY_SECONDS = 0.05
_READ_BYTES = 262_144


def ask_daemon(state_dir: Path, request: wire.Request, *, wait_seconds: float | None) -> wire.Answer:
    """The daemon's answer; None waits for it without a limit, which ends at the latest with the daemon.

    Raises NoDaemonError if none runs with this state directory, DeskError if it cannot be asked or does not answer.
    """
    with _connect(state_dir) as connection:
        connection.settimeout(wait_seconds)
        try:
            connection.sendall(frame(wire.encode(request)))
            return _receive(connection, state_dir)
        except TimeoutError:
            told = f"the daemon of {state_dir} has not answered within {wait_seconds:g} s; its log tells what it does"
            raise AnswerLostError(told) from None
        except OSError as error:
            raise _gone(state_dir) from error


def _receive(connection: socket.socket, state_dir: Path) -> wire.Answer:
    reader = FrameReader()
    while data := connection.recv(_READ_BYTES):
        for message in reader.feed(data):
            return wire.decode_answer(message)
    raise _gone(state_dir)


def _gone(state_dir: Path) -> AnswerLostError:
    return AnswerLostError(f"the daemon of {state_dir} ended before it answered; its log tells why")


def _connect(state_dir: Path) -> socket.socket:
    until_ns = SYSTEM_CLOCK.monotonic_ns() + int(_BEGINNING_SECONDS * SECOND_NS)
    while True:
        try:
            return _reach(state_dir)
        except PermissionError as error:
            raise DeskError(_not_allowed(state_dir)) from error
        except OSError as error:
            holder = holder_of(state_dir)
            if holder is None:
                raise NoDaemonError(str(state_dir)) from error
            if SYSTEM_CLOCK.monotonic_ns() >= until_ns:
                raise DeskError(_silent(state_dir, holder)) from error
            threading.Event().wait(_TRY_EVERY_SECONDS)


def _reach(state_dir: Path) -> socket.socket:
    """Connect. Raises OSError. Addresses hold 108 bytes, so a descriptor stands for the folder's path."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{wire.SOCKET_NAME}")
        finally:
            os.close(folder)
    except BaseException:
        connection.close()
        raise
    return connection


def _silent(state_dir: Path, holder: int) -> str:
    return (
        f"the daemon of {state_dir} (process {holder}) cannot be asked: it is just starting or ending, or that folder "
        f"holds no sockets; `kill -HUP {holder}` reloads it all the same, and its log tells what came of it"
    )


def _not_allowed(state_dir: Path) -> str:
    return f"{state_dir}: you may not ask its daemon; run this as the user that the daemon runs as, or as root"
