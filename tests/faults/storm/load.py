"""The jobs that run meanwhile: a thread that adds short ones without a pause, and now and then one that lasts."""

from __future__ import annotations

import random
import threading

from jobwarden.client import Client
from jobwarden.jobs import JobOptions

_BATCH_SECONDS = 0.1
_LONGEST_SECONDS = 3.0
_MOST_LASTING = 2
"""At a time, so that short ones always find a worker."""


class Load(threading.Thread):
    """`rate`: short jobs per second."""

    def __init__(self, client: Client, *, rate: float, seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self.accepted: list[int] = []
        self.failure: BaseException | None = None
        self._client = client
        self._batch = max(1, int(rate * _BATCH_SECONDS))
        self._random = random.Random(seed)
        self._ended = threading.Event()

    def run(self) -> None:
        """Until `end`."""
        try:
            while not self._ended.wait(_BATCH_SECONDS):
                self._add()
        except BaseException as error:  # noqa: BLE001 - the thread's edge: told to whoever waits
            self.failure = error

    def _add(self) -> None:
        jobs = [JobOptions(job_type="quick", payload={}, max_attempts=1)] * self._batch
        if self._random.random() < _MOST_LASTING * _BATCH_SECONDS / _LONGEST_SECONDS:
            seconds = self._random.uniform(0, _LONGEST_SECONDS)
            jobs = [*jobs, JobOptions(job_type="lasting", payload={"seconds": seconds}, max_attempts=1)]
        self.accepted += self._client.add_jobs(jobs)

    def end(self) -> list[int]:
        """No more jobs; the ids of all."""
        self._ended.set()
        self.join()
        if self.failure is not None:
            raise self.failure
        return self.accepted
