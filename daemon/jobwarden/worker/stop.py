"""The soft stop: SIGUSR1 makes a running handler end by itself, within the grace that the supervisor gives it.

The `Stop` on the talk socket says which attempt is meant; a signal without one, or for another attempt, does nothing.
An exception is raised only while user code runs: plumbing is never interrupted. A signal that comes in the very step
between the two is remembered, not raised, and comes only once (decisions 006 and 009): the hard kill waits for
nothing. While something of ours is half said (`shield`), the stop is delivered right afterwards.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from _signal import getsignal  # type: ignore[import-not-found]  # see restore()
from typing import TYPE_CHECKING

from jobwarden.errors import JobCancelled, JobStopped, JobTimeout
from jobwarden.worker.talk import CANCEL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import CodeType, FrameType, TracebackType

    from jobwarden.wire.messages import Stop
    from jobwarden.worker.talk import Attempt, Talk

STOP_SIGNAL = signal.SIGUSR1
STALLED = "stalled"


class SoftStop:
    """One per worker. `armed` is the attempt whose handler runs now: (job id, fence)."""

    def __init__(self, talk: Talk) -> None:
        """`talk` is read whenever the signal comes."""
        self.talk = talk
        self.armed: Attempt | None = None
        self.task: asyncio.Task[object] | None = None
        """The task to cancel instead of raising, while an async handler runs."""
        self.callbacks: list[Callable[[], None]] = []
        """Called in the main thread when the running attempt has passed its limit, before anything is raised."""
        self.shield = Shield(self)
        self._plumbing: CodeType | None = None
        self._handler = self._on_signal
        self._calling_back = False

    def install(self, plumbing: CodeType) -> None:
        """Begin to listen. `plumbing` is the function that arms and disarms: it is not to be interrupted either."""
        self._plumbing = plumbing
        self.restore()

    def restore(self) -> None:
        """Take the signal back from a handler that used it for itself."""
        # signal.getsignal looks for an enum member first, which costs 14 µs for each job.
        if getsignal(STOP_SIGNAL) is not self._handler:
            signal.signal(STOP_SIGNAL, self._handler)

    def raise_if_stopped(self, attempt: Attempt) -> None:
        """For a Stop that came before the handler was called, or that has cancelled its task."""
        stop = self.talk.in_force(attempt)
        if stop is not None:
            raise _exception_for(stop)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of signal(2)
        if not self.shield.postpones():
            self.deliver(frame)

    def deliver(self, frame: FrameType | None) -> None:
        """End the running attempt if it is to end; `frame` is what is interrupted, None for user code."""
        self.talk.read()
        while (stop := self._in_force()) is not None:
            if frame is not None and frame.f_code is self._plumbing:
                return
            if stop.why != CANCEL and self._calling_back:
                return  # whoever calls them looks again afterwards
            if stop.why != CANCEL and self._is_lifted(stop):
                continue
            if self.task is None:
                raise _exception_for(stop)
            # Interrupting the loop's own code would break it; this wakes it and lets it deliver the cancellation.
            self.task.get_loop().call_soon_threadsafe(self._cancel, self.task, stop)
            return

    def _in_force(self) -> Stop | None:
        return None if self.armed is None else self.talk.in_force(self.armed)

    def _is_lifted(self, stop: Stop) -> bool:
        """Whether the attempt gets more time: a thread's prolong is under way, or a callback asks for it."""
        self.talk.settle()
        if self._in_force() is stop and self.callbacks:
            self._calling_back = True
            try:
                call_all(self.callbacks)
            finally:
                self._calling_back = False
        return self._in_force() is not stop

    def _cancel(self, task: asyncio.Task[object], stop: Stop) -> None:
        if self._in_force() is stop:
            task.cancel()


class Shield:
    """While the main thread is in it, a stop waits: half a message must not stay unsaid. In other threads nothing."""

    def __init__(self, stop: SoftStop) -> None:
        """Made in the main thread."""
        self._stop = stop
        self._main = threading.get_ident()
        self._depth = 0
        self._missed = False

    def postpones(self) -> bool:
        """By the signal handler: whether the stop is delivered at the end of the shield."""
        self._missed = self._depth > 0
        return self._missed

    def __enter__(self) -> None:
        if threading.get_ident() == self._main:
            self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.get_ident() != self._main:
            return
        self._depth -= 1
        if self._missed and not self._depth:
            self._missed = False
            self._stop.deliver(None)


def call_all(callbacks: list[Callable[[], None]]) -> None:
    """Call each; what one raises is printed, and only a stop by the pool gets through."""
    for callback in list(callbacks):
        try:
            callback()
        except JobStopped:
            raise
        except BaseException:  # noqa: BLE001 - user code, called where nobody can catch
            traceback.print_exc(file=sys.stderr)


def _exception_for(stop: Stop) -> JobStopped:
    if stop.why == CANCEL:
        return JobCancelled("the job was cancelled while it ran")
    if stop.why == STALLED:
        return JobTimeout("the job gave no sign of life within its heartbeatTimeoutMs")
    return JobTimeout("the job has passed its timeoutMs")
