"""Waiting for a job's end: woken by the store's doorbell, with a slow look in case a ring was lost.

The ear must exist before the first look, or the end could fall between look and listening.
"""

from __future__ import annotations

import os
import select
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.errors import UnknownJobError, WaitTimeoutError
from jobwarden.store.bell import WAIT, drain

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from jobwarden.clock import Clock
    from jobwarden.jobs import JobRecord
    from jobwarden.store.store import Store

SAFETY_LOOK_SECONDS = 0.25
SELDOM_LOOK_SECONDS = 2.0
"""For the end of a job where notifications are known to arrive; one may be lost with the process that was to send it.

Followers of events look more often: an event may be committed, and rung for, before it may be handed out.
"""


class Patience:
    """How long somebody still wants to wait for one job."""

    def __init__(self, job_id: int, *, seconds: float | None, clock: Clock = SYSTEM_CLOCK) -> None:
        """`seconds` None is without a limit."""
        self._job_id = job_id
        self._seconds = seconds
        self._clock = clock
        self._until_ns = None if seconds is None else clock.monotonic_ns() + int(seconds * SECOND_NS)

    def next_wait_seconds(self, store: Store | None = None) -> float:
        """How long to listen before the next look; raises WaitTimeoutError when the time is over.

        With a store that is waited for nothing but the job's end, which is rung.
        """
        longest = SAFETY_LOOK_SECONDS if store is None or store.watch_seconds is not None else SELDOM_LOOK_SECONDS
        if self._until_ns is None or self._seconds is None:
            return longest
        left_seconds = (self._until_ns - self._clock.monotonic_ns()) / SECOND_NS
        if left_seconds <= 0:
            raise WaitTimeoutError(self._job_id, self._seconds)
        return min(left_seconds, longest)


def wait_until_ended(store: Store, job_id: int, *, seconds: float | None) -> JobRecord:
    """The job, as it is when it has ended. Raises UnknownJobError and WaitTimeoutError."""
    patience = Patience(job_id, seconds=seconds)
    with listening(store) as ear:
        while (record := ended_record(store, job_id)) is None:
            listen(ear, seconds=patience.next_wait_seconds(store))
    return record


def ended_record(store: Store, job_id: int) -> JobRecord | None:
    """The job if it has ended; raises UnknownJobError if there is none.

    The cheap look alone does not do: somebody may retry the job before its record is read.
    """
    if not look(store, job_id):
        return None
    record = store.get(job_id)
    if record is None:
        raise UnknownJobError(job_id)
    return record if record.ended else None


def look(store: Store, job_id: int) -> bool:
    """Whether the job has ended; raises UnknownJobError if there is none."""
    ended = store.has_ended(job_id)
    if ended is None:
        raise UnknownJobError(job_id)
    return ended


@contextmanager
def listening(store: Store) -> Iterator[socket.socket | None]:
    """A socket that becomes readable when jobs end; None where the store has no doorbell for us."""
    bell, owner_pid = store.bell, os.getpid()
    try:
        ear = bell.listen(WAIT) if bell else None
    except OSError:
        ear = None
    try:
        yield ear
    finally:
        if ear and owner_pid != os.getpid():
            ear.close()  # the name belongs to the parent, who still listens
        elif ear and bell:
            bell.leave(ear)


def listen(ear: socket.socket | None, *, seconds: float) -> None:
    """Return at a ring, at the latest after `seconds`."""
    poll = select.poll()
    if ear:
        poll.register(ear, select.POLLIN)
    if poll.poll(seconds * 1_000) and ear:
        drain(ear)
