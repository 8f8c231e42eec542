"""The ground of `Client`: one store for each process, opened at the first call and again after a fork.

What was inherited over a fork is never touched (`store.forks` closes all connections before one). Holds no verb.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Self

from jobwarden.client import arguments
from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.errors import InvalidSettingsError, UnknownJobError
from jobwarden.store.store import open_store

if TYPE_CHECKING:
    from types import TracebackType

    from jobwarden.jobs import JobRecord
    from jobwarden.store.store import Store

URL_VARIABLE = "JOBWARDEN_DATABASE_URL"

_inherited: list[Store] = []
"""Stores of a parent process. Kept for ever: closing one here could harm the parent's connection."""


class Connected:
    """What all groups of verbs stand on; a context manager. A call opens a closed one again."""

    def __init__(self, url: str | None) -> None:
        self._url = url_or_environment(url)
        self._locked = (os.getpid(), threading.Lock())
        self._opened: tuple[int, Store] | None = None

    def close(self) -> None:
        """Give the database connections back."""
        with self._own_lock():
            opened, self._opened = self._opened, None
        if opened:
            _let_go(*opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def store(self) -> Store:
        """This process's store; opened here if need be."""
        with self._own_lock():
            if self._opened and self._opened[0] != os.getpid():
                _let_go(*self._opened)
                self._opened = None
            if self._opened is None:
                self._opened = (os.getpid(), open_store(self._url))
            return self._opened[1]

    def _own_lock(self) -> threading.Lock:
        """A fork may have come while another thread, which is not there any more, held the lock."""
        pid, lock = self._locked
        if pid != os.getpid():
            lock = threading.Lock()
            self._locked = (os.getpid(), lock)
        return lock

    def _existing(self, job_id: int) -> JobRecord:
        record = self.store.get(job_id)
        if record is None:
            raise UnknownJobError(job_id)
        return record


def url_or_environment(url: str | None) -> str:
    """The URL that was given, else that of JOBWARDEN_DATABASE_URL. Raises InvalidSettingsError without both."""
    found = arguments.checked_url(url) or os.environ.get(URL_VARIABLE)
    if not found:
        raise InvalidSettingsError([f"no database is named; give a URL or set {URL_VARIABLE}"])
    return found


def now_us() -> int:
    """The moment that a verb hands to the store."""
    return SYSTEM_CLOCK.now_us()


def _let_go(pid: int, store: Store) -> None:
    if pid == os.getpid():
        store.close()
    else:
        _inherited.append(store)
