"""An executable as a handler: called with the payload's JSON text and the context, it gives the output or raises.

Its standard output is the output, as JSON where it is JSON and as text otherwise; what it says on standard error is
captured; exit codes are judged by `exit_codes`. A soft stop becomes SIGTERM to its process group, and whoever goes on
meets the hard kill. Must never judge limits itself: the supervisor does. Runs in the worker.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from jobwarden.errors import JobStopped, JobwardenError
from jobwarden.wire.messages import HANDLER_ERROR, PERMANENT, Failure
from jobwarden.worker.asides import Asides
from jobwarden.worker.exit_codes import NO_EXIT_RULES, ExitRules, failure_of
from jobwarden.worker.naming import clean
from jobwarden.worker.program import ASIDE, Program

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.worker.context import JobContext
    from jobwarden.worker.program import Sink

_OUTPUT, _ERRORS = 1, 2
_KEPT_ERRORS = 4096
_LONGEST_SAID = 300
_SHOWN_OUTPUT = 16_384
"""Of what a failed executable printed, so much is put into the captured output."""


class ExecutableFailedError(JobwardenError):
    """The executable ended in another way than with exit code 0."""

    def __init__(self, failure: Failure, *, peak_rss_kb: int = 0) -> None:
        """`failure` is what the supervisor is told; the peak is that of the largest of its processes."""
        self.failure = failure
        self.peak_rss_kb = peak_rss_kb
        super().__init__(failure.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """Stands in the place of a handler's function."""

    path: str
    """Absolute: in the generation's own copy."""
    directory: str
    """The handlers directory itself."""
    rules: ExitRules = NO_EXIT_RULES

    def __call__(self, payload: str, context: JobContext) -> object:
        """Run it to its end. Raises ExecutableFailedError, JobStopped."""
        run = _Run(context)
        program = Program(self.path, sinks=run.sinks, shield=context.undisturbed())
        try:
            status = _Watched(program, context).run(lambda: self._start(program, payload, context))
        except JobStopped:
            run.show()
            raise
        finally:
            program.close()
        failure = run.failure(status, self.rules)
        if failure is not None:
            raise ExecutableFailedError(failure, peak_rss_kb=program.peak_rss_kb)
        return run.output()

    def _start(self, program: Program, payload: str, context: JobContext) -> None:
        try:
            with context.undisturbed():
                program.start(f"{payload}\n".encode(), {**os.environ, **environment_of(context, self.directory)})
        except OSError as error:
            hint = " (is the interpreter of its first line there?)" if isinstance(error, FileNotFoundError) else ""
            text = f"it cannot be run: {error.strerror}{hint}"
            raise ExecutableFailedError(Failure(HANDLER_ERROR, text)) from None


def environment_of(context: JobContext, directory: str) -> dict[str, str]:
    """What an executable finds in its environment, beside that of the worker."""
    found = {
        "JOBWARDEN_JOB_ID": context.job_id,
        "JOBWARDEN_JOB_TYPE": context.job_type,
        "JOBWARDEN_ATTEMPT": context.attempt,
        "JOBWARDEN_MAX_ATTEMPTS": context.max_attempts,
        "JOBWARDEN_FENCE": context.fence,
        "JOBWARDEN_TIMEOUT_MS": context.timeout_ms,
        "JOBWARDEN_HEARTBEAT_TIMEOUT_MS": context.heartbeat_timeout_ms,
        "JOBWARDEN_HANDLERS": directory,
    }
    return {name: "" if value is None else str(value) for name, value in found.items()}


class _Watched:
    """A program until its end, whatever soft stops come in between."""

    def __init__(self, program: Program, context: JobContext) -> None:
        self._program = program
        self._context = context
        self._stop: JobStopped | None = None

    def run(self, start: Callable[[], None]) -> int:
        """Its status. Raises JobStopped after its end, unless a `prolong` took the stop back meanwhile."""
        self._attempt(start)
        while self._program.status is None:
            self._attempt(self._program.run)
        if self._stop is not None and self._context.aborted:
            raise self._stop
        return self._program.status

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except JobStopped as told:
            if not self._program.started:
                raise
            self._stop = self._stop or told
            self._program.terminate()


@dataclass(slots=True)
class _Run:
    """What one attempt says, on its three descriptors."""

    context: JobContext
    _printed: bytearray = field(default_factory=bytearray)
    _last_errors: bytes = b""
    _too_much: bool = False
    _asides: Asides = field(init=False)

    def __post_init__(self) -> None:
        self._asides = Asides(self.context, note=lambda text: _pass_on(f"{text}\n".encode()))

    @property
    def sinks(self) -> dict[int, Sink]:
        return {_OUTPUT: self._take_output, _ERRORS: self._take_errors, ASIDE: self._take_aside}

    def failure(self, status: int, rules: ExitRules) -> Failure | None:
        """How it failed, if it did."""
        self._asides.finish()
        if self._too_much:
            limit = self.context.max_output_bytes
            return Failure(PERMANENT, f"output: is more than {limit} bytes, which is the limit; store a reference")
        said = self._asides.error or _last_line(self._last_errors)
        failure = failure_of(status, rules=rules, said=said, retry_after=self._asides.retry_after)
        if failure is not None:
            self.show()
        return failure

    def show(self) -> None:
        """Put the end of what it printed into the captured output, since it is no output."""
        if self._printed:
            _pass_on(bytes(self._printed[-_SHOWN_OUTPUT:]))

    def output(self) -> object:
        """Nothing, a JSON value, or text without the line ends after it."""
        if not self._printed.strip():
            return None
        try:
            return msgspec.json.decode(self._printed)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._printed.decode("utf-8", "backslashreplace").rstrip("\r\n").replace("\0", "\\0")

    def _take_output(self, data: bytes) -> bool:
        """Past the limit nobody reads any more: SIGPIPE ends most of those who still write."""
        self._printed += data
        self._too_much = len(self._printed) > self.context.max_output_bytes
        return not self._too_much

    def _take_errors(self, data: bytes) -> bool:
        _pass_on(data)
        self._last_errors = (self._last_errors + data)[-_KEPT_ERRORS:]
        return True

    def _take_aside(self, data: bytes) -> bool:
        self._asides.feed(data)
        return True


def _pass_on(data: bytes) -> None:
    """Into the captured output, as the handler's own words."""
    with suppress(OSError, ValueError):  # the pool does not listen any more
        sys.stderr.buffer.write(data)


def _last_line(data: bytes) -> str:
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    text = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return clean(text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…")
