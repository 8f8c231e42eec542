"""`store.upkeep`: maintenance by hand, in batches of own transactions, with a pause after each for everybody else.

*Ended* decides what may go, never a status; a live job keeps its history. Reclaiming never takes a job from a living
node: it asks. What the daemon does by itself is in `rounds`.
"""

from __future__ import annotations

import random
import threading
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from jobwarden.clock import SECOND_US
from jobwarden.errors import InvalidJobError
from jobwarden.store.keeping import reclaiming, retention
from jobwarden.store.keeping.retention import DAY_US, ENDS
from jobwarden.store.life import is_free, lock_path
from jobwarden.store.people import reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from jobwarden.store.access import Access

_BATCH = 500
_PAUSE_SECONDS = 0.01
"""Whoever waits for SQLite's lock looks again after some milliseconds; without a pause it would never find it free."""

_MOST_DAYS = 36_500
_MOST_MINUTES = _MOST_DAYS * 24 * 60


class Reclaimed(msgspec.Struct, frozen=True):
    """What became of the jobs that ran for too long, in ascending order each."""

    freed: list[int]
    """Their node is gone: they have been given back (or ended, as their attempts say)."""
    asked: list[int]
    """Their node lives: it is asked to kill them and to give them back."""


class Upkeep:
    """Made by `Store`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def cleanup_old_jobs(self, days: float, now_us: int) -> int:
        """Remove jobs that have ended at least so many days ago, with their events; 0 is all that have ended.

        A job that others still wait for stays. Returns how many; raises InvalidJobError for days that are no number
        from 0 to 36,500.
        """
        before_us = now_us - int(_checked("days", days, most=_MOST_DAYS) * DAY_US)
        total = 0
        for status in ENDS:
            total += self._in_batches(
                partial(
                    retention.remove_old_jobs,
                    sql=self._access.sql,
                    status=status,
                    before_us=before_us,
                    limit=_BATCH,
                    now_us=now_us,
                )
            )
        return total

    def cleanup_old_job_events(self, days: float, now_us: int) -> int:
        """Remove events that are at least so many days old, of jobs that have ended or were removed; how many.

        Raises InvalidJobError as `cleanup_old_jobs`.
        """
        before_us = now_us - int(_checked("days", days, most=_MOST_DAYS) * DAY_US)
        total, last = 0, 0
        while True:
            with self._access.reading() as connection:
                ids = retention.old_events(connection, after_id=last, before_us=before_us, limit=_BATCH)
            if not ids:
                return total
            total += self._access.write(partial(retention.remove_events, ids=ids), ring=False)
            last = ids[-1]
            _pause()

    def reclaim_stuck_jobs(self, minutes: float, now_us: int) -> Reclaimed:
        """Take back jobs that run for longer than this and longer than their own timeoutMs.

        One whose node is gone is freed at once, as lost. One whose node lives is *asked* for: the node kills it, sees
        it dead and gives it back, unless it ends by itself before. Raises InvalidJobError for minutes that are no
        number from 0 to 52,560,000.
        """
        before_us = now_us - int(_checked("minutes", minutes, most=_MOST_MINUTES) * 60 * SECOND_US)
        dead = self._dead_nodes()
        freed: list[int] = []
        asked: list[int] = []
        last_id: int | None = 0
        while last_id is not None:
            reclaim = partial(
                reclaiming.reclaim,
                sql=self._access.sql,
                dead=dead,
                before_us=before_us,
                after_id=last_id,
                limit=_BATCH,
                now_us=now_us,
                jitter=_draw_jitter,
            )
            batch = self._access.write(reclaim)
            freed += batch.freed
            asked += batch.asked
            last_id = batch.last_id
        self._access.ring_waiters()
        return Reclaimed(freed, asked)

    def _in_batches(self, remove: Callable[[Connection], int]) -> int:
        total = 0
        while True:
            number = self._access.write(remove, ring=False)
            total += number
            if number < _BATCH:
                return total
            _pause()

    def _dead_nodes(self) -> set[str]:
        """Nodes with a row that are seen to be dead: their flock is free. Always empty where kernels are not shared."""
        folder = self._access.dialect.side_path("nodes")
        if folder is None or not self._access.dialect.shares_kernel:
            return set()
        with self._access.reading() as connection:
            nodes = reading.all_nodes(connection)
        return {node.node_id for node in nodes if is_free(lock_path(folder, node.node_id))}


def _checked(name: str, value: object, *, most: int) -> float:
    # Not a number (NaN) is not between any two.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    raise InvalidJobError(name, f"{value!r} is not possible; give a number from 0 to {most:,}")


def _pause() -> None:
    threading.Event().wait(_PAUSE_SECONDS)


def _draw_jitter() -> float:
    return random.uniform(0.5, 1)  # noqa: S311 - spreads retries, guards nothing
