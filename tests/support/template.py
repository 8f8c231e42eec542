"""Plays the supervisor for a real template and its real workers, so that both can be tested without a pool."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.wire.frames import FrameReader, frame
from jobwarden.wire.messages import (
    Answer,
    Ask,
    Began,
    Done,
    Fork,
    Forked,
    ForkFailed,
    FromTemplate,
    FromWorker,
    Hello,
    Importing,
    Loaded,
    Prolong,
    Prolonged,
    Run,
    Stop,
    decode_from_template,
    decode_from_worker,
    decode_prolong,
    encode,
    end_mark,
)
from jobwarden.wire.page import PAGE_BYTES, TRUSTED_UNTIL, SharedPage
from jobwarden.wire.template_terms import NO_BOUNDS, TemplateTerms, WorkerBounds, write_terms

if TYPE_CHECKING:
    from collections.abc import Iterator

DAEMON = Path(__file__).parents[2] / "daemon"
LIMIT_SECONDS = 30
_PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def subreaper() -> Iterator[None]:
    """Orphans below the test process become its children, as they become the supervisor's."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(0), 0, 0, 0)


def wait_readable(descriptor: int, *, seconds: float = LIMIT_SECONDS) -> bool:
    """Whether the descriptor (a socket, a pipe, a pidfd) became readable in time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@dataclass
class PlayedWorker:
    """One worker with the supervisor's ends of its sockets."""

    slot: int
    nonce: str
    control: socket.socket
    queue: socket.socket
    queue_far_end: socket.socket
    talk: socket.socket
    capture: int
    dump: int
    latch: int
    pid: int = 0
    pidfd: int = -1
    received: list[FromWorker] = field(default_factory=list)
    _reader: FrameReader = field(default_factory=FrameReader)
    _unread: list[FromWorker] = field(default_factory=list)
    _fence: int = 0

    def send_run(self, job_type: str, payload: object = None, **options: object) -> Run:
        """Put a job into the queue, or on the control stream with `stream=True`."""
        stream = options.pop("stream", False)
        text = options.pop("raw", None)
        self._fence += 1
        fields: dict[str, object] = {
            "job_id": 1000 + self._fence,
            "fence": self._fence,
            "job_type": job_type,
            "payload": text if text is not None else msgspec.json.encode(payload).decode(),
            "attempt": 1,
            "max_attempts": 3,
            "timeout_ms": None,
            **options,
        }
        run = Run(**fields)  # type: ignore[arg-type]
        if stream:
            self.control.sendall(frame(encode(run)))
        else:
            self.queue.send(encode(run))
        return run

    def run(self, job_type: str, payload: object = None, **options: object) -> Done:
        """Run one job to its Done."""
        sent = self.send_run(job_type, payload, **options)
        done = self.wait_done()
        assert (done.job_id, done.fence) == (sent.job_id, sent.fence)
        return done

    def wait_done(self) -> Done:
        """The next Done; Progress before it stays in `received`."""
        while True:
            message = self.next_message()
            if isinstance(message, Done):
                return message

    def next_message(self) -> FromWorker:
        """The next message on the control stream; EOFError at its end."""
        while not self._unread:
            assert wait_readable(self.control.fileno()), "the worker says nothing"
            data = self.control.recv(1 << 20)
            if not data:
                raise EOFError
            self._unread += [decode_from_worker(message) for message in self._reader.feed(data)]
        self.received.append(self._unread.pop(0))
        return self.received[-1]

    def soft_stop(self, *, fence: int | None = None, job_id: int | None = None, why: str = "timeout") -> None:
        """Send Stop for the current attempt, or for another one, then the signal."""
        fence = self._fence if fence is None else fence
        job_id = 1000 + self._fence if job_id is None else job_id
        self.talk.send(encode(Stop(job_id=job_id, fence=fence, why=why)))
        self.signal(signal.SIGUSR1)

    def next_prolong(self) -> Prolong:
        """What the worker asks on the talk socket."""
        assert wait_readable(self.talk.fileno()), "the worker asks for nothing"
        return decode_prolong(self.talk.recv(4096))

    def answer_prolong(self, asked: Prolong, *, granted: bool) -> None:
        """The limit of that attempt was moved, or not."""
        self.talk.send(encode(Prolonged(asked.job_id, asked.fence, granted=granted)))

    def next_ask(self) -> Ask:
        """The next question to the store; what comes before it stays in `received`."""
        while True:
            message = self.next_message()
            if isinstance(message, Ask):
                return message

    def answer(self, number: int, value: str | None, **error: str) -> None:
        """Answer a question."""
        self.control.sendall(frame(encode(Answer(number, value, **error))))

    def admit(self) -> None:
        """Open its latch, as the supervisor does when it has put the worker into its cgroup."""
        latch, self.latch = self.latch, -1
        if latch >= 0:
            os.close(latch)

    def signal(self, number: int) -> None:
        """Send a signal through the pidfd."""
        signal.pidfd_send_signal(self.pidfd, number)

    def captured(self, *, fence: int | None = None) -> str:
        """Everything printed up to the end mark of this attempt, without the mark."""
        mark = end_mark(self.nonce, self._fence if fence is None else fence)
        data = b""
        while mark not in data:
            assert wait_readable(self.capture), f"no end mark after {data!r}"
            data += os.read(self.capture, 65_536)
        text, _, rest = data.partition(mark)
        assert not rest
        return text.decode()

    def wait_exit(self) -> tuple[int, int]:
        """(exit code, signal) of the worker, reaped as our child."""
        assert wait_readable(self.pidfd), "the worker does not end"
        pid, status, _ = os.wait4(self.pid, os.WNOHANG)
        assert pid == self.pid
        self.pid = 0
        return (os.WEXITSTATUS(status), 0) if os.WIFEXITED(status) else (0, os.WTERMSIG(status))

    def close(self) -> None:
        """Kill the worker if it lives, and close our ends."""
        if self.pid:
            self.signal(signal.SIGKILL)
            self.wait_exit()
        for end in (self.control, self.queue, self.queue_far_end, self.talk):
            end.close()
        self.admit()
        for descriptor in (self.capture, self.dump, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)


