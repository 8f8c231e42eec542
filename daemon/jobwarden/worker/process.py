"""The worker: takes one job after the other from its queue and answers each with a `Done` before it takes the next.

Hooks of the handler files are called before the first job and, where the supervisor leaves it the time, after the last.
It never opens a store, and it leaves only through `os._exit`: at the end of its control socket, when it is no child
of the supervisor any more, or when the trust window has passed. Entered by the template's grandchild.
"""

from __future__ import annotations

import os
import resource
import select
import socket
from typing import TYPE_CHECKING, NoReturn

import msgspec
from setproctitle import setproctitle

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.errors import FrameError
from jobwarden.wire.exits import EXIT_BROKEN_WIRE, EXIT_UNREADY, EXIT_UNTRUSTED
from jobwarden.wire.messages import (
    LARGEST_QUEUED,
    MEMORY,
    Done,
    Hello,
    Run,
    Unready,
    decode_run,
    encode,
)
from jobwarden.wire.page import TRUSTED_UNTIL
from jobwarden.worker.attempt import Attempts
from jobwarden.worker.bounds import Bounds, processes_of
from jobwarden.worker.capture import Capture
from jobwarden.worker.children import Children
from jobwarden.worker.context import JobContext
from jobwarden.worker.control import Control
from jobwarden.worker.descriptors import are_scarce
from jobwarden.worker.exchange import Exchange
from jobwarden.worker.readiness import Readiness
from jobwarden.worker.settling import settle
from jobwarden.worker.stop import SoftStop
from jobwarden.worker.talk import Talk

if TYPE_CHECKING:
    from jobwarden.wire.messages import Failure
    from jobwarden.wire.page import SharedPage
    from jobwarden.worker.loader import LoadedCode
    from jobwarden.worker.settling import Birth

_DONTWAIT = socket.MSG_DONTWAIT
_MICROSECONDS = 1_000_000


def live(birth: Birth, *, code: LoadedCode, page: SharedPage) -> NoReturn:
    """The whole life of a worker."""
    own = settle(birth)
    capture = Capture(own["capture"], nonce=birth.nonce)
    capture.install()
    control = socket.socket(fileno=own["control"])
    control.settimeout(None)
    stop = SoftStop(Talk(socket.socket(fileno=own["talk"])))
    bounds = Bounds(birth.bounds)
    attempts = Attempts(code.handlers, stop=stop, bounds=bounds, max_output_bytes=birth.max_output_bytes)
    exchange = Exchange(Control(control), stop=stop)
    title = f"jobwarden: worker g{birth.generation}"
    readiness = Readiness(code, attempts=attempts, capture=capture, title=title)
    try:
        _make_ready(readiness, exchange.control)
        bounds.set()
        worker = Worker(birth, exchange=exchange, queue=socket.socket(fileno=own["queue"]), page=page)
        worker.serve(attempts, capture=capture, readiness=readiness, bounds=bounds)
    except (BrokenPipeError, ConnectionResetError):  # the supervisor is gone or has given us up
        os._exit(0)
    except (OSError, FrameError, msgspec.MsgspecError):  # garbage, or a handler closed our descriptors
        os._exit(EXIT_BROKEN_WIRE)


def _make_ready(readiness: Readiness, control: Control) -> None:
    problem = readiness.begin()
    if problem is not None:
        control.send(encode(Unready(problem=problem, marked=readiness.marked)))
        os._exit(EXIT_UNREADY)


