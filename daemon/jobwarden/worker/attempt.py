"""Runs one attempt: the handler is called, and whatever it does becomes an output or a `Failure`.

This is a process edge: every exception of user code ends here, also SystemExit and KeyboardInterrupt. What the
worker itself gets wrong is not caught here. Runs in the worker.
"""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING

from jobwarden.errors import FailPermanently, JobCancelled, JobStopped, RetryLater
from jobwarden.wire.messages import (
    CANCELLED,
    HANDLER_ERROR,
    INVALID_PAYLOAD,
    MEMORY,
    NO_HANDLER,
    PERMANENT,
    TIMEOUT,
    Failure,
    Run,
)
from jobwarden.worker.executable import ExecutableFailedError
from jobwarden.worker.naming import clean, named, single_errors, text_of
from jobwarden.worker.output import encode_output
from jobwarden.worker.payload import InvalidPayloadError
from jobwarden.worker.rules import LONGEST_DELAY_SECONDS, NO_RULES

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from jobwarden.worker.bounds import Bounds
    from jobwarden.worker.context import JobContext
    from jobwarden.worker.event_loop import EventLoop
    from jobwarden.worker.loader import LoadedHandler
    from jobwarden.worker.rules import RetryRules
    from jobwarden.worker.stop import SoftStop

_OUR_FOLDER = str(Path(__file__).parent)


class Attempts:
    """Calls the handlers of one worker, one at a time."""

    def __init__(
        self, handlers: Mapping[str, LoadedHandler], *, stop: SoftStop, bounds: Bounds, max_output_bytes: int
    ) -> None:
        self._handlers = handlers
        self._stop = stop
        self._bounds = bounds
        self._max_output_bytes = max_output_bytes
        self._loop: EventLoop | None = None
        stop.install(Attempts._enter.__code__)

    def run(self, run: Run, context: JobContext) -> tuple[str | None, Failure | None]:
        """The output as JSON text (None if the handler gave none), and why it failed if it did."""
        handler = self._handlers.get(run.job_type)
        if handler is None:
            return None, Failure(NO_HANDLER, f"this worker has no handler for {run.job_type!r}")
        try:
            return self._enter(handler, run, context), None
        except BaseException as error:  # noqa: BLE001 - the edge between user code and ours
            return None, self._failure(error, run, handler.definition.rules)

    def _enter(self, handler: LoadedHandler, run: Run, context: JobContext) -> str | None:
        """The only function that arms the soft stop. See `SoftStop`: a signal that finds us in here is not raised."""
        variables = copy_context()
        try:
            self._stop.armed = (run.job_id, run.fence)
            self._stop.raise_if_stopped(self._stop.armed)
            return variables.run(self._call, handler, run.payload, context)
        finally:
            self._stop.armed = None

    def _call(self, handler: LoadedHandler, payload: str, context: JobContext) -> str | None:
        value = handler.call(payload, context)
        if type(value) is CoroutineType:
            value = self.await_(value)
        if value is None:
            return context.output
        return encode_output(value, limit=self._max_output_bytes)

    def await_(self, coroutine: Coroutine[object, object, object]) -> object:
        """The coroutine's value, on the one event loop of this worker."""
        if self._loop is None:
            from jobwarden.worker.event_loop import EventLoop  # noqa: PLC0415 - see there

            self._loop = EventLoop()
        return self._loop.run(coroutine, stop=self._stop)

    def close(self) -> None:
        """Give the event loop back, where a process lives on: in a test. A worker never does."""
        if self._loop is not None:
            self._loop.close()

    def _failure(self, error: BaseException, run: Run, rules: RetryRules) -> Failure:
        """Print the traceback where the attempt's output goes, name the error, and say what follows from it."""
        if isinstance(error, ExecutableFailedError):
            return self._failure_of_executable(error)
        try:
            out_of_memory = self._bounds.ran_out(error)
            failure = _classify(error, stopped=self._stop.talk.ever_stopped((run.job_id, run.fence)))
            if failure.kind != INVALID_PAYLOAD:
                print_traceback(error)
            if out_of_memory:
                return Failure(MEMORY, f"{failure.message}; {self._bounds.memory_limit}")
            if failure.kind == HANDLER_ERROR and failure.retry_after is None and rules is not NO_RULES:
                failure = _by_rules(failure, error, rules, run)
        except BaseException as second:  # noqa: BLE001 - an error's own code, such as its __class__
            return Failure(HANDLER_ERROR, clean(f"{type(error).__name__} (which fails with {type(second).__name__})"))
        return failure

    def _failure_of_executable(self, error: ExecutableFailedError) -> Failure:
        """What it said itself; most programs that get no memory only say that they end."""
        if self._bounds.overran(error.peak_rss_kb):
            return Failure(MEMORY, f"{error.failure.message}; {self._bounds.memory_limit}")
        return error.failure


def _classify(error: BaseException, *, stopped: bool) -> Failure:
    if isinstance(error, BaseExceptionGroup):
        return _classify_group(error)
    text = text_of(error)
    match error:
        case InvalidPayloadError():
            return Failure(INVALID_PAYLOAD, text)
        case FailPermanently():
            return Failure(PERMANENT, text or "the handler said that trying again is of no use")
        case RetryLater():
            return Failure(HANDLER_ERROR, text, retry_after=min(max(0.0, error.after_seconds), LONGEST_DELAY_SECONDS))
        case JobStopped() if stopped:
            return Failure(CANCELLED if isinstance(error, JobCancelled) else TIMEOUT, named(error))
        case _:
            return Failure(HANDLER_ERROR, named(error))


def _classify_group(group: BaseExceptionGroup[BaseException]) -> Failure:
    """What an `asyncio.TaskGroup` lets out: one for good is enough, else the latest time that one of them asks for."""
    errors, message = single_errors(group), named(group)
    if any(isinstance(each, FailPermanently) for each in errors):
        return Failure(PERMANENT, message)
    asked = [_classify(each, stopped=False).retry_after for each in errors if isinstance(each, RetryLater)]
    return Failure(HANDLER_ERROR, message, retry_after=max((each for each in asked if each is not None), default=None))


def _by_rules(failure: Failure, error: BaseException, rules: RetryRules, run: Run) -> Failure:
    if rules.is_final(error):
        return Failure(PERMANENT, failure.message)
    if run.attempt >= run.max_attempts:
        return failure
    return Failure(HANDLER_ERROR, failure.message, retry_after=rules.seconds_after(error, attempt=run.attempt))


def print_traceback(error: BaseException) -> None:
    """On stderr, which is captured, and without the frames of the daemon."""
    with suppress(Exception):  # a stream that the handler has closed or replaced: the outcome is not lost with it
        traceback.print_exception(type(error), error, _without_our_frames(error.__traceback__), file=sys.stderr)


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    kept = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OUR_FOLDER):
            kept.append(trace)
        trace = trace.tb_next
    rebuilt: TracebackType | None = None
    for frame in reversed(kept):
        rebuilt = TracebackType(rebuilt, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return rebuilt
