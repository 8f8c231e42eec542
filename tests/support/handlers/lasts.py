"""Jobs that have something to say about how long they may run, and jobs that fall silent."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from pathlib import Path
from typing import Any

from _stage import alone, announce, note, pass_gate, run_away  # type: ignore[import-not-found]

from jobwarden import JobContext, JobTimeout, handler

_FOR_EVER = 10_000


def work_on(payload: dict[str, Any]) -> None:
    """The rest of the work: so many milliseconds, from now on."""
    time.sleep(payload.get("work_ms", 0) / 1_000)


@handler("prolong")
def prolong(payload: dict[str, Any], ctx: JobContext) -> bool:
    """Asks for more time, then works past its first limit."""
    with alone(payload, ctx):
        granted = ctx.prolong(payload.get("ms"))
        announce(payload, ctx)
        work_on(payload)
        return granted


@handler("prolong_in_thread")
def prolong_in_thread(payload: dict[str, Any], ctx: JobContext) -> list[bool]:
    """A thread keeps the job alive while the main thread works."""
    with alone(payload, ctx):
        granted: list[bool] = []
        done = threading.Event()

        def keep() -> None:
            while not done.wait(payload["every_ms"] / 1_000):
                granted.append(ctx.prolong(payload.get("ms")))

        thread = threading.Thread(target=keep)
        thread.start()
        work_on(payload)
        done.set()
        thread.join()
        return granted


@handler("prolong_in_callback")
def prolong_in_callback(payload: dict[str, Any], ctx: JobContext) -> int:
    """More time is asked for at the limit, as often as the payload allows, by a call or by a number."""
    with alone(payload, ctx):
        calls: list[int] = []

        def more() -> int | None:
            calls.append(payload["ms"])
            note(Path(payload["place"], f"{ctx.job_id}.callbacks"), str(len(calls)))
            if len(calls) > payload["times"]:
                return None
            if payload.get("call"):
                ctx.prolong(payload["ms"])
                return None
            return int(payload["ms"])

        ctx.on_timeout(more)
        announce(payload, ctx)
        work_on(payload)
        return len(calls)


@handler("prolong_async")
async def prolong_async(payload: dict[str, Any], ctx: JobContext) -> int:
    """The same in a coroutine."""
    with alone(payload, ctx):
        calls: list[int] = []

        def more() -> int | None:
            calls.append(1)
            return int(payload["ms"]) if len(calls) <= payload["times"] else None

        ctx.on_timeout(more)
        await asyncio.sleep(payload["work_ms"] / 1_000)
        return len(calls)


@handler("bad_callbacks")
def bad_callbacks(payload: dict[str, Any], ctx: JobContext) -> None:
    """One raises, one says something useless: the job ends at its limit all the same."""
    with alone(payload, ctx):

        def fail() -> None:
            message = "this callback is broken"
            raise RuntimeError(message)

        ctx.on_timeout(fail)
        ctx.on_timeout(lambda: "a while longer")
        ctx.on_timeout(lambda: True)
        ctx.on_timeout(lambda: -5)
        time.sleep(_FOR_EVER)


@handler("prolong_once_and_swallow")
def prolong_once_and_swallow(payload: dict[str, Any], ctx: JobContext) -> None:
    """Gets more time once, with a runaway child; then it ignores everything."""
    with alone(payload, ctx):
        run_away(payload, ctx)
        note(Path(payload["place"], f"{ctx.job_id}.granted"), str(ctx.prolong(payload["ms"])))
        announce(payload, ctx)
        while True:
            try:
                time.sleep(_FOR_EVER)
            except BaseException as error:
                note(Path(payload["place"], f"{ctx.job_id}.stops"), type(error).__name__)


@handler("prolong_after_stop")
def prolong_after_stop(payload: dict[str, Any], ctx: JobContext) -> list[object]:
    """Catches the stop, then asks whether it may go on."""
    with alone(payload, ctx):
        announce(payload, ctx)
        try:
            time.sleep(_FOR_EVER)
        except BaseException as error:
            before = ctx.aborted
            granted = ctx.prolong(60_000)
            note(Path(payload["place"], f"{ctx.job_id}.granted"), f"{type(error).__name__} {granted} {ctx.aborted}")
            if not granted:
                raise
            return [before, granted, ctx.aborted]
        return []


@handler("beat")
def beat(payload: dict[str, Any], ctx: JobContext) -> None:
    """Works long, and says so now and then, in the way that the payload names."""
    with alone(payload, ctx):
        until = time.monotonic() + payload["work_ms"] / 1_000
        while time.monotonic() < until:
            if payload["by"] == "heartbeat":
                ctx.heartbeat()
            else:
                ctx.set_progress(50)
            time.sleep(0.005)


@handler("fall_silent")
def fall_silent(payload: dict[str, Any], ctx: JobContext) -> None:
    """Gives one sign of life, starts something that runs away, and says nothing more."""
    with alone(payload, ctx):
        run_away(payload, ctx)
        ctx.heartbeat()
        announce(payload, ctx)
        try:
            time.sleep(_FOR_EVER)
        except JobTimeout as error:
            note(Path(payload["place"], f"{ctx.job_id}.stops"), str(error))
            if payload.get("swallow"):
                time.sleep(_FOR_EVER)
            raise


@handler("watch_for_stop")
def watch_for_stop(payload: dict[str, Any], ctx: JobContext) -> None:
    """A thread looks at `ctx.aborted` while the main thread is in C, where it runs no signal handler."""
    with alone(payload, ctx):
        announce(payload, ctx)
        threading.Thread(target=_look, args=(payload, ctx), daemon=True).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def _look(payload: dict[str, Any], ctx: JobContext) -> None:
    while not ctx.aborted:
        time.sleep(0.002)
    note(Path(payload["place"], f"{ctx.job_id}.seen"), "aborted")


@handler("outlive")
def outlive(payload: dict[str, Any], ctx: JobContext) -> None:
    """A thread that goes on when the job has ended finds its context closed."""

    def later() -> None:
        while not ctx.aborted:
            time.sleep(0.002)
        ctx.set_progress(99)
        ctx.heartbeat()
        answer = f"{ctx.prolong()}"
        try:
            ctx.add_job("echo", {})
        except Exception as error:
            answer += f" {error}"
        note(Path(payload["place"], f"{ctx.job_id}.later"), answer)

    threading.Thread(target=later, daemon=True).start()


@handler("gated_silent")
def gated_silent(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        pass_gate(payload, ctx)
