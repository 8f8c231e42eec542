"""The worker's end of the talk socket: stops come in, prolongs go out, their answers come back in the same order.

Any thread may read it; what is read is kept here. A granted prolong takes back the stop that came before it. Must
never block without a question of ours under way. Runs in the worker.
"""

from __future__ import annotations

import select
import socket
import threading

from jobwarden.wire.messages import Prolong, Prolonged, Stop, decode_talk, encode

CANCEL = "cancel"
_RECEIVE_BYTES = 4096
_DONTWAIT = socket.MSG_DONTWAIT
_LOOK_MS = 50
"""An answer may be read by another thread, which wakes nobody."""

Attempt = tuple[int, int]


class Talk:
    """One per worker. Attempts are (job id, fence)s: two jobs may well have the same fence."""

    def __init__(self, talk: socket.socket) -> None:
        """`talk` is a SEQPACKET socket."""
        self._socket = talk
        self._lock = threading.RLock()
        self._asked = 0
        self._answered = 0
        self._granted: set[int] = set()
        self._ended = False
        self._in_force: Stop | None = None
        self._last: Stop | None = None

    def in_force(self, attempt: Attempt) -> Stop | None:
        """The Stop that came for this attempt and was not taken back."""
        return _if_for(attempt, self._in_force)

    def ever_stopped(self, attempt: Attempt) -> bool:
        """Whether a Stop came for this attempt, taken back or not."""
        return _if_for(attempt, self._last) is not None

    def read(self) -> None:
        """Take what is there."""
        with self._lock:
            while not self._ended:
                try:
                    data = self._socket.recv(_RECEIVE_BYTES, _DONTWAIT)
                except BlockingIOError:
                    return
                except OSError:  # a handler closed it
                    data = b""
                if data:
                    self._take(decode_talk(data))
                else:
                    self._ended = True

    def _take(self, message: Stop | Prolonged) -> None:
        if isinstance(message, Stop):
            self._in_force = self._last = message
            return
        if message.granted:
            self._granted.add(self._answered)
            stop = self.in_force((message.job_id, message.fence))
            if stop is not None and stop.why != CANCEL:
                self._in_force = None
        self._answered += 1

    def prolong(self, attempt: Attempt, ms: int | None) -> bool:
        """Ask for more time, and wait for the answer; False also if nobody answers any more."""
        with self._lock:
            number = self._asked
            try:
                self._socket.send(encode(Prolong(*attempt, ms)))
            except OSError:
                return False
            self._asked += 1
        self._await(number)
        granted = number in self._granted
        self._granted.discard(number)
        return granted

    def settle(self) -> None:
        """Wait for the answers to all questions that are under way, of whatever thread."""
        self._await(self._asked - 1)

    def _await(self, number: int) -> None:
        if self._answered > number:
            return
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while self._answered <= number and not self._ended:
            poll.poll(_LOOK_MS)
            self.read()


def _if_for(attempt: Attempt, stop: Stop | None) -> Stop | None:
    return stop if stop is not None and (stop.job_id, stop.fence) == attempt else None
