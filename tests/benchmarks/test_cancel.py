"""How long it takes from `cancel_job` until the process of a job that ignores everything is gone (Must show 5)."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from jobwarden.client import Client
from jobwarden.clock import SYSTEM_CLOCK
from tests.benchmarks.measuring import Daemon, percentiles, print_table, seconds_since

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

KILLS = 20
HANDLERS = """
import os, time
from jobwarden import handler

@handler("ignore")
def ignore(payload):
    with open(payload["fifo"], "w") as started:
        started.write(f"{os.getpid()}\\n")
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

@handler("next")
def following(payload):
    return os.getpid()
"""


def cancel_one(client: Client, folder: Path) -> float:
    """One running job that ignores everything is cancelled; milliseconds until its process was gone."""
    fifo = folder / "fifo"
    reader = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)
    try:
        doomed = client.add_job("ignore", {"fifo": str(fifo)}, timeout_ms=600_000)
        following = client.add_job("next", {})
        pidfd = os.pidfd_open(int(os.read(reader, 64)))
    finally:
        os.close(reader)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    began = SYSTEM_CLOCK.monotonic_ns()
    client.cancel_job(doomed)
    assert poll.poll(60_000), "it lives"
    elapsed = seconds_since(began) * 1000
    os.close(pidfd)
    record = client.wait(following, timeout=60)
    assert (record.status, record.attempts) == ("completed", 1), "the next job of the slot was touched"
    assert client.wait(doomed, timeout=60).status == "cancelled"
    return elapsed


@pytest.mark.parametrize("grace", [None, 0], ids=["default", "none"])
def test_cancelling_a_running_job_that_ignores_everything(tmp_path: Path, grace: int | None) -> None:
    """The table shows p50 and p99 from the call to the end of the process, the grace included."""
    os.mkfifo(tmp_path / "fifo")
    flags: dict[str, object] = {} if grace is None else {"kill_grace_seconds": grace}
    daemon = Daemon(tmp_path, workers=1, handlers=HANDLERS, **flags)
    with daemon.running(), Client(daemon.url) as client:
        daemon.wait_for_workers()
        samples = [cancel_one(client, tmp_path) for _ in range(KILLS)]
    median, late = percentiles(samples)
    row: dict[str, object] = {
        "grace_s": 2 if grace is None else grace,
        "kills": KILLS,
        "p50_ms": round(median, 1),
        "p99_ms": round(late, 1),
    }
    print_table("cancel of a running job that ignores everything: call to process gone", [row])
