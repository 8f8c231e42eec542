"""What the handlers of tests share: the job's own lock, gates, and offspring that tries to get away.

The lock is the kernel's proof (issue 2, Must show 5): each attempt takes its job's own file first and hands the
descriptor to everything that it starts, so a refusal is an overlap and a free lock is a tree that is gone.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobwarden import JobContext


class OverlapError(Exception):
    pass


@contextmanager
def alone(payload: dict[str, Any], ctx: JobContext) -> Iterator[int]:
    """Hold the job's own lock; gives its inheritable descriptor."""
    place = Path(payload["place"])
    note(place / "runs", f"{ctx.job_id} {ctx.attempt} {os.getpid()}")
    descriptor = os.open(place / f"{ctx.job_id}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - the signature of os
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(place / "overlaps", f"{ctx.job_id} {ctx.attempt} {os.getpid()}")
        raise OverlapError from None
    try:
        yield descriptor
    finally:
        with suppress(OSError):  # some handlers close everything
            os.close(descriptor)


def note(path: Path, line: str) -> None:
    """Append one line, in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def pass_gate(payload: dict[str, Any], ctx: JobContext) -> None:
    """Say that the job has started, and wait until the test says go."""
    announce(payload, ctx)
    with Path(f"{payload['gate']}.go").open("rb", buffering=0) as go:
        go.read(1)


def announce(payload: dict[str, Any], ctx: JobContext) -> None:
    """Say that the job has come to the interesting point."""
    if "gate" in payload:
        with Path(f"{payload['gate']}.started").open("wb", buffering=0) as started:
            started.write(f"{ctx.job_id} {ctx.attempt} {os.getpid()}\n".encode())


def run_away(payload: dict[str, Any], ctx: JobContext) -> None:
    """Leave a grandchild in a session of its own that hears no signal; returns once it lives. It keeps the lock."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            note(Path(payload["place"], f"{ctx.job_id}.pids"), str(os.getpid()))
            os.write(theirs, b"x")
            os.close(theirs)
            while True:
                signal.pause()
        os._exit(0)
    os.close(theirs)
    os.read(ours, 1)
    os.close(ours)
    os.waitpid(child, 0)
