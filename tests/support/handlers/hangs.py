"""Jobs that do not end by themselves, each in its own way."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import time
from typing import Any

from _stage import alone, announce, run_away  # type: ignore[import-not-found]

from jobwarden import JobContext, handler

_FOR_EVER = 10_000


@handler("sleep_in_c")
def sleep_in_c(payload: dict[str, Any], ctx: JobContext) -> None:
    """Waits for a mutex in C, holding the interpreter's lock: no signal ends it, no Python signal handler runs."""
    with alone(payload, ctx):
        announce(payload, ctx)
        mutex = ctypes.create_string_buffer(64)
        libc = ctypes.PyDLL(None)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)


@handler("spin_in_c")
def spin_in_c(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        announce(payload, ctx)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


@handler("spin")
def spin(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        announce(payload, ctx)
        while True:
            pass


@handler("swallow")
def swallow(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        announce(payload, ctx)
        while True:
            try:
                time.sleep(_FOR_EVER)
            except BaseException as error:
                print("swallowed", type(error).__name__)


@handler("run_away")
def run_away_and_hang(payload: dict[str, Any], ctx: JobContext) -> None:
    """A child with `start_new_session` that double-forks, and another program with an empty environment."""
    with alone(payload, ctx) as lock:
        subprocess.Popen([sys.executable, "-S", "-c", _DOUBLE_FORK], start_new_session=True, pass_fds=[lock], env={})
        run_away(payload, ctx)
        announce(payload, ctx)
        time.sleep(_FOR_EVER)


_DOUBLE_FORK = """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        while True:
            signal.pause()
"""


@handler("ward_of_many")
def ward_of_many(payload: dict[str, Any], ctx: JobContext) -> None:
    """Many grandchildren that ran away, then a hang."""
    with alone(payload, ctx):
        for _ in range(payload["count"]):
            run_away(payload, ctx)
        announce(payload, ctx)
        time.sleep(_FOR_EVER)


@handler("stop_itself")
def stop_itself(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        announce(payload, ctx)
        while True:
            os.kill(os.getpid(), signal.SIGSTOP)


@handler("obey")
def obey(payload: dict[str, Any], ctx: JobContext) -> None:
    """Ends when it is told to."""
    with alone(payload, ctx):
        announce(payload, ctx)
        time.sleep(_FOR_EVER)
