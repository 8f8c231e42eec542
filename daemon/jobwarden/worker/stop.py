"""The soft stop: SIGUSR1 makes a running handler end by itself, within the grace that the supervisor gives it.

The `Stop` on the talk socket says which attempt is meant; a signal without one, or for another attempt, does nothing.
An exception is raised only while user code runs: plumbing is never interrupted. A signal that comes in the very step
between the two is remembered, not raised, and comes only once (decision 006): the hard kill waits for nothing.
"""

from __future__ import annotations

import signal
import socket
from _signal import getsignal  # type: ignore[import-not-found]  # see restore()
from typing import TYPE_CHECKING

from jobwarden.errors import JobCancelled, JobStopped, JobTimeout
from jobwarden.wire.messages import Stop, decode_stop

if TYPE_CHECKING:
    import asyncio
    from types import CodeType, FrameType

STOP_SIGNAL = signal.SIGUSR1
CANCEL = "cancel"
_RECEIVE_BYTES = 4096
_DONTWAIT = socket.MSG_DONTWAIT


class SoftStop:
    """One per worker. `armed` is the attempt whose handler runs now: (job id, fence)."""

    def __init__(self, talk: socket.socket) -> None:
        self._talk = talk
        self._plumbing: CodeType | None = None
        self._received: Stop | None = None
        self._handler = self._on_signal
        self.armed: tuple[int, int] | None = None
        self.task: asyncio.Task[object] | None = None
        """The task to cancel instead of raising, while an async handler runs."""

    def install(self, plumbing: CodeType) -> None:
        """Begin to listen. `plumbing` is the function that arms and disarms: it is not to be interrupted either."""
        self._plumbing = plumbing
        self.restore()

    def restore(self) -> None:
        """Take the signal back from a handler that used it for itself."""
        # signal.getsignal looks for an enum member first, which costs 14 µs for each job.
        if getsignal(STOP_SIGNAL) is not self._handler:
            signal.signal(STOP_SIGNAL, self._handler)

    def stopped(self, attempt: tuple[int, int]) -> Stop | None:
        """The Stop that came for this attempt, if one did. Two jobs may well have the same fence."""
        received = self._received
        return received if received is not None and (received.job_id, received.fence) == attempt else None

    def raise_if_stopped(self, attempt: tuple[int, int]) -> None:
        """For a Stop that came before the handler was called."""
        received = self.stopped(attempt)
        if received is not None:
            raise _exception_for(received)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of signal(2)
        self._read_talk()
        received = None if self.armed is None else self.stopped(self.armed)
        if received is None:
            return
        if frame is not None and frame.f_code is self._plumbing:
            return
        if self.task is None:
            raise _exception_for(received)
        # Interrupting the loop's own code would break it; this wakes it and lets it deliver the cancellation.
        self.task.get_loop().call_soon_threadsafe(self.task.cancel)

    def _read_talk(self) -> None:
        while True:
            try:
                data = self._talk.recv(_RECEIVE_BYTES, _DONTWAIT)
            except OSError:  # nothing there, or the supervisor is gone
                return
            if not data:
                return
            self._received = decode_stop(data)


def _exception_for(stop: Stop) -> JobStopped:
    if stop.why == CANCEL:
        return JobCancelled("the job was cancelled while it ran")
    return JobTimeout("the job has passed its timeoutMs")
