"""`JobContext`: what a running handler knows of its job and what it may tell and ask the pool.

It must stay light (no pydantic, no asyncio): every handler file imports it through `jobwarden`. It must never touch
a socket itself; the worker hands it a line, and without one it only remembers, so handlers can be unit-tested.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jobwarden.clock import MILLISECOND_NS, SYSTEM_CLOCK
from jobwarden.worker.asking import Asking
from jobwarden.worker.line import NO_LINE, Line
from jobwarden.worker.output import encode_output

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

LARGEST_OUTPUT_BYTES = 1_048_576
PROGRESS_PAUSE_NS = 50 * MILLISECOND_NS
"""Between two progress messages; what is set in between is kept, and sent with the next one or at the end."""
LARGEST_TIMEOUT_MS = 2**40

_COMPLETE = 100
_SIGNS_PER_TIMEOUT = 4
"""So often at least can a sign of life be sent within one heartbeat timeout."""


class JobContext(Asking):
    """The second argument of a handler. Usable from sync and async handlers, and from threads that they start.

    In a unit test: `JobContext(job_type="digest_file")`; afterwards read `progress`, `output`, `added` and
    `timeout_callbacks`. There `prolong` is always granted and nobody ever stops the job.
    """

    __slots__ = (
        "_line",
        "_pause_ns",
        "_sent_at_ns",
        "_unsent",
        "added",
        "attempt",
        "fence",
        "heartbeat_timeout_ms",
        "job_id",
        "job_type",
        "max_attempts",
        "max_output_bytes",
        "output",
        "progress",
        "timeout_callbacks",
        "timeout_ms",
    )

    def __init__(
        self,
        *,
        job_id: int = 1,
        job_type: str = "test",
        attempt: int = 1,
        max_attempts: int = 3,
        fence: int = 1,
        timeout_ms: int | None = None,
        heartbeat_timeout_ms: int | None = None,
        max_output_bytes: int = LARGEST_OUTPUT_BYTES,
        line: Line = NO_LINE,
    ) -> None:
        """`attempt` counts from 1; `line` leads to the supervisor."""
        self.job_id = job_id
        self.job_type = job_type
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.fence = fence
        """Grows with each attempt of this job: a system outside may refuse what comes with a smaller one."""
        self.timeout_ms = timeout_ms
        self.heartbeat_timeout_ms = heartbeat_timeout_ms
        self.max_output_bytes = max_output_bytes
        """Of JSON text; a larger output fails the job for good."""
        self.progress: float | None = None
        """The last percentage that was set."""
        self.output: str | None = None
        """JSON text of what `set_output` was given last."""
        self.added: list[dict[str, Any]] = []
        self.timeout_callbacks: list[Callable[[], object]] = []
        """What `on_timeout` was given."""
        self._line = line
        self._pause_ns = PROGRESS_PAUSE_NS
        if heartbeat_timeout_ms is not None:
            self._pause_ns = min(PROGRESS_PAUSE_NS, heartbeat_timeout_ms * MILLISECOND_NS // _SIGNS_PER_TIMEOUT)
        self._sent_at_ns = -PROGRESS_PAUSE_NS
        self._unsent = False

    # what becomes of the job

    def set_progress(self, percent: float) -> None:
        """Report how far the job is, 0 to 100. Raises ValueError for anything else. Cheap enough for a tight loop."""
        if not 0 <= percent <= _COMPLETE:
            message = f"progress is a percentage from 0 to 100, not {percent!r}"
            raise ValueError(message)
        self.progress = float(percent)
        self._unsent = True
        if SYSTEM_CLOCK.monotonic_ns() - self._sent_at_ns >= self._pause_ns:
            self.flush_progress()

    def set_output(self, value: object) -> None:
        """Make `value` the job's output, unless the handler returns something else than None.

        It is written as JSON now; a value that cannot be stored raises `FailPermanently` with the reason.
        """
        self.output = encode_output(value, limit=self.max_output_bytes)

    def log(self, message: str, **fields: object) -> None:
        """One line into the attempt's captured output: the message, then `name=value` for each field."""
        line = " ".join([message, *(f"{name}={_plain(value)}" for name, value in fields.items())])
        sys.stderr.write(f"{line}\n")

    def flush_progress(self) -> None:
        """Send the last progress if it was held back. The worker calls this at the end of a job."""
        if self._unsent and self.progress is not None:
            self._unsent = False
            self._sent_at_ns = SYSTEM_CLOCK.monotonic_ns()
            self._line.progress(self.progress)

    # how long it may run

    def heartbeat(self) -> None:
        """Say that the job is alive, where it has a `heartbeatTimeoutMs`. Cheap enough for a tight loop."""
        now_ns = SYSTEM_CLOCK.monotonic_ns()
        if now_ns - self._sent_at_ns >= self._pause_ns:
            self._sent_at_ns = now_ns
            self._line.heartbeat()

    def prolong(self, ms: int | None = None) -> bool:
        """Set the limit of this attempt to `ms` milliseconds from now; None: to its `timeoutMs` from now.

        True for a job without a limit too. False if the attempt is over, is being killed or was cancelled. Raises
        ValueError for anything but a positive whole number.
        """
        if ms is not None and (type(ms) is not int or not 1 <= ms <= LARGEST_TIMEOUT_MS):
            message = f"prolong takes milliseconds, a whole number from 1 to {LARGEST_TIMEOUT_MS}, not {ms!r}"
            raise ValueError(message)
        return self._line.prolong(ms)

    def on_timeout(self, callback: Callable[[], object]) -> None:
        """Have `callback` called when this attempt reaches its limit, before `JobTimeout` is raised.

        If it calls `prolong`, or returns a positive number (milliseconds, as for `prolong`), the job goes on. It runs
        in the main thread; with `forceKillOnTimeout` in another one, a tenth of the limit (1 s at most) before it.
        """
        self.timeout_callbacks.append(callback)
        self._line.on_timeout(lambda: self._call_back(callback))

    def _call_back(self, callback: Callable[[], object]) -> None:
        ms = callback()
        if isinstance(ms, int | float) and not isinstance(ms, bool) and ms > 0:
            self.prolong(max(1, int(min(ms, LARGEST_TIMEOUT_MS))))

    def undisturbed(self) -> AbstractContextManager[object]:
        """While it is entered, in the main thread, a soft stop waits: for what must not be half done. Keep it short."""
        return self._line.undisturbed()

    @property
    def aborted(self) -> bool:
        """Whether this attempt is to end (limit, cancel), for loops and threads that look from time to time."""
        return self._line.is_stopped()


def _plain(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(character in text for character in ' \t\n"=') else text
