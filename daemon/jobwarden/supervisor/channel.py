"""The supervisor's ends of everything that connects it with one worker. Acts, decides nothing; used by the loop."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.errors import FrameError
from jobwarden.supervisor.capture import Capture
from jobwarden.wire import messages
from jobwarden.wire.frames import LARGEST_FRAME, FrameReader, frame

if TYPE_CHECKING:
    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.supervisor.cgroup import Leaf, Usher

_LARGEST_MESSAGE = 131_072
_READ_BYTES = 262_144
_MOST_HEARD = 64
"""Prolongs in a row; the rest waits for the loop's next turn."""
_MOST_WAITING = 8 * messages.MOST_ASKED
"""Questions without an answer at which a worker is none of ours: more than it asks, with those that it gave up."""
_MOST_UNSENT = 4 * LARGEST_FRAME
_MOST_SILENT_LOOKS = 10
SOFT_SIGNAL = signal.SIGUSR1
DUMP_SIGNAL = signal.SIGUSR2


class Channel:
    """One worker's sockets, pipe, memfd and, once it is born, its pid and pidfd."""

    def __init__(self, slot: int, *, generation: int, tail_bytes: int, leaf: Leaf | None = None) -> None:
        """Make both ends of everything; `worker_ends` go to the template, in the order of FORK_DESCRIPTORS."""
        self.leaf = leaf
        self.slot = slot
        self.generation = generation
        self.nonce = secrets.token_hex(8)
        self.pid: int | None = None
        self.pidfd: int | None = None
        self.reaped = False
        self._began = False
        self.retired = False
        """It was told that it is not needed any more."""
        self.sweep_seen = 0
        """The page's SWEEP_BEGAN word at birth: a later sweep explains a SIGKILL."""
        self.control, self._worker_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._queue, self._queue_back = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.talk, self._worker_talk = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for own in (self.control, self._queue, self.talk):
            own.settimeout(0)
        capture, self._worker_capture = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(capture, False)
        # A handler that runs as another user opens /dev/stderr anew, as shells do: the pipe is ours, but his to write.
        os.fchmod(self._worker_capture, 0o622)
        self.capture = Capture(capture, nonce=self.nonce, tail_bytes=tail_bytes)
        self.dump = os.memfd_create("jobwarden-dump", os.MFD_CLOEXEC)
        fcntl.fcntl(self.dump, fcntl.F_SETFL, os.O_APPEND)
        self._worker_latch, self._latch = os.pipe2(os.O_CLOEXEC)
        self._reader = FrameReader()
        self._silent_looks = 0
        """Since it has written last."""
        self._unsent = bytearray()
        self._asked = 0

    def worker_ends(self) -> list[int]:
        """Descriptors for the worker; the queue's receiving end stays open here as well, to take jobs back."""
        ends = (self._worker_control, self._queue_back, self._worker_talk)
        return [*(end.fileno() for end in ends), self._worker_capture, self.dump, self._worker_latch]

    def born(self, pid: int, pidfd: int, *, usher: Usher) -> None:
        """The worker has its ends; ours of them are closed. It waits for its latch to be opened."""
        self.pid, self.pidfd = pid, pidfd
        self._close_worker_ends()
        latch, self._latch = self._latch, -1
        if self.leaf is None:
            os.close(latch)
        else:
            usher.admit(self.leaf, pid=pid, latch=latch)

    def _close_worker_ends(self) -> None:
        self._worker_control.close()
        self._worker_talk.close()
        if self._worker_capture >= 0:
            os.close(self._worker_capture)
            os.close(self._worker_latch)
            self._worker_capture = -1

    def send(self, job: ClaimedJob) -> None:
        """Put the job into the worker's queue; a large one goes on the control stream (BlockingIOError: queue full)."""
        message = messages.encode(
            messages.Run(
                *(job.id, job.fence, job.job_type, job.payload, job.attempts, job.max_attempts, job.timeout_ms),
                force_kill_on_timeout=job.force_kill_on_timeout == 1,
                heartbeat_timeout_ms=job.heartbeat_timeout_ms,
            )
        )
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its death is seen through the pidfd
            if len(message) > messages.LARGEST_QUEUED or not self._queued(message):
                self._unsent += frame(message)
                self.flush()

    def _queued(self, message: bytes) -> bool:
        """False where the machine's socket buffers are too small for this message: it takes the stream then."""
        try:
            self._queue.send(message)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            return False
        return True

    def answer(self, answer: messages.Answer) -> None:
        """Send the answer to what the worker's job asked, behind whatever is still on its way."""
        self._asked -= 1
        self._unsent += frame(messages.encode(answer))
        self.flush()

    def retire(self) -> None:
        """Tell the idle worker to do what it has to do before it ends, and to end."""
        self.retired = True
        self._unsent += frame(messages.encode(messages.Retire()))
        self.flush()

    def tell_hooks_at_start(self, *, marked: bool) -> None:
        """What `on_worker_start` printed goes to the log; it belongs to no attempt. Only once: a handler can lie."""
        text = self.capture.cut(messages.HOOKS_FENCE) if marked and not self._began else None
        self._began = True
        if text:
            events.emit(events.HooksSaid(slot=self.slot, pid=self.pid or 0, text=text))

    def last_words(self) -> str | None:
        """By the dead worker: what its attempt printed, if it had one; a retired one's are its hooks'."""
        text = self.capture.rest()
        if text and self.retired:
            events.emit(events.HooksSaid(slot=self.slot, pid=self.pid or 0, text=text))
        return text

    def note_ask(self) -> None:
        """The worker asks something. Raises FrameError if it asks on and on, or reads no answer: memory has an end."""
        self._asked += 1
        if self._asked > _MOST_WAITING or len(self._unsent) > _MOST_UNSENT:
            text = f"worker {self.pid} asks more than it waits for the answers to"
            raise FrameError(text)

    def kill(self) -> None:
        """End the worker alone, at once; what follows is seen through its pidfd."""
        self.signal(signal.SIGKILL)

    @property
    def unsent(self) -> bool:
        """Whether something did not fit into the stream's buffer: `flush` when the stream takes more."""
        return bool(self._unsent)

    def flush(self) -> bool:
        """Send what is left of large jobs and answers; True when nothing is left."""
        while self._unsent:
            try:
                sent = self.control.send(self._unsent)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                self._unsent.clear()
                break
            del self._unsent[:sent]
        return True

    def take_back(self) -> tuple[tuple[int, int], ...]:
        """Receive from the worker's own end: the attempts that the worker has not got and never will (R8)."""
        attempts: list[tuple[int, int]] = []
        while True:
            try:
                message = self._queue_back.recv(_LARGEST_MESSAGE, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionResetError):
                return tuple(attempts)
            if not message:
                return tuple(attempts)
            run = messages.decode_run(message)
            attempts.append((run.job_id, run.fence))

    def stop_softly(self, attempt: tuple[int, int], why: str) -> None:
        """Say which attempt is meant, then signal."""
        with contextlib.suppress(OSError):  # a full or broken talk socket: the hard kill does not wait for it
            self.talk.send(messages.encode(messages.Stop(*attempt, why)))
        self.signal(SOFT_SIGNAL)

    def hear_talk(self) -> list[messages.Prolong]:
        """What the worker asks on the talk socket. Raises FrameError for garbage, EOFError at its end."""
        found: list[messages.Prolong] = []
        while len(found) < _MOST_HEARD:
            try:
                data = self.talk.recv(_READ_BYTES)
            except BlockingIOError:
                return found
            except ConnectionResetError:
                raise EOFError from None
            if not data:
                raise EOFError
            try:
                found.append(messages.decode_prolong(data))
            except ValueError as error:
                text = f"worker {self.pid} wrote no message of ours: {error}"
                raise FrameError(text) from error
        return found

    def answer_prolong(self, attempt: tuple[int, int], *, granted: bool) -> None:
        """Say whether the limit of this attempt was moved."""
        with contextlib.suppress(OSError):  # it reads nothing, or is gone: then it needs no answer
            self.talk.send(messages.encode(messages.Prolonged(*attempt, granted)))

    def signal(self, number: signal.Signals) -> None:
        """Signal the worker through its pidfd; nothing if it is dead."""
        if self.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def receive(self) -> tuple[list[messages.FromWorker], bool]:
        """What the worker has written, and whether its end is closed. Raises FrameError for garbage."""
        try:
            data = self.control.recv(_READ_BYTES)
        except BlockingIOError:
            return [], False
        except ConnectionResetError:
            return [], True
        if not data:
            return [], True
        self._silent_looks = 0
        try:
            return [messages.decode_from_worker(each) for each in self._reader.feed(data)], False
        except (ValueError, FrameError) as error:
            text = f"worker {self.pid} wrote no message of ours: {error}"
            raise FrameError(text) from error

    def is_torn(self) -> bool:
        """Asked about once a second: whether it has begun a message and has long written nothing more of it.

        Whatever it says from then on would be taken for the rest of that message: the end of its job was never heard.
        """
        self._silent_looks += 1
        return self._reader.pending > 0 and self._silent_looks > _MOST_SILENT_LOOKS

    def close(self) -> None:
        """Give all descriptors back."""
        self._close_worker_ends()
        for own in (self.control, self._queue, self._queue_back, self.talk):
            own.close()
        os.close(self.capture.descriptor)
        os.close(self.dump)
        if self._latch >= 0:
            os.close(self._latch)
        if self.leaf is not None:
            self.leaf.remove()
        if self.pidfd is not None:
            os.close(self.pidfd)
