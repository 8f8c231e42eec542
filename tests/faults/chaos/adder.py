"""The process that adds jobs while everything around it breaks.

Run as `python -m tests.faults.chaos.adder URL PLACE SEED RATE`. It writes the id of every accepted job into a journal
of its own. A batch that was refused, or whose commit is unknown, is added again with the same keys until it is
accepted, also when SIGTERM has asked for the end. Now and then it cancels a job, and says so first. Ends with 0 when
everything that it tried is accepted.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from pathlib import Path

from jobwarden.client import Client
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.errors import CommitUnknownError, JobStateError, StoreError, UnknownJobError
from jobwarden.jobs import JobOptions
from tests.faults.chaos.mixture import Mixture

MOST_WAITING = 400
"""Further jobs are added when fewer than this are left to do."""
_PAUSE_SECONDS = 0.2
_LOOK_EVERY_NS = SECOND_NS // 2
_CANCELS = 0.01
"""How many of the batches are followed by a cancel."""
_REMEMBERED = 500


class Adder:
    """`rate`: jobs per second, at most."""

    def __init__(self, client: Client, place: Path, *, seed: int, rate: float) -> None:
        self._client = client
        self._random = random.Random(seed)
        self._mixture = Mixture(self._random, place=str(place))
        self._journal = os.open(place / "accepted", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._rate = rate
        self._ended = threading.Event()
        self._accepted: list[int] = []
        self._look_at_ns = 0
        self._crowded = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self._ended.set())

    def run(self) -> None:
        """Until SIGTERM."""
        while not self._ended.is_set():
            if self._is_crowded():
                self._ended.wait(_PAUSE_SECONDS)
                continue
            batch = self._mixture.batch(self._accepted)
            ids = self._insist(batch)
            for job_id, job in zip(ids, batch, strict=True):
                self._note(f"accepted {job_id} {job.job_type} {job.idempotency_key}")
            self._accepted = (self._accepted + ids)[-_REMEMBERED:]
            if self._random.random() < _CANCELS * len(batch):
                self._cancel(self._random.choice(self._accepted))
            self._ended.wait(len(batch) / self._rate)

    def _insist(self, batch: list[JobOptions]) -> list[int]:
        while True:
            try:
                return self._client.add_jobs(batch)
            except CommitUnknownError:
                self._note("unknown")
            except StoreError as error:
                self._note(f"refused {error}")
            threading.Event().wait(_PAUSE_SECONDS)

    def _cancel(self, job_id: int) -> None:
        self._note(f"cancel {job_id}")
        try:
            self._client.cancel_job(job_id)
        except (StoreError, JobStateError, UnknownJobError) as error:
            self._note(f"refused {error}")

    def _is_crowded(self) -> bool:
        now_ns = SYSTEM_CLOCK.monotonic_ns()
        if now_ns >= self._look_at_ns:
            self._look_at_ns = now_ns + _LOOK_EVERY_NS
            try:
                counts = self._client.counts()
            except StoreError:
                return self._crowded
            waiting = [each.get(status, 0) for each in counts.values() for status in ("pending", "retrying")]
            self._crowded = sum(waiting) > MOST_WAITING
        return self._crowded

    def _note(self, line: str) -> None:
        os.write(self._journal, f"{line}\n".encode())


def main() -> None:
    """Everything is in the arguments."""
    url, place, seed, rate = sys.argv[1:5]
    with Client(url) as client:
        Adder(client, Path(place), seed=int(seed), rate=float(rate)).run()


if __name__ == "__main__":
    main()
