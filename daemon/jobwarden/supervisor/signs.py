"""Signs of life of the supervisor's threads, for the service manager's watchdog (`announcing`).

A thread gives one whenever it begins or ends to wait for work, or for the database or the kernel, which may keep it as
long as they like: a store that is away must not get the daemon killed. Only a thread that is at its own work for longer
than the bound, or that should have woken up so long ago, gives none. Each sign has one writer, its thread.
"""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jobwarden import events
from jobwarden.clock import SECOND_NS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jobwarden.clock import Clock

_Held = TypeVar("_Held")


class Sign:
    """Of one thread, which writes it."""

    def __init__(self, clock: Clock) -> None:
        """The thread has not begun."""
        self._clock = clock
        self.owed_since_ns: int | None = None
        """Since when the next one is awaited (CLOCK_MONOTONIC; perhaps in the future); None: nobody can say."""

    @contextmanager
    def waiting(self, *, seconds: float | None = None) -> Iterator[None]:
        """Around a wait: it ends after so long, or (None) whenever somebody else lets it. Own work follows."""
        now_ns = self._clock.monotonic_ns()
        self.owed_since_ns = None if seconds is None else now_ns + int(seconds * SECOND_NS)
        try:
            yield
        finally:
            self.owed_since_ns = self._clock.monotonic_ns()

    def rest(self, event: threading.Event, *, seconds: float) -> bool:
        """Wait for this event; whether it came."""
        with self.waiting(seconds=seconds):
            return event.wait(seconds)


def marked(held: _Held, sign: Sign) -> _Held:
    """`held`, a door to the database: in each of its methods the thread waits for somebody else."""
    return cast("_Held", _Marked(held, sign))


class _Marked:
    """Stands in front of an object."""

    def __init__(self, held: object, sign: Sign) -> None:
        self._held = held
        self._sign = sign

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._held, name)
        if not callable(found):
            return found
        made = self._mark(found)
        setattr(self, name, made)
        return made

    def _mark(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*positional: Any, **named: Any) -> Any:
            with self._sign.waiting():
                return method(*positional, **named)

        return call


class Vigil:
    """Sees whether the threads are alive; in the loop's thread."""

    def __init__(self, threads: Sequence[threading.Thread], signs: Mapping[str, Sign], *, bound_seconds: float) -> None:
        """All threads have to be there; `signs` are those of some, by their names."""
        self._threads = threads
        self._signs = signs
        self._bound_ns = int(bound_seconds * SECOND_NS)
        self._missed: set[str] = set()

    def all_well(self, now_ns: int) -> bool:
        """Whether each lives and owes no sign for too long; people are told of the first time that one does."""
        missed = {thread.name for thread in self._threads if not thread.is_alive()}
        missed |= {name for name, sign in self._signs.items() if self._is_overdue(sign.owed_since_ns, now_ns)}
        for name in missed - self._missed:
            events.emit(
                events.Alerted(text=f"the {name} thread gives no sign of life; it is here:\n{self._stack(name)}")
            )
        self._missed = missed
        return not missed

    def _is_overdue(self, since_ns: int | None, now_ns: int) -> bool:
        return since_ns is not None and now_ns - since_ns > self._bound_ns

    def _stack(self, name: str) -> str:
        """Files and lines, no values."""
        frames = sys._current_frames()  # noqa: SLF001 - documented for debuggers
        found = [frames[each.ident] for each in self._threads if each.name == name and each.ident in frames]
        return "".join(traceback.format_stack(found[0])) if found else "it has ended"
