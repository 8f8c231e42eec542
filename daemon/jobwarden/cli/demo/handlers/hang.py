"""A job that does everything wrong: it hangs, refuses to stop, and has left a grandchild in a session of its own."""

# ruff: noqa: INP001 - a folder of plugins, not a package

import fcntl
import os
import signal
from pathlib import Path
from typing import NoReturn

from jobwarden import JobStopped, handler


@handler("demo_hang")
def hang(payload: dict[str, str]) -> None:
    """Hang for ever. `lock` is a file whose lock the grandchild holds as long as it lives."""
    _start_grandchild(Path(payload["lock"]))
    while True:
        try:
            signal.pause()
        except JobStopped as stop:
            print(f"told to stop ({stop!r}), and hanging on")


def _start_grandchild(lock: Path) -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            if os.fork() == 0:
                _hold(lock, ready=write_end)
        finally:
            os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    os.read(read_end, 1)
    os.close(read_end)


def _hold(lock: Path, *, ready: int) -> NoReturn:
    """What the grandchild does until it is killed."""
    file = lock.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(str(os.getpid()))
    file.flush()
    os.write(ready, b"!")
    while True:
        signal.pause()
