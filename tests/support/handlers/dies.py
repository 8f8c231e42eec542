"""Jobs that end their own worker, or leave something behind when they end."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from _stage import alone, run_away  # type: ignore[import-not-found]

from jobwarden import JobContext, handler
from jobwarden.wire.frames import frame
from jobwarden.wire.messages import Ask, Heartbeat, encode


@handler("kill_itself")
def kill_itself(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        print("last words", flush=True)
        os.kill(os.getpid(), payload["signal"])
        while True:
            signal.pause()


@handler("read_address_zero")
def read_address_zero(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        ctypes.string_at(0)


@handler("exit_at_once")
def exit_at_once(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        os._exit(payload["code"])


@handler("exit_politely")
def exit_politely(payload: dict[str, Any]) -> None:
    sys.exit(payload["code"])


@handler("leave_behind")
def leave_behind(payload: dict[str, Any], ctx: JobContext) -> str:
    with alone(payload, ctx) as lock:
        subprocess.Popen(["sleep", "1000"], pass_fds=[lock])
        run_away(payload, ctx)
        return "done"


@handler("close_everything")
def close_everything(payload: dict[str, Any], ctx: JobContext) -> str:
    with alone(payload, ctx):
        os.closerange(0, 65_536)  # some may lie above the limit of today
        return "done"


@handler("write_garbage")
def write_garbage(payload: dict[str, Any], ctx: JobContext) -> str:
    """Writes what is no message of ours on every socket that the worker has."""
    with alone(payload, ctx):
        for link in list(Path("/proc/self/fd").iterdir()):
            with suppress(OSError):
                if str(link.readlink()).startswith("socket:"):
                    os.write(int(link.name), b"\x00\x00\x00\x05rubbish" * 100)
        return "done"


def _write_on_all_streams(message: bytes) -> None:
    """Until they are closed."""
    for link in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            own = socket.socket(fileno=os.dup(int(link.name)))
            if own.type == socket.SOCK_STREAM:
                while True:
                    own.sendall(message)


@handler("leave_writer")
def leave_writer(payload: dict[str, Any], ctx: JobContext) -> None:
    """Dies, while children of it write well-formed messages without end."""
    with alone(payload, ctx):
        for _ in range(3):
            if os.fork() == 0:
                _write_on_all_streams(frame(encode(Heartbeat(1))) * 5_000)
                os._exit(0)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)


@handler("ask_and_ask")
def ask_and_ask(payload: dict[str, Any], ctx: JobContext) -> None:
    """Past its context: questions without end, and no answer is read."""
    with alone(payload, ctx):
        _write_on_all_streams(frame(encode(Ask(1, 1, "get_job", '{"job_id":1}'))))


@handler("flood")
def flood(payload: dict[str, Any], ctx: JobContext) -> str:
    with alone(payload, ctx):
        line = b"x" * 99 + b"\n"
        for _ in range(payload["bytes"] // 100_000):
            os.write(1, line * 1_000)
        print("the very last line")
        return "done"
