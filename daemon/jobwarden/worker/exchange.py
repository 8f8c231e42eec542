"""What the handlers of one worker say and ask goes through here; a line of each attempt of its own.

A line whose attempt has ended is dead: a thread that outlives its job must not speak for the next one. Nor does a
process that a handler has forked: two readers of one socket would take each other's answers. Runs in the worker.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from jobwarden import errors
from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.errors import JobwardenError
from jobwarden.wire.messages import Heartbeat, Progress, encode
from jobwarden.worker.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.wire.messages import Answer, Run
    from jobwarden.worker.control import Control
    from jobwarden.worker.stop import Shield, SoftStop
    from jobwarden.worker.watch import LimitWatch


class Exchange:
    """One per worker."""

    def __init__(self, control: Control, *, stop: SoftStop) -> None:
        """`control` and the talk socket of `stop` are the ways to the supervisor."""
        self.control = control
        self.stop = stop
        self.pid = os.getpid()
        self.running: Run | None = None
        self.since_ns = 0
        self.watch: LimitWatch | None = None

    def begin(self, run: Run) -> AttemptLine:
        """The handler of this job runs from now on."""
        self.running = run
        self.control.open()
        self.since_ns = SYSTEM_CLOCK.monotonic_ns()
        return AttemptLine(self, run)

    def end(self) -> None:
        """It has ended: its line is dead, its callbacks are forgotten."""
        self.running = None
        self.control.close()
        if self.stop.callbacks:
            self.stop.callbacks = []
        if self.watch is not None:
            self.watch.end()
            self.watch = None


class AttemptLine(Line):
    """One attempt's; usable from any thread of its handler."""

    __slots__ = ("_exchange", "_run")

    def __init__(self, exchange: Exchange, run: Run) -> None:
        """Lives as long as `run` is what the exchange's worker runs."""
        self._exchange = exchange
        self._run = run

    @property
    def answers(self) -> bool:
        """The supervisor is there."""
        return True

    def progress(self, percent: float) -> None:
        """Sent at once; whoever calls limits the rate."""
        self._say(Progress(fence=self._run.fence, percent=percent))

    def heartbeat(self) -> None:
        """Sent at once; whoever calls limits the rate. Nobody waits for it where the job has no heartbeat timeout."""
        if self._run.heartbeat_timeout_ms is not None:
            self._say(Heartbeat(fence=self._run.fence))

    def _say(self, message: Progress | Heartbeat) -> None:
        exchange = self._exchange
        if self._runs():
            with exchange.stop.shield:
                exchange.control.send_while(self._runs, encode(message))

    def _runs(self) -> bool:
        return self._exchange.running is self._run

    def prolong(self, ms: int | None) -> bool:
        """A round trip to the supervisor; False once the attempt has ended or is being killed."""
        exchange, run = self._exchange, self._run
        self._refuse_child()
        if exchange.running is not run:
            return False
        from_ns = SYSTEM_CLOCK.monotonic_ns()
        with exchange.stop.shield:
            granted = exchange.stop.talk.prolong((run.job_id, run.fence), ms)
        limit_ms = run.timeout_ms if ms is None else ms
        if granted and limit_ms is not None and exchange.watch is not None:
            exchange.watch.move(from_ns=from_ns, ms=limit_ms)
        return granted

    def is_stopped(self) -> bool:
        """Looks at the talk socket too: the main thread may sit in C, where it hears no signal."""
        exchange, run = self._exchange, self._run
        if exchange.running is not run:
            return True
        if os.getpid() == exchange.pid:
            with exchange.stop.shield:
                exchange.stop.talk.read()
        return exchange.stop.talk.in_force((run.job_id, run.fence)) is not None

    def undisturbed(self) -> Shield:
        """Holds soft stops back while it is entered; then they are delivered."""
        return self._exchange.stop.shield

    def on_timeout(self, callback: Callable[[], None]) -> None:
        """From a thread of its own and a little earlier where the limit is a hard kill (see `watch`)."""
        exchange, run = self._exchange, self._run
        if exchange.running is not run:
            return
        exchange.stop.callbacks.append(callback)
        if run.force_kill_on_timeout and run.timeout_ms is not None and exchange.watch is None:
            from jobwarden.worker.watch import LimitWatch  # noqa: PLC0415 - few jobs need a thread

            watch = LimitWatch(exchange.stop.callbacks, from_ns=exchange.since_ns, ms=run.timeout_ms)
            watch.start()
            exchange.watch = watch

    def ask(self, verb: str, arguments: str) -> str | None:
        """Blocks until the supervisor has answered, after its commit. Raises the error that it answers."""
        exchange, run = self._exchange, self._run
        self._refuse_child()
        shield = exchange.stop.shield
        answer = exchange.control.ask(run.fence, verb, arguments, shield=shield, running=self._runs)
        if answer is None:
            message = f"job {run.job_id} has ended, so its context cannot {verb} any more"
            raise JobwardenError(message)
        if answer.error is not None:
            raise _error_of(answer, answer.error)
        return answer.value

    def _refuse_child(self) -> None:
        if os.getpid() != self._exchange.pid:
            message = "only the job's own process can ask this; a process that it has forked cannot"
            raise JobwardenError(message)


def _error_of(answer: Answer, sentence: str) -> JobwardenError:
    """The same error as was raised over there: its class, its sentence, and what it carries."""
    kind = getattr(errors, answer.error_kind, JobwardenError)
    if not (isinstance(kind, type) and issubclass(kind, JobwardenError)):
        kind = JobwardenError
    error: JobwardenError = kind.__new__(kind)
    Exception.__init__(error, sentence)
    error.__dict__.update(msgspec.json.decode(answer.value or "{}"))
    return error
