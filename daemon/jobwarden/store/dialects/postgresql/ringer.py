"""The thread that sends the rings of a process and hears those of others, on one connection of its own.

It never ends by an error: a server that is away is tried again, after growing pauses. Made by `bell`, told by `orders`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.store.dialects.postgresql.exchange import Exchange

if TYPE_CHECKING:
    from jobwarden.store.dialects.postgresql.exchange import Reach
    from jobwarden.store.dialects.postgresql.line import Line
    from jobwarden.store.dialects.postgresql.orders import Orders

_RETRY_SECONDS = (0.1, 5.0)


class Ringer(threading.Thread):
    """Ends when its orders are over; then the bell makes another one."""

    def __init__(self, reach: Reach, orders: Orders) -> None:
        super().__init__(name="jobwarden-bell", daemon=True)
        self._reach = reach
        self._orders = orders
        self._failures = 0
        self._line: Line | None = None

    def run(self) -> None:
        """Talk to the server, again and again."""
        try:
            while not self._orders.are_over():
                try:
                    self._talk()
                except (psycopg.Error, SQLAlchemyError, OSError):
                    self._pause()
        finally:
            self._orders.let_go()

    def abandon(self) -> None:
        """In a fork: close the copy of the parent's connection without a word on it, which would end it there."""
        self._orders.abandon()
        if self._line is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                os.close(self._line.fileno())

    def _talk(self) -> None:
        line = self._reach.connect()
        try:
            self._line = line
            exchange = Exchange(line, self._orders, self._reach)
            self._failures = 0
            while not self._orders.are_over():
                exchange.turn()
        finally:
            self._line = None
            line.close()

    def _pause(self) -> None:
        self._failures += 1
        self._orders.miss_server()
        pause = min(_RETRY_SECONDS[0] * 2.0 ** min(self._failures, 10), _RETRY_SECONDS[1])
        until_ns = SYSTEM_CLOCK.monotonic_ns() + int(pause * SECOND_NS)
        while (left_ns := until_ns - SYSTEM_CLOCK.monotonic_ns()) > 0 and not self._orders.are_over():
            self._orders.sleep(seconds=left_ns / SECOND_NS, beside=None)
            self._orders.take_owed()
