"""The fixture `run_handler`: one attempt in this process, by the code that runs it in a worker.

The payload is converted and checked, the context is a real one, output and errors go the way of every attempt, and the
verdict is the daemon's. What a process of its own is needed for is missing: limits of time and memory, crashes, and
what is asked of the store. Debuggers and monkeypatching work.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TextIO

import msgspec

from jobwarden.clock import SECOND_US, SYSTEM_CLOCK
from jobwarden.jobs.claim import ClaimedJob
from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS, JobOptions, encode_json
from jobwarden.supervisor.inputs import Moment
from jobwarden.supervisor.slot import Slot
from jobwarden.supervisor.verdict import judge_report
from jobwarden.testing.served import definition_of
from jobwarden.wire.messages import Done, Failure, Run
from jobwarden.wire.template_terms import NO_BOUNDS
from jobwarden.worker.attempt import Attempts
from jobwarden.worker.bounds import Bounds
from jobwarden.worker.context import LARGEST_OUTPUT_BYTES, JobContext
from jobwarden.worker.loader import LoadedHandler
from jobwarden.worker.payload import converter_of
from jobwarden.worker.stop import SoftStop
from jobwarden.worker.talk import Talk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import ReadableBuffer

    from jobwarden.jobs import FailureReason, JobStatus
    from jobwarden.jobs.ending import Ending
    from jobwarden.worker.handler import HandlerDefinition
    from jobwarden.worker.rules import RetryRules


class HandlerFailedError(AssertionError):
    """The output was asked for of a handler that has failed; it shows why, and what was printed."""

    def __init__(self, job_type: str, error: str | None, printed: str) -> None:
        """`error` is the sentence of the error history."""
        shown = f"\n--- it printed\n{printed}" if printed else ""
        super().__init__(f"the handler of {job_type!r} has failed: {error}{shown}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRun:
    """What became of the attempt."""

    job_type: str
    status: JobStatus
    """completed or failed, as the job's record would say."""
    error: str | None
    """Why it failed, in the words of the error history; None for a success."""
    failure_reason: FailureReason | None
    """handler_error, invalid_payload, ...; None for a success."""
    retry_in: float | None
    """Seconds until the next attempt, at most: without jitter. None: there is none."""
    exception: BaseException | None
    """What the handler let out."""
    printed: str
    """What it wrote to `sys.stdout` and `sys.stderr`, `ctx.log` and the traceback included."""
    output_json: str | None
    """The output as it would be stored."""
    context: JobContext = field(repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether the job would be completed."""
        return self.error is None

    @property
    def output(self) -> Any:
        """The output as a client would read it. Raises HandlerFailedError if the handler has failed."""
        if self.error is not None:
            raise HandlerFailedError(self.job_type, self.error, self.printed) from self.exception
        return None if self.output_json is None else msgspec.json.decode(self.output_json)

    @property
    def progress(self) -> float | None:
        """The last percentage that was set."""
        return self.context.progress

    @property
    def added(self) -> list[dict[str, Any]]:
        """The jobs that it has added, as the options of each."""
        return self.context.added


class RunHandler:
    """What the fixture gives: call it."""

    def __call__(
        self,
        function: Callable[..., object],
        payload: object = None,
        *,
        job_type: str | None = None,
        job_id: int = 1,
        attempt: int = 1,
        max_attempts: int | None = None,
        timeout_ms: int | None = None,
    ) -> HandlerRun:
        """Run the function with this payload, which is written as JSON and read again.

        `job_type` says which is meant where it serves several. `attempt` counts from 1; `max_attempts` and
        `timeout_ms` are the decorator's if they are not given, and nobody stops the handler at its limit.

        Raises InvalidJobError for a payload that no client could add, TypeError for a function that is no handler.
        """
        definition = definition_of(function, job_type=job_type)
        _refuse_a_loop_within(function)
        run = Run(
            job_id=job_id,
            fence=attempt,
            job_type=definition.job_type,
            payload=encode_json(payload, what="payload"),
            attempt=attempt,
            max_attempts=max_attempts or definition.max_attempts or DEFAULT_MAX_ATTEMPTS,
            timeout_ms=timeout_ms or definition.timeout_ms,
            heartbeat_timeout_ms=definition.heartbeat_timeout_ms,
        )
        context = _context_of(run)
        with _printing() as printed, _Attempt(definition) as attempts:
            output, failure = attempts.run(run, context)
        ending = _judge(run, definition, output, failure)
        return HandlerRun(
            job_type=run.job_type,
            status=ending.status,
            error=ending.error,
            failure_reason=ending.failure_reason,
            retry_in=None if ending.next_attempt_us is None else (ending.next_attempt_us - ending.at_us) / SECOND_US,
            exception=attempts.exception,
            printed=printed.decode(errors="replace"),
            output_json=ending.output,
            context=context,
        )


class _NeverStopped(SoftStop):
    """Nobody sends the soft signal to a test, and its own handlers of signals are left alone."""

    def restore(self) -> None:
        """Take no signal."""


class _Attempt(Attempts):
    """A worker's attempts, with one handler; remembers what the handler let out."""

    def __init__(self, definition: HandlerDefinition) -> None:
        self.exception: BaseException | None = None
        self._sockets = socket.socketpair()
        handler = LoadedHandler(definition, converter_of(definition), file="")
        super().__init__(
            {definition.job_type: handler},
            stop=_NeverStopped(Talk(self._sockets[0])),
            bounds=Bounds(NO_BOUNDS),
            max_output_bytes=LARGEST_OUTPUT_BYTES,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()
        self.close()

    def _failure(self, error: BaseException, run: Run, rules: RetryRules) -> Failure:
        self.exception = error
        return super()._failure(error, run, rules)


class _Tee(io.RawIOBase):
    """The raw end of both streams: keeps what is written, and hands it on, so that pytest shows it as always."""

    def __init__(self, kept: bytearray, *, shown: TextIO) -> None:
        super().__init__()
        self._kept = kept
        self._shown = shown

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        taken = bytes(data)
        self._kept += taken
        self._shown.write(taken.decode(errors="replace"))
        return len(taken)


@contextlib.contextmanager
def _printing() -> Iterator[bytearray]:
    """Both streams as a worker has them: UTF-8, line by line, never a UnicodeEncodeError."""
    kept = bytearray()
    with (
        contextlib.redirect_stdout(_stream(kept, shown=sys.stdout)) as out,
        contextlib.redirect_stderr(_stream(kept, shown=sys.stderr)) as errors,
    ):
        try:
            yield kept
        finally:
            for stream in (out, errors):
                with contextlib.suppress(ValueError):  # the handler has closed it
                    stream.flush()


def _stream(kept: bytearray, *, shown: TextIO) -> io.TextIOWrapper:
    raw: Any = _Tee(kept, shown=shown)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _context_of(run: Run) -> JobContext:
    return JobContext(
        job_id=run.job_id,
        job_type=run.job_type,
        attempt=run.attempt,
        max_attempts=run.max_attempts,
        fence=run.fence,
        timeout_ms=run.timeout_ms,
        heartbeat_timeout_ms=run.heartbeat_timeout_ms,
    )


def _judge(run: Run, definition: HandlerDefinition, output: str | None, failure: Failure | None) -> Ending:
    """As the pool would; the time that it took in a test, perhaps under a debugger, is no matter."""
    unsaid = JobOptions(job_type=run.job_type)
    job = ClaimedJob(
        *(run.job_id, run.fence, run.job_type, run.payload, run.attempt, run.max_attempts, run.timeout_ms),
        force_kill_on_timeout=0,
        retry_delay=DEFAULT_RETRY_DELAY_SECONDS if definition.retry_delay is None else definition.retry_delay,
        retry_backoff=int(unsaid.retry_backoff),
        retry_delay_max=unsaid.retry_delay_max,
        crashes=0,
        interruptions=0,
        lost_in_row=0,
    )
    now = Moment(SYSTEM_CLOCK.monotonic_ns(), SYSTEM_CLOCK.now_us())
    done = Done(run.job_id, run.fence, now.ns, now.ns, 0, 0, marked=False, output=output, failure=failure)
    return judge_report(job, done, Slot(1, generation=1, now_ns=now.ns), now=now, jitter=1.0)


def _refuse_a_loop_within(function: Callable[..., object]) -> None:
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    message = "run_handler runs an async handler on a loop of its own: call it from a test that is no coroutine"
    raise RuntimeError(message)