class Worker:
    """The loop around the attempts."""

    def __init__(self, birth: Birth, *, exchange: Exchange, queue: socket.socket, page: SharedPage) -> None:
        self._birth = birth
        self._exchange = exchange
        self._control = exchange.control
        self._stop = exchange.stop
        self._queue = queue
        self._page = page
        self._buffer = memoryview(bytearray(LARGEST_QUEUED + 1))
        self._poll = select.poll()
        self._poll.register(queue, select.POLLIN)
        self._poll.register(exchange.control, select.POLLIN)
        self._idle_title = f"jobwarden: worker g{birth.generation} [idle]"
        self._pid = exchange.pid
        self._children = Children()
        self._cpu_seconds = 0.0

    def serve(self, attempts: Attempts, *, capture: Capture, readiness: Readiness, bounds: Bounds) -> NoReturn:
        """Say hello, then one job after the other until the control socket ends, or until it is not needed any more."""
        setproctitle(self._idle_title)
        self._control.send(encode(self._hello(readiness, bounds)))
        self._usage()
        retire = False
        while not retire:
            run = self._take()
            if run is None:
                readiness.end()
                os._exit(0)
            if self._page[TRUSTED_UNTIL] <= SYSTEM_CLOCK.boottime_ns():
                os._exit(EXIT_UNTRUSTED)
            done = self._perform(run, attempts=attempts, capture=capture, bounds=bounds)
            self._control.send(encode(done))
            retire = done.retire
        self._await_death()

    def _hello(self, readiness: Readiness, bounds: Bounds) -> Hello:
        return Hello(
            self._birth.slot,
            self._pid,
            marked=readiness.marked,
            takes_leave=readiness.takes_leave,
            memory_kb=bounds.memory_kb(self._children.own),
            processes=processes_of(self._children.own),
        )

    def _take(self) -> Run | None:
        """The next job; None once there will be none."""
        while not self._control.retired:
            if self._control.runs:  # came while the last job asked for something
                return self._control.runs.popleft()
            try:
                size = self._queue.recv_into(self._buffer, 0, _DONTWAIT)
            except BlockingIOError:
                run = self._wait()
                if run is not None:
                    return run
            else:
                if size == 0:
                    os._exit(0)
                return decode_run(self._buffer[:size])
        return None

    def _wait(self) -> Run | None:
        """Until a job is in the queue (None), or a large one has come on the control stream."""
        setproctitle(self._idle_title)
        ready = [descriptor for descriptor, _ in self._poll.poll()]
        return self._control.next_run() if self._control.fileno() in ready else None

    def _perform(self, run: Run, *, attempts: Attempts, capture: Capture, bounds: Bounds) -> Done:
        setproctitle(f"jobwarden: worker g{self._birth.generation} {run.job_type} #{run.job_id}")
        context = self._context_of(run)
        started_ns = self._exchange.since_ns
        output, failure = attempts.run(run, context)
        ended_ns = SYSTEM_CLOCK.monotonic_ns()
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the handler forked and let return: the worker is its parent
        context.flush_progress()
        self._exchange.end()
        self._stop.restore()
        children = self._children.left_behind()
        cpu_us, peak_rss_kb = self._usage()
        return Done(
            job_id=run.job_id,
            fence=run.fence,
            started_ns=started_ns,
            ended_ns=ended_ns,
            cpu_us=cpu_us,
            peak_rss_kb=peak_rss_kb,
            marked=capture.finish(run.fence, lived_ns=ended_ns - started_ns),
            output=output,
            failure=failure,
            left_behind=children,
            retire=bool(children) or self._is_ruined(run, failure),
            memory_kb=bounds.memory_kb(self._children.own),
        )

    def _is_ruined(self, run: Run, failure: Failure | None) -> bool:
        """A soft stop or a failed allocation may have struck anywhere: nobody knows in which state things are.

        Nor may a job that has kept all descriptors leave the next one without.
        """
        if (failure is not None and failure.kind == MEMORY) or are_scarce():
            return True
        return self._stop.talk.ever_stopped((run.job_id, run.fence))

    def _context_of(self, run: Run) -> JobContext:
        return JobContext(
            job_id=run.job_id,
            job_type=run.job_type,
            attempt=run.attempt,
            max_attempts=run.max_attempts,
            fence=run.fence,
            timeout_ms=run.timeout_ms,
            max_output_bytes=self._birth.max_output_bytes,
            heartbeat_timeout_ms=run.heartbeat_timeout_ms,
            line=self._exchange.begin(run),
        )

    def _usage(self) -> tuple[int, int]:
        """CPU time since the last call in microseconds, and the peak of resident memory so far in kilobytes."""
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        total = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
        spent, self._cpu_seconds = total - self._cpu_seconds, total
        return int(spent * _MICROSECONDS), max(own.ru_maxrss, children.ru_maxrss)

    def _await_death(self) -> NoReturn:
        """A retired worker takes no job; the supervisor kills it with what it left behind."""
        setproctitle(f"jobwarden: worker g{self._birth.generation} [retired]")
        self._control.await_end()
        os._exit(0)
