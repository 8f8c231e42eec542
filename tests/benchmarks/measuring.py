"""One daemon under measurement: real processes, a real SQLite file at FULL, and tables of what was seen."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobOptions
from jobwarden.store import Store, open_store

HANDLERS = """
import os, time
from jobwarden import handler

@handler("noop")
def noop(payload):
    return {"ok": True}

@handler("stamp")
def stamp(payload):
    return time.monotonic_ns()

@handler("nap")
def nap(payload):
    began = time.monotonic_ns()
    time.sleep(0.02)
    return [began, time.monotonic_ns()]

@handler("hang")
def hang(payload):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    time.sleep(600)
"""

FLOOR = Path(__file__).with_name("floor_sqlite.py")


def seconds_since(began_ns: int) -> float:
    """Elapsed time of this machine's monotonic clock."""
    return (SYSTEM_CLOCK.monotonic_ns() - began_ns) / SECOND_NS


class Daemon:
    """A running `jobwarden run` on its own SQLite file."""

    def __init__(self, folder: Path, *, workers: int, handlers: str = HANDLERS, **settings: object) -> None:
        """`settings` are options of `jobwarden run` by their names."""
        self.url = f"sqlite:///{folder}/jobs.db"
        self._folder = folder
        self._workers = workers
        (folder / "handlers").mkdir(exist_ok=True)
        (folder / "handlers" / "measured.py").write_text(handlers)
        self._settings = settings
        self.log = folder / "log"

    @contextlib.contextmanager
    def running(self) -> Iterator[Daemon]:
        """Start it, wait for its workers, and stop it in the end."""
        settings = ["--database-url", self.url, "--handlers", str(self._folder / "handlers")]
        settings += ["--state-dir", str(self._folder / "state"), "--workers", str(self._workers)]
        settings += ["--lease-seconds", "5", "--log-format", "json", "--log-level", "debug"]
        settings += [f"--{name.replace('_', '-')}={value}" for name, value in self._settings.items()]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBWARDEN_")}
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "jobwarden", "run", *settings], stderr=log, env=environment
            )
        try:
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def facts(self, event: str) -> list[dict[str, object]]:
        """What its log says of this kind so far."""
        lines = self.log.read_text().splitlines()
        return [fact for fact in map(json.loads, lines) if fact["event"] == event]

    def wait_for_workers(self) -> None:
        """Until all of them can take jobs."""
        while len(self.facts("worker_born")) < self._workers:
            Event().wait(0.02)

    def report(self) -> dict[str, float]:
        """What the supervisor last wrote about itself; waits for the next beat first."""
        store = open_store(self.url)
        try:
            beat = store.nodes()[0].beat
            while store.nodes()[0].beat < beat + 2:
                Event().wait(0.1)
            return {
                name: float(value)
                for name, value in (store.nodes()[0].report or {}).items()
                if isinstance(value, (int, float))
            }
        finally:
            store.close()


def noop_jobs(count: int) -> list[JobOptions]:
    """The small job of all comparisons: a payload with 64 characters of text."""
    return [JobOptions(job_type="noop", payload={"n": n, "text": "x" * 64}) for n in range(count)]


def completed(store: Store) -> int:
    """How many of the small jobs are completed."""
    return store.counts().get("noop", {}).get("completed", 0)


def floor(count: int, depth: int) -> float:
    """Jobs/s of the bare loop on this machine, now (its own process)."""
    run = subprocess.run([sys.executable, str(FLOOR), str(count), str(depth)], capture_output=True, check=True)
    return float(run.stdout)


def percentiles(samples: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    ordered = sorted(samples)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def print_table(title: str, rows: Sequence[dict[str, object]]) -> None:
    """For people; and the same as one line of JSON for machines."""
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(f"{name}={value}" for name, value in row.items()))
    print(json.dumps({"benchmark": title, "rows": rows}))
