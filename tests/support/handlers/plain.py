"""Jobs that behave: echo, wait at a gate, fail on purpose, report progress, print."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _stage import alone, announce, note, pass_gate, run_away  # type: ignore[import-not-found]

from jobwarden import FailPermanently, JobContext, handler


@dataclass
class Invoice:
    number: int
    amount: float


@handler("echo")
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@handler("write_line")
def write_line(payload: dict[str, Any]) -> None:
    note(Path(payload["place"], payload["file"]), str(payload["line"]))


@handler("tiny")
def tiny(payload: dict[str, Any], ctx: JobContext) -> None:
    """Quick, so that several are sent to one worker; but one may wait at a gate and then kill its worker."""
    note(Path(payload["place"], "tiny"), str(ctx.job_id))
    if "gate" in payload:
        pass_gate(payload, ctx)
        os.kill(os.getpid(), signal.SIGKILL)


@handler("gated")
def gated(payload: dict[str, Any], ctx: JobContext) -> int:
    with alone(payload, ctx):
        pass_gate(payload, ctx)
        return ctx.attempt


@handler("gated_with_children")
def gated_with_children(payload: dict[str, Any], ctx: JobContext) -> int:
    """The first run has a child that ran away and, unless told otherwise, one of another program; later ones none."""
    with alone(payload, ctx) as lock:
        if len(runs_of(payload, ctx)) == 1:
            run_away(payload, ctx)
            if payload.get("program", True):
                subprocess.Popen(["sleep", "1000"], pass_fds=[lock], start_new_session=True, env={})
        pass_gate(payload, ctx)
        return ctx.attempt


def runs_of(payload: dict[str, Any], ctx: JobContext) -> list[str]:
    lines = Path(payload["place"], "runs").read_text().splitlines()
    return [line for line in lines if line.split()[0] == str(ctx.job_id)]


@handler("gated_async")
async def gated_async(payload: dict[str, Any], ctx: JobContext) -> int:
    with alone(payload, ctx):
        announce(payload, ctx)
        await asyncio.sleep(1000)
        return ctx.attempt


@handler("nap")
def nap(payload: dict[str, Any], ctx: JobContext) -> int:
    with alone(payload, ctx):
        time.sleep(payload["seconds"])
        return ctx.attempt


@handler("fail_until")
def fail_until(payload: dict[str, Any], ctx: JobContext) -> int:
    if ctx.attempt < payload["attempt"]:
        message = f"attempt {ctx.attempt} fails on purpose"
        raise RuntimeError(message)
    return ctx.attempt


@handler("fail_for_good")
def fail_for_good(payload: dict[str, Any]) -> None:
    reason = "the order was withdrawn"
    raise FailPermanently(reason)


@handler("bill")
def bill(payload: Invoice) -> float:
    return payload.number * payload.amount


@handler("progress")
def progress(payload: dict[str, Any], ctx: JobContext) -> None:
    ctx.set_progress(payload["percent"])
    pass_gate(payload, ctx)


@handler("speak")
def speak(payload: dict[str, Any], ctx: JobContext) -> None:
    print("on stdout", payload["word"])
    print("on stderr", file=sys.stderr)
    ctx.log("through the context", size=3)
    subprocess.run(["echo", "from a child"], check=True)
    os.write(1, b"on the descriptor\n")
