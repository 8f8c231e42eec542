"""Jobs that ask the store for something through their context, and jobs with rules for their errors."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from _stage import alone, announce, note, pass_gate  # type: ignore[import-not-found]

from jobwarden import FailPermanently, JobContext, RetryLater, handler
from jobwarden.errors import JobwardenError


@handler("ask")
def ask(payload: dict[str, Any], ctx: JobContext) -> Any:
    """Calls one verb of the context with the payload's arguments; gives what it answers, or the error in parts."""
    with alone(payload, ctx):
        if "gate" in payload:
            pass_gate(payload, ctx)
        verb = getattr(ctx, payload["verb"])
        try:
            return verb(*payload.get("args", []), **payload.get("kwargs", {}))
        except JobwardenError as error:
            return {"error": type(error).__name__, "sentence": str(error), **vars(error)}


@handler("ask_from_threads")
def ask_from_threads(payload: dict[str, Any], ctx: JobContext) -> list[int]:
    """Many threads add jobs at the same time; the ids as they were answered."""
    found: list[tuple[int, int]] = []

    def add(number: int) -> None:
        for turn in range(payload["each"]):
            marker = number * payload["each"] + turn
            found.append((marker, ctx.add_job("echo", {"marker": marker})))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(payload["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [job_id for _marker, job_id in sorted(found)]


@handler("ask_for_ever")
def ask_for_ever(payload: dict[str, Any], ctx: JobContext) -> int:
    """Asks in a circle until it is stopped; then asks once more, and says how it went."""
    asked = 0
    announce(payload, ctx)
    try:
        while True:
            ctx.get_job(ctx.job_id)
            asked += 1
    except BaseException as error:
        record = ctx.get_job(ctx.job_id)
        status = record["status"] if record else None
        note(Path(payload["place"], f"{ctx.job_id}.stopped"), f"{type(error).__name__} {status} {ctx.prolong(60_000)}")
    return asked


@handler("ask_in_child")
def ask_in_child(payload: dict[str, Any], ctx: JobContext) -> str:
    """A process that the handler has forked cannot ask."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ctx.get_job(1)
        except JobwardenError as error:
            os.write(theirs, str(error).encode())
        os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    return os.read(ours, 4096).decode()


def soon(attempt: int, error: BaseException) -> float:
    print("delay", attempt, type(error).__name__)
    if str(error) == "bad delay":
        raise ArithmeticError
    return 0.0


@handler("ruled", retry_on=(ConnectionError, TimeoutError), fail_on=ConnectionRefusedError, delay=soon, max_attempts=3)
def ruled(payload: dict[str, Any]) -> None:
    """Raises what the payload names."""
    errors: dict[str, BaseException] = {
        "reset": ConnectionResetError("reset"),
        "refused": ConnectionRefusedError("refused"),
        "value": ValueError("value"),
        "later": RetryLater(0.0, "later"),
        "permanent": FailPermanently("permanent"),
        "bad delay": ConnectionResetError("bad delay"),
    }
    raise errors[payload["error"]]


@handler("ruled_hang", retry_on=(ConnectionError,), timeout_ms=200, max_attempts=2, retry_delay=0)
def ruled_hang(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        time.sleep(10_000)


@handler("limited", max_concurrency=1, heartbeat_timeout_ms=60_000)
def limited(payload: dict[str, Any], ctx: JobContext) -> None:
    with alone(payload, ctx):
        pass_gate(payload, ctx)
