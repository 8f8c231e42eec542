"""Jobs that want more of the machine than they may have: memory in all its forms, CPU time, processes, descriptors."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from typing import Any

from _stage import alone  # type: ignore[import-not-found]

from jobwarden import JobContext, handler

MB = 1024 * 1024
_STEP = MB
_kept: list[bytearray] = []


@handler("eat_at_once")
def eat_at_once(payload: dict[str, Any], ctx: JobContext) -> int:
    with alone(payload, ctx):
        return len(bytearray(payload["mb"] * MB))


@handler("eat_slowly")
def eat_slowly(payload: dict[str, Any], ctx: JobContext) -> None:
    """What the kernel's limit would let pass for a while: the supervisor has to see it."""
    with alone(payload, ctx):
        eaten = []
        for _ in range(payload["mb"]):
            eaten.append(bytearray(b"x") * MB)
            time.sleep(0.005)
        time.sleep(60)


@handler("eat_shared")
def eat_shared(payload: dict[str, Any], ctx: JobContext) -> None:
    """Shared memory, which RLIMIT_DATA does not count."""
    with alone(payload, ctx):
        _fill(mmap.mmap(-1, payload["mb"] * MB))
        time.sleep(60)


@handler("eat_by_children")
def eat_by_children(payload: dict[str, Any], ctx: JobContext) -> None:
    """No process of it has more than it may."""
    code = f"import time; x = bytearray(b'x') * {payload['mb'] // 4 * MB}; time.sleep(60)"
    with alone(payload, ctx) as lock:
        for child in [subprocess.Popen([sys.executable, "-S", "-c", code], pass_fds=[lock]) for _ in range(4)]:
            child.wait()


@handler("share_with_children")
def share_with_children(payload: dict[str, Any], ctx: JobContext) -> int:
    """Each of them shows all of it, and there is one."""
    with alone(payload, ctx):
        held = bytearray(b"x") * (payload["mb"] * MB)
        for _ in range(4):
            if os.fork() == 0:
                time.sleep(payload["seconds"])
                os._exit(0)
        return sum(os.wait()[1] for _ in range(4)) + len(held)


@handler("keep")
def keep(payload: dict[str, Any], ctx: JobContext) -> int:
    """A leak: so much more stays with each job."""
    with alone(payload, ctx):
        _kept.append(bytearray(b"x") * (payload["mb"] * MB))
        return os.getpid()


@handler("burn")
def burn(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        while True:
            pass


@handler("burn_by_children")
def burn_by_children(payload: dict[str, Any], ctx: JobContext) -> None:
    """One after the other: none of them has used much when it ends, and the worker nothing at all."""
    with alone(payload, ctx) as lock:
        while True:
            subprocess.run([sys.executable, "-S", "-c", "for _ in range(2_000_000): pass"], check=True, pass_fds=[lock])


@handler("multiply")
def multiply(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx) as lock:
        children = [subprocess.Popen(["sleep", "60"], pass_fds=[lock]) for _ in range(payload["count"])]
        children[0].wait()


@handler("open_files")
def open_files(payload: dict[str, Any], ctx: JobContext) -> int:
    with alone(payload, ctx):
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(payload["count"])]
        for descriptor in opened:
            os.close(descriptor)
        return len(opened)


@handler("who_am_i")
def who_am_i(payload: dict[str, Any], ctx: JobContext) -> dict[str, int]:
    with alone(payload, ctx):
        return {"pid": os.getpid(), "nice": os.nice(0)}


def _fill(memory: mmap.mmap) -> None:
    for place in range(0, len(memory), _STEP):
        memory[place : place + _STEP] = b"x" * _STEP
        time.sleep(0.005)
