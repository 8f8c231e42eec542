"""Jobs that tell what is possible where they run: what an ordinary handler needs, and what only an intruder wants."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import mmap
import multiprocessing
import os
import resource
import shutil
import socket
import sqlite3
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import psutil
from _stage import announce  # type: ignore[import-not-found]

from jobwarden import JobContext, handler

_SCRIPT = "#!/bin/sh\nexit 7\n"
_CLONE_NEWUSER, _PR_SET_DUMPABLE = 0x10000000, 4
_libc = ctypes.CDLL(None, use_errno=True)


@handler("forbidden_acts")
def forbidden_acts(payload: dict[str, Any]) -> dict[str, str]:
    """For each act the name of the error that stopped it, or `done`."""
    acts: dict[str, Callable[[], object]] = {
        "write a handler": lambda: Path(payload["handlers"], "own.py").write_text(""),
        "write to /usr": lambda: Path("/usr/own").write_text(""),
        "look into /home": lambda: list(Path("/home").iterdir()),
        "look into root's home": lambda: list(Path("~root").expanduser().iterdir()),
        "run what it wrote to /tmp": lambda: _run_script(Path(tempfile.gettempdir())),
        "mount": lambda: _checked(_libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
        "a user namespace": lambda: _checked(_libc.unshare(_CLONE_NEWUSER)),
        "memory to write and execute": lambda: mmap.mmap(
            -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        ),
        "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "another user's file": lambda: os.chown(tempfile.mkstemp()[1], 0, 0),
        "a setuid program": _make_setuid,
        "a higher priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
        "the kernel's settings": lambda: Path("/proc/sys/kernel/hostname").write_text("own"),
        "the processes of others": lambda: Path("/proc/1").stat(),
    }
    return {name: _outcome(act) for name, act in acts.items()}


@handler("ordinary_acts")
def ordinary_acts(payload: dict[str, Any]) -> dict[str, str]:
    """For each act `done`, or the name of the error."""
    acts: dict[str, Callable[[], object]] = {
        "a program": lambda: subprocess.run(["true"], check=True),
        "a shell": lambda: subprocess.run(["sh", "-c", "echo x | cat >/dev/null"], check=True),
        "a program of its own": lambda: _run_script(Path.cwd()),
        "a coroutine's program": lambda: asyncio.run(_await_program()),
        "a pool of processes": _use_pool,
        "a child that it ends": _end_child,
        "a thread": lambda: _join(threading.Thread(target=int)),
        "shared memory": _share_memory,
        "a temporary file": lambda: tempfile.TemporaryFile().close(),
        "a database of its own": lambda: sqlite3.connect("own.db").execute("CREATE TABLE IF NOT EXISTS own (x)"),
        "a server on this host": _talk_to_itself,
        "a name": lambda: socket.getaddrinfo("localhost", 80),
        "a callback from C": _call_back,
        "a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
        "its processes": lambda: [each.cpu_times() for each in psutil.Process().children()],
        "the machine's memory": psutil.virtual_memory,
    }
    return {name: _outcome(act) for name, act in acts.items()}


@handler("end_children")
def end_children(payload: dict[str, Any]) -> list[int | None]:
    """How its children ended, which were terminated as soon as they were there."""
    return [_end_child() for _ in range(payload["count"])]


@handler("describe_itself")
def describe_itself(payload: dict[str, Any]) -> dict[str, Any]:
    """Who it is and what it was given."""
    lines = [line.partition(":") for line in Path("/proc/self/status").read_text().splitlines()]
    return {
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "uid": os.getuid(),
        "cgroup": Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip(),
        "status": {name: value.strip() for name, _, value in lines},
        "ids": [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()],
    }


@handler("hide_and_hang")
def hide_and_hang(payload: dict[str, Any], ctx: JobContext) -> None:
    """Makes itself invisible where processes of others are hidden, leaves such children everywhere, and hangs."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    for _ in range(payload["children"]):
        if os.fork() == 0:
            os.setsid()
            os.fork()
            _wait_for_ever()
    announce(payload, ctx)
    _wait_for_ever()


def _wait_for_ever() -> None:
    while True:
        threading.Event().wait()


def _outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run_script(folder: Path) -> None:
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        script = place / "script"
        script.write_text(_SCRIPT)
        script.chmod(0o700)
        subprocess.run([script], check=False)
    finally:
        shutil.rmtree(place)


def _make_setuid() -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(stat.S_ISUID | 0o700)


async def _await_program() -> None:
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()


def _use_pool() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(abs, [-1, 1])


def _end_child() -> int | None:
    child = multiprocessing.get_context("fork").Process(target=_wait_for_ever)
    child.start()
    child.terminate()
    child.join()
    return child.exitcode


def _join(thread: threading.Thread) -> None:
    thread.start()
    thread.join()


def _share_memory() -> None:
    memory = SharedMemory(create=True, size=64)
    memory.close()
    memory.unlink()


def _talk_to_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def _call_back() -> None:
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda _one, _other: 0)
    _libc.qsort(ctypes.create_string_buffer(8), 2, 4, compare)
