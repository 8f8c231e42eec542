"""The jobs of the chaos run (tests/faults/chaos): each attempt proves by the kernel that it is alone.

An attempt takes its job's own file with flock(2) first and hands the descriptor to all that it starts: a refusal is an
overlap. Then it writes `start`, and `end` when it has done everything, into a journal opened with O_APPEND: word, job,
attempt, a token of its own, pid, CLOCK_BOOTTIME. The token is also the job's output.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobwarden import JobContext, handler

_FOR_EVER = 3_600


class OverlapError(Exception):
    pass


class PlannedError(Exception):
    pass


@handler("chaos_quick")
@handler("chaos_nap")
@handler("chaos_once")
def work(payload: dict[str, Any], ctx: JobContext) -> dict[str, str]:
    """Takes its time and returns."""
    with alone(payload, ctx) as attempt:
        attempt.nap()
        return attempt.end()


@handler("chaos_stubborn")
@handler("chaos_hopeless")
def fail(payload: dict[str, Any], ctx: JobContext) -> dict[str, str]:
    """Fails as often as the payload says."""
    with alone(payload, ctx) as attempt:
        attempt.nap()
        if ctx.attempt <= payload["bad"]:
            message = "as planned"
            raise PlannedError(message)
        return attempt.end()


@handler("chaos_overtime")
def overrun(payload: dict[str, Any], ctx: JobContext) -> dict[str, str]:
    """Runs past its limit as often as the payload says, with a child that ran away."""
    with alone(payload, ctx) as attempt:
        if ctx.attempt <= payload["bad"]:
            attempt.run_away()
            time.sleep(_FOR_EVER)
        return attempt.end()


@handler("chaos_crash")
def crash(payload: dict[str, Any], ctx: JobContext) -> dict[str, str]:
    """Kills its own worker as often as the payload says, with a child that ran away."""
    with alone(payload, ctx) as attempt:
        if ctx.attempt <= payload["bad"]:
            attempt.run_away()
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt.end()


@handler("chaos_family")
def breed(payload: dict[str, Any], ctx: JobContext) -> dict[str, str]:
    """Works beside children that ran away; leaves them behind when it fails, and when it ends."""
    with alone(payload, ctx) as attempt:
        for _ in range(2):
            attempt.run_away()
        attempt.nap()
        if ctx.attempt <= payload["bad"]:
            message = "as planned, with children"
            raise PlannedError(message)
        return attempt.end()


@handler("chaos_parent")
def add_child(payload: dict[str, Any], ctx: JobContext) -> dict[str, str]:
    """Adds a job by way of its supervisor, once however often it is tried."""
    with alone(payload, ctx) as attempt:
        child = {"place": payload["place"], "ms": 0}
        key = f"child of {ctx.job_id}"
        job_id = ctx.add_job("chaos_quick", child, idempotency_key=key, max_attempts=10, retry_delay=0.2)
        attempt.note("child", str(job_id))
        return attempt.end()


@handler("chaos_group")
def share(payload: dict[str, Any], ctx: JobContext) -> dict[str, str]:
    """Takes one of its group's places, of which there are as many as the group's limit allows."""
    with alone(payload, ctx) as attempt:
        places = Path(payload["place"], "groups")
        for number in range(payload["limit"]):
            seat = os.open(places / f"{payload['group']}.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _locked(seat):
                break
            os.close(seat)
        else:
            attempt.note("crowd", payload["group"])
            return attempt.end()
        try:
            attempt.nap()
            return attempt.end()
        finally:
            os.close(seat)


@handler("chaos_letter")
def read_letter(payload: dict[str, Any], ctx: JobContext) -> dict[str, str]:
    """What a final failure leaves behind."""
    with alone(payload["originalPayload"], ctx) as attempt:
        return attempt.end()


class Attempt:
    """One try at a job, and its pen."""

    def __init__(self, payload: dict[str, Any], ctx: JobContext) -> None:
        self.token = secrets.token_hex(6)
        self._payload = payload
        self._ctx = ctx
        self._journal = os.open(
            Path(payload["place"], "journal"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )

    def note(self, word: str, more: str = "") -> None:
        """One line, in one write."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        line = f"{word} {self._ctx.job_id} {self._ctx.attempt} {self.token} {os.getpid()} {now} {more}".rstrip()
        os.write(self._journal, f"{line}\n".encode())

    def end(self) -> dict[str, str]:
        """Everything is done; what the handler returns."""
        self.note("end")
        return {"token": self.token}

    def nap(self) -> None:
        """The time that the payload says."""
        if self._payload["ms"]:
            time.sleep(self._payload["ms"] / 1_000)

    def run_away(self) -> None:
        """Leave a grandchild in a session of its own that hears no signal and keeps the job's lock."""
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
                    signal.signal(number, signal.SIG_IGN)
                os.write(theirs, b"x")
                os.close(theirs)
                while True:
                    signal.pause()
            os._exit(0)
        os.close(theirs)
        os.read(ours, 1)
        os.close(ours)
        os.waitpid(child, 0)

    def close(self) -> None:
        """Put the pen down."""
        os.close(self._journal)


@contextmanager
def alone(payload: dict[str, Any], ctx: JobContext) -> Iterator[Attempt]:
    """Hold the job's own lock, and say so."""
    attempt = Attempt(payload, ctx)
    lock = os.open(Path(payload["place"], "locks", str(ctx.job_id)), os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)  # noqa: FBT003 - the signature of os
    try:
        if not _locked(lock):
            attempt.note("overlap")
            raise OverlapError
        attempt.note("start")
        yield attempt
    finally:
        os.close(lock)
        attempt.close()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
