"""The birth of a worker: fork an intermediate, which forks the worker and exits, so that the supervisor adopts it.

The order is the one of design section 3 (R10): only after the intermediate was reaped is the worker the supervisor's
child, and only then may its pid be announced. `os.fork`, never a raw clone: libraries' atfork handlers matter.
Runs in the template; nothing returns from the two children.
"""

from __future__ import annotations

import os
import socket
import struct
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from jobwarden.errors import JobwardenError
from jobwarden.wire.exits import EXIT_BIRTH
from jobwarden.wire.messages import FORK_DESCRIPTORS
from jobwarden.worker.process import live
from jobwarden.worker.settling import Birth

if TYPE_CHECKING:
    from jobwarden.wire.messages import Fork
    from jobwarden.wire.page import SharedPage
    from jobwarden.wire.template_terms import WorkerBounds
    from jobwarden.worker.loader import LoadedCode

_PID = struct.Struct("=q")


class BirthError(JobwardenError):
    """No worker was born."""

    def __init__(self, *, reason: str) -> None:
        """`reason` is for the log and for `status`."""
        super().__init__(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all workers of a template share."""

    code: LoadedCode
    page: SharedPage
    supervisor_pid: int
    generation: int
    max_output_bytes: int
    bounds: WorkerBounds
    opened_by_handlers: frozenset[int]
    """Descriptors that handler modules opened at import; workers keep them."""


def give_birth(request: Fork, descriptors: list[int], *, surroundings: Surroundings) -> tuple[int, int]:
    """The new worker's pid and a pidfd of it, once it is the supervisor's child. Raises BirthError.

    `descriptors` are those of `FORK_DESCRIPTORS`; they stay open here.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        try:
            intermediate = os.fork()
        except OSError as error:
            raise BirthError(reason=f"fork: {error.strerror}") from error
        if intermediate == 0:
            _be_intermediate(request, descriptors, surroundings=surroundings, private=theirs)
        os.waitpid(intermediate, 0)
        return _read_announcement(ours)


def _be_intermediate(
    request: Fork, descriptors: list[int], *, surroundings: Surroundings, private: socket.socket
) -> NoReturn:
    try:
        intermediate = os.getpid()
        worker = os.fork()
        if worker == 0:
            _be_worker(request, descriptors, surroundings=surroundings, intermediate=intermediate)
        # Our unreaped child: the pid cannot have been recycled, even if it is dead by now.
        socket.send_fds(private, [_PID.pack(worker)], [os.pidfd_open(worker)])
        os._exit(0)
    except OSError as error:
        private.send(f"{error.strerror}".encode())
    finally:
        os._exit(EXIT_BIRTH)


def _be_worker(request: Fork, descriptors: list[int], *, surroundings: Surroundings, intermediate: int) -> NoReturn:
    try:
        birth = Birth(
            slot=request.slot,
            nonce=request.nonce,
            generation=surroundings.generation,
            intermediate_pid=intermediate,
            supervisor_pid=surroundings.supervisor_pid,
            descriptors=dict(zip(FORK_DESCRIPTORS, descriptors, strict=True)),
            opened_by_handlers=surroundings.opened_by_handlers,
            max_output_bytes=surroundings.max_output_bytes,
            bounds=surroundings.bounds,
        )
        live(birth, code=surroundings.code, page=surroundings.page)
    except BaseException:  # noqa: BLE001 - the edge of the process: nothing may unwind into the template's frames
        traceback.print_exc()
    finally:
        os._exit(EXIT_BIRTH)


def _read_announcement(private: socket.socket) -> tuple[int, int]:
    try:
        data, descriptors, _, _ = socket.recv_fds(private, 256, 1, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
    except BlockingIOError as error:
        raise BirthError(reason="the intermediate process died before it could fork") from error
    if not descriptors:
        raise BirthError(reason=f"second fork: {data.decode(errors='replace')}")
    return _PID.unpack(data)[0], descriptors[0]
