"""The worker's end of the control stream: everything it says, large jobs, and the answers to what handlers ask.

Whole messages only: a frame that is half written or half taken would put the stream out of step, so both happen under
the shield that holds soft stops back. Waiting for an answer is not shielded. Runs in the worker.
"""

from __future__ import annotations

import itertools
import os
import queue
import select
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from jobwarden.errors import FrameError, JobwardenError
from jobwarden.wire.exits import EXIT_BROKEN_WIRE
from jobwarden.wire.frames import FrameReader, frame
from jobwarden.wire.messages import MOST_ASKED, Answer, Ask, Retire, Run, decode_to_worker, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.worker.stop import Shield

_RECEIVE_BYTES = 65_536
_DONTWAIT = socket.MSG_DONTWAIT
_LOOK_MS = 50
"""An answer may be read by another thread, which wakes nobody."""


class Control:
    """One per worker. `runs` are jobs that came on this stream and were not begun."""

    def __init__(self, control: socket.socket) -> None:
        """A blocking stream socket."""
        self._socket = control
        self._reader = FrameReader()
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: set[int] = set()
        self._answers: dict[int, Answer] = {}
        # Tokens, not a semaphore: the handler of the soft stop may come in the middle, and its callbacks may ask too.
        self._turns: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(MOST_ASKED):
            self._turns.put(None)
        self._open = False
        self.runs: deque[Run] = deque()
        self.retired = False
        """The supervisor does not need this worker any more: no job follows."""

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def send(self, message: bytes) -> None:
        """Write one message in full."""
        with self._sending:
            self._socket.sendall(frame(message))

    def send_while(self, running: Callable[[], bool], message: bytes) -> bool:
        """Write it before the end of the job, or not at all: a thread may wait here until the next job runs."""
        with self._sending:
            if not running():
                return False
            self._socket.sendall(frame(message))
            return True

    def await_end(self) -> None:
        """Until the supervisor closes its end; what comes is not read as anything."""
        while self._socket.recv(_RECEIVE_BYTES):
            pass

    # between jobs

    def next_run(self) -> Run | None:
        """By the idle worker, when the stream is readable: the job that has come, waiting for all of it."""
        while True:
            self._take(self._socket.recv(_RECEIVE_BYTES))
            if self.runs:
                return self.runs.popleft()
            if not self._reader.pending:
                return None  # an answer that nobody waits for any more, or `retired`

    # while a job runs

    def open(self) -> None:
        """A job runs: its threads may read answers."""
        self._open = True

    def close(self) -> None:
        """It has ended: from here on only the idle worker reads, or a thread that stayed would take its next job."""
        self._open = False
        if self._waiting:
            with self._receiving:  # until nobody is at it
                return

    def ask(
        self, fence: int, verb: str, arguments: str, *, shield: Shield, running: Callable[[], bool]
    ) -> Answer | None:
        """Ask the supervisor and wait for its answer; from any thread. None: the job is not `running` any more."""
        self._turns.get()
        number = next(self._numbers)
        self._waiting.add(number)
        try:
            with shield:
                sent = self.send_while(running, encode(Ask(fence, number, verb, arguments)))
            return self._await(number, shield=shield) if sent else None
        finally:
            self._waiting.discard(number)
            self._answers.pop(number, None)
            self._turns.put(None)

    def _await(self, number: int, *, shield: Shield) -> Answer:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while (answer := self._answers.get(number)) is None:
            poll.poll(_LOOK_MS)
            with shield, self._receiving:
                self._receive()
        return answer

    def _receive(self) -> None:
        if not self._open:
            message = "the job has ended, so nobody waits for an answer any more"
            raise JobwardenError(message)
        try:
            data = self._socket.recv(_RECEIVE_BYTES, _DONTWAIT)
        except BlockingIOError:  # another thread was quicker
            return
        try:
            self._take(data)
        except (FrameError, msgspec.MsgspecError):  # nobody here could put the stream into step again
            os._exit(EXIT_BROKEN_WIRE)

    def _take(self, data: bytes) -> None:
        if not data:
            os._exit(0)  # the supervisor is gone, or has given us up
        for each in self._reader.feed(data):
            message = decode_to_worker(each)
            if isinstance(message, Run):
                self.runs.append(message)
            elif isinstance(message, Retire):
                self.retired = True
            elif message.number in self._waiting:
                self._answers[message.number] = message