class PlayedSupervisor:
    """Starts one template on a folder of handlers; use as a context manager."""

    def __init__(
        self,
        handlers: Path,
        *,
        max_output_bytes: int = 1_048_576,
        trusted_seconds: float = 3600,
        bounds: WorkerBounds = NO_BOUNDS,
    ) -> None:
        self._memory = os.memfd_create("page")
        os.ftruncate(self._memory, PAGE_BYTES)
        self.page = SharedPage(self._memory, writable=True)
        self.trust_for(seconds=trusted_seconds)
        self.control, theirs = socket.socketpair()
        self.workers: list[PlayedWorker] = []
        self._reader = FrameReader()
        self._messages: list[FromTemplate] = []
        self._descriptors: list[int] = []
        environment = {**os.environ, "PYTHONPATH": str(DAEMON)}
        snapshot = os.memfd_create("code")
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "jobwarden.worker.template"),
                    write_terms(
                        TemplateTerms(
                            control_fd=theirs.fileno(),
                            page_fd=self._memory,
                            snapshot_fd=snapshot,
                            handlers=str(handlers),
                            generation=1,
                            supervisor_pid=os.getpid(),
                            max_output_bytes=max_output_bytes,
                            bounds=bounds,
                        )
                    ),
                ],
                pass_fds=(theirs.fileno(), self._memory, snapshot),
                env=environment,
            )
        os.close(snapshot)
        self.template_pidfd = os.pidfd_open(self.process.pid)
        while isinstance(loaded := self._next(), Began | Importing):
            pass
        assert isinstance(loaded, Loaded)
        self.loaded = loaded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()
        self.control.close()
        self.process.wait(LIMIT_SECONDS)
        os.close(self.template_pidfd)
        os.close(self._memory)

    def trust_for(self, *, seconds: float) -> None:
        """Move the end of the trust window."""
        self.page[TRUSTED_UNTIL] = SYSTEM_CLOCK.boottime_ns() + int(seconds * SECOND_NS)

    def ask_for_worker(self, *, admit: bool = True) -> PlayedWorker:
        """Send Fork with the worker's ends; the answer is not awaited. Without `admit` its latch stays shut."""
        control, control_theirs = socket.socketpair()
        queue, queue_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        talk, talk_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        capture, capture_theirs = os.pipe()
        dump = os.memfd_create("dump")
        latch_theirs, latch = os.pipe()
        slot = len(self.workers)
        worker = PlayedWorker(slot, f"nonce{slot}", control, queue, queue_theirs, talk, capture, dump, latch)
        self.workers.append(worker)
        ends = [control_theirs.fileno(), queue_theirs.fileno(), talk_theirs.fileno(), capture_theirs, dump]
        ends.append(latch_theirs)
        socket.send_fds(self.control, [frame(encode(Fork(slot=slot, nonce=worker.nonce)))], ends)
        control_theirs.close()
        talk_theirs.close()
        os.close(capture_theirs)
        os.close(latch_theirs)
        if admit:
            worker.admit()
        return worker

    def read_answer(self) -> Forked | ForkFailed:
        """The template's next answer; a worker that was born gets its pid and pidfd."""
        answer = self._next()
        assert isinstance(answer, Forked | ForkFailed)
        if isinstance(answer, Forked):
            worker = self.workers[answer.slot]
            worker.pid, worker.pidfd = answer.pid, self._descriptors.pop(0)
        return answer

    def spawn(self) -> PlayedWorker:
        """A worker that has said hello."""
        worker = self.ask_for_worker()
        answer = self.read_answer()
        assert isinstance(answer, Forked), answer
        hello = worker.next_message()
        assert isinstance(hello, Hello)
        assert (hello.slot, hello.pid) == (worker.slot, worker.pid)
        return worker

    def _next(self) -> FromTemplate:
        while not self._messages:
            assert wait_readable(self.control.fileno()), "the template says nothing"
            data, descriptors, _, _ = socket.recv_fds(self.control, 1 << 20, 1, socket.MSG_CMSG_CLOEXEC)
            assert data, "the template is gone"
            self._descriptors += descriptors
            self._messages += map(decode_from_template, self._reader.feed(data))
        return self._messages.pop(0)


@contextlib.contextmanager
def played(folder: Path, code: str, **options: Any) -> Iterator[PlayedSupervisor]:
    """A supervisor over one handler file with this code; the test process is child subreaper meanwhile."""
    (folder / "played.py").write_text(f"from jobwarden import *\n{textwrap.dedent(code)}")
    with subreaper(), PlayedSupervisor(folder, **options) as supervisor:
        yield supervisor
