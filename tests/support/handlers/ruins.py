"""Jobs that set out to ruin the machine, the supervisor, their neighbours, or the worker for whoever comes next."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from _stage import alone, announce  # type: ignore[import-not-found]

from jobwarden import JobContext, handler
from jobwarden.wire.frames import frame
from jobwarden.wire.messages import Done, Heartbeat, Progress, encode

_FOR_EVER = 10_000
_kept: list[int] = []


@handler("fork_bomb")
def fork_bomb(payload: dict[str, Any], ctx: JobContext) -> None:
    """Processes that fork without a pause: `hopping` of them exit as they fork, so that none lives longer than that.

    With none of these, the real thing: ever more of them, if nothing bounds it.
    """
    with alone(payload, ctx):
        for _ in range(payload["hopping"]):
            if os.fork() == 0:
                _hop(new_session=payload.get("new_session", False))
        if not payload["hopping"]:
            _multiply()
        time.sleep(_FOR_EVER)


def _hop(*, new_session: bool) -> NoReturn:
    while True:
        with suppress(OSError):
            if new_session:
                os.setsid()
            if os.fork():
                os._exit(0)


def _multiply() -> NoReturn:
    while True:
        with suppress(OSError):
            os.fork()


@handler("take_all_descriptors")
def take_all_descriptors(payload: dict[str, Any], ctx: JobContext) -> int:
    """Opens files until there are no more, and keeps them."""
    with alone(payload, ctx):
        with suppress(OSError):
            while True:
                _kept.append(os.open(os.devnull, os.O_RDONLY))
        return len(_kept)


@handler("daemonise")
def daemonise(payload: dict[str, Any], ctx: JobContext) -> str:
    """As daemon(3) has it, and further: another session, program and name, no environment, no descriptors, deaf."""
    with alone(payload, ctx) as lock:
        ours, theirs = os.pipe()
        os.set_inheritable(theirs, True)  # noqa: FBT003 - the signature of os
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                program = _DEAF.format(started=theirs, lock=lock)
                os.execve(sys.executable, ["sshd", "-I", "-S", "-c", program], {})  # noqa: S606 - no shell
            os._exit(0)
        os.close(theirs)
        os.waitpid(child, 0)
        Path(payload["place"], f"{ctx.job_id}.pids").write_text(os.read(ours, 20).decode())
        os.close(ours)
        return "done"


_DEAF = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.dup2({lock}, 0)
os.write({started}, str(os.getpid()).encode())
os.closerange(1, 65_536)
while True:
    signal.sigwait([signal.SIGUSR1])
"""


@handler("kill_supervisor")
def kill_supervisor(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(_FOR_EVER)


@handler("kill_everybody")
def kill_everybody(payload: dict[str, Any], ctx: JobContext) -> None:
    """All that this user may kill: never as root, nor as anybody who has more than a pool's processes."""
    with alone(payload, ctx):
        if os.getuid() != payload["uid"] or os.getuid() == 0:
            raise PermissionError
        os.kill(-1, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


@handler("shut_sockets")
def shut_sockets(payload: dict[str, Any], ctx: JobContext) -> str:
    """shutdown(2) on every socket of the worker, which has some of them together with the supervisor."""
    with alone(payload, ctx):
        for own in _sockets():
            own.shutdown(socket.SHUT_RDWR)
        return "done"


@handler("report_on_and_on")
def report_on_and_on(payload: dict[str, Any], ctx: JobContext) -> str:
    """Past its context: signs of life and progress as fast as the socket takes them, also for other attempts."""
    with alone(payload, ctx):
        fences = range(500)
        said = b"".join(frame(encode(Progress(each, each % 100))) + frame(encode(Heartbeat(each))) for each in fences)
        for _ in range(payload["times"]):
            _say(said)
        return "done"


@handler("report_for_another")
def report_for_another(payload: dict[str, Any], ctx: JobContext) -> None:
    """Says that its neighbour's job is done."""
    with alone(payload, ctx):
        _say(frame(encode(Done(payload["job"], payload["fence"], 0, 0, 0, 0, marked=False, output='"stolen"'))))
        time.sleep(_FOR_EVER)


@handler("say_hex")
def say_hex(payload: dict[str, Any], ctx: JobContext) -> str:
    """Writes these bytes on the stream and ends well."""
    with alone(payload, ctx):
        _say(bytes.fromhex(payload["hex"]))
        announce(payload, ctx)
        return "done"


def _say(text: bytes) -> None:
    """On every stream socket of the worker."""
    for own in _sockets():
        if own.type == socket.SOCK_STREAM:
            own.sendall(text)


def _sockets() -> Iterator[socket.socket]:
    """Duplicates of the worker's own, one after the other."""
    for link in list(Path("/proc/self/fd").iterdir()):
        if link.is_socket():
            with socket.socket(fileno=os.dup(int(link.name))) as own:
                yield own
