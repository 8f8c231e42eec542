"""Listeners: callbacks by the name of an event, called in one thread per client that follows the events.

A listener that raises stops nobody: its error goes to the listeners of job:error, without any to `warnings`. The
thread begins with the first listener, ends with the last, and is not there in a fork, whose copy starts empty.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jobwarden.client import waiting
from jobwarden.client.tracking import Track
from jobwarden.errors import InvalidJobError, StoreError

if TYPE_CHECKING:
    from jobwarden.jobs.history import FeedEvent
    from jobwarden.store.store import Store

Callback: TypeAlias = Callable[[dict[str, Any]], object]

ERROR = "job:error"
EVENTS = ("added", "processing", "completed", "failed", "cancelled", "retried", "waiting", "progress")
NAMES = (*(f"job:{event}" for event in EVENTS), ERROR)

_LEAVE_SECONDS = 5.0


class _Listener(NamedTuple):
    name: str
    callback: Callback
    once: bool


class _State:
    """What one process has; a fork begins with a new one, whatever its parent's threads were holding."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.listeners: list[_Listener] = []
        self.follower: _Follower | None = None


class Listeners:
    """The listeners of one client. Safe to share between threads."""

    def __init__(self, store: Callable[[], Store]) -> None:
        """`store` gives this process's store."""
        self._store = store
        self._state = _State()

    def add(self, name: str, callback: Callback, *, once: bool) -> None:
        """Whatever is committed after this returned is heard. Raises InvalidJobError, StoreUnavailableError."""
        listener = _Listener(_checked_name(name), checked_callback(callback), once)
        store, state = self._store(), self._own()
        with state.lock:
            if state.follower is None or not state.follower.is_alive():
                state.follower = _Follower(self, store)
                state.follower.start()
            state.listeners.append(listener)

    def remove(self, name: str, callback: Callback) -> None:
        """Forget one; nothing happens if it is not there."""
        name, state = _checked_name(name), self._own()
        with state.lock:
            for listener in state.listeners:
                if listener.name == name and listener.callback == callback:
                    state.listeners.remove(listener)
                    return

    def remove_all(self, name: str | None) -> None:
        """Forget those of a name, None: all."""
        wanted, state = None if name is None else _checked_name(name), self._own()
        with state.lock:
            state.listeners = [each for each in state.listeners if wanted not in {None, each.name}]

    def close(self) -> None:
        """Forget all and end the thread; from within a listener, it ends after that one."""
        state = self._own()
        with state.lock:
            state.listeners = []
            follower, state.follower = state.follower, None
        if follower is not None:
            follower.leave()

    def call(self, name: str, data: dict[str, Any]) -> None:
        """Call all listeners of this name, one after another."""
        for listener in self._taken(name):
            try:
                listener.callback(data)
            except BaseException as error:  # noqa: BLE001 - anybody's code (sys.exit too); it must not stop the others
                self.report(error, during=name, about=data)

    def report(self, error: BaseException, *, during: str, about: dict[str, Any] | None = None) -> None:
        """To the listeners of job:error; an error in one of those, or without any, becomes a warning."""
        hearers = self._taken(ERROR)
        if not hearers:
            _warn(error, during=during)
        for listener in hearers:
            try:
                listener.callback({**(about or {}), "error": error, "during": during})
            except BaseException as second:  # noqa: BLE001 - as above
                _warn(second, during=ERROR)

    def is_deserted(self, follower: _Follower) -> bool:
        """Whether there is nobody to call, asked by the thread, which then ends."""
        state = self._own()
        with state.lock:
            if state.follower is not follower:
                return True
            if not state.listeners:
                state.follower = None
            return not state.listeners

    def _taken(self, name: str) -> list[_Listener]:
        """Those to be called now; those for once are gone with that."""
        state = self._own()
        with state.lock:
            found = [each for each in state.listeners if each.name == name]
            state.listeners = [each for each in state.listeners if not (each.once and each.name == name)]
        return found

    def _own(self) -> _State:
        if self._state.pid != os.getpid():
            self._state = _State()
        return self._state


class _Follower(threading.Thread):
    """Follows the events of all jobs from the moment on at which it was made."""

    def __init__(self, listeners: Listeners, store: Store) -> None:
        super().__init__(name="jobwarden-listeners", daemon=True)
        self._listeners = listeners
        self._store = store
        self._track = Track(store, after=None, follow=True, idle_seconds=None)
        self._away = False

    def run(self) -> None:
        """Until there is nobody to call."""
        with waiting.listening(self._store) as ear:
            while not self._listeners.is_deserted(self):
                if not self._hand_on():
                    waiting.listen(ear, seconds=waiting.SAFETY_LOOK_SECONDS)

    def leave(self) -> None:
        """Wait for its end, which the next look brings; somebody else's callback may hold it up."""
        if threading.current_thread() is not self:
            if self._store.bell:
                self._store.bell.ring_waiters()
            self.join(_LEAVE_SECONDS)

    def _hand_on(self) -> bool:
        """Whether there was anything."""
        try:
            found = self._track.next_batch()
        except StoreError as error:
            if not self._away:
                self._listeners.report(error, during="following")
            self._away = True
            return False
        self._away = False
        for event in found:
            self._track.advance(event)
            if event.type in EVENTS:
                self._listeners.call(f"job:{event.type}", _told(event))
            if self._listeners.is_deserted(self):
                return False
        return bool(found)


def _told(event: FeedEvent) -> dict[str, Any]:
    data: dict[str, Any] = {"jobId": event.job_id, "jobType": event.job_type, "at": event.at}
    match event.type:
        case "failed":
            data |= {"error": event.metadata.get("error"), "willRetry": bool(event.metadata.get("willRetry"))}
        case "progress":
            data["progress"] = event.metadata.get("percent")
        case _:
            pass
    return data


def _warn(error: BaseException, *, during: str) -> None:
    # Whoever makes errors of warnings must not end the thread with one.
    with contextlib.suppress(Warning):
        text = f"jobwarden: {type(error).__name__} while listening ({during}): {error}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or name not in NAMES:
        raise InvalidJobError("name", f"is no event to listen to; use {', '.join(NAMES)}")
    return name


def checked_callback(callback: object) -> Callback:
    """Something that can be called. Raises InvalidJobError."""
    if not callable(callback):
        raise InvalidJobError("callback", f"is a {type(callback).__name__}; give a function that takes one dict")
    return callback
