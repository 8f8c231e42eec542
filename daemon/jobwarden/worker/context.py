"""`JobContext`: what a running handler knows of its job and what it may tell the pool.

It must stay light (no pydantic, no asyncio): every handler file imports it through `jobwarden`. It must never touch
a socket itself; the worker hands it the way out, and without one it only remembers, so handlers can be unit-tested.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jobwarden.clock import MILLISECOND_NS, SYSTEM_CLOCK
from jobwarden.worker.output import encode_output

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_OUTPUT_BYTES = 1_048_576
PROGRESS_PAUSE_NS = 50 * MILLISECOND_NS
"""Between two progress messages; what is set in between is kept, and sent with the next one or at the end."""

_COMPLETE = 100


class JobContext:
    """The second argument of a handler. Usable from sync and async handlers, and from threads that they start.

    In a unit test: `JobContext(job_type="digest_file")`; afterwards read `progress` and `output`.
    """

    __slots__ = (
        "_max_output_bytes",
        "_send_progress",
        "_sent_at_ns",
        "_unsent",
        "attempt",
        "job_id",
        "job_type",
        "max_attempts",
        "output",
        "progress",
        "timeout_ms",
    )

    def __init__(
        self,
        *,
        job_id: int = 1,
        job_type: str = "test",
        attempt: int = 1,
        max_attempts: int = 3,
        timeout_ms: int | None = None,
        max_output_bytes: int = LARGEST_OUTPUT_BYTES,
        send_progress: Callable[[float], None] | None = None,
    ) -> None:
        """`attempt` counts from 1; `send_progress` takes a percentage, None keeps it here."""
        self.job_id = job_id
        self.job_type = job_type
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.timeout_ms = timeout_ms
        self.progress: float | None = None
        """The last percentage that was set."""
        self.output: str | None = None
        """JSON text of what `set_output` was given last."""
        self._max_output_bytes = max_output_bytes
        self._send_progress = send_progress
        self._sent_at_ns = -PROGRESS_PAUSE_NS
        self._unsent = False

    def set_progress(self, percent: float) -> None:
        """Report how far the job is, 0 to 100. Raises ValueError for anything else. Cheap enough for a tight loop."""
        if not 0 <= percent <= _COMPLETE:
            message = f"progress is a percentage from 0 to 100, not {percent!r}"
            raise ValueError(message)
        self.progress = float(percent)
        self._unsent = True
        if SYSTEM_CLOCK.monotonic_ns() - self._sent_at_ns >= PROGRESS_PAUSE_NS:
            self.flush_progress()

    def set_output(self, value: object) -> None:
        """Make `value` the job's output, unless the handler returns something else than None.

        It is written as JSON now; a value that cannot be stored raises `FailPermanently` with the reason.
        """
        self.output = encode_output(value, limit=self._max_output_bytes)

    def log(self, message: str, **fields: object) -> None:
        """One line into the attempt's captured output: the message, then `name=value` for each field."""
        line = " ".join([message, *(f"{name}={_plain(value)}" for name, value in fields.items())])
        sys.stderr.write(f"{line}\n")

    def flush_progress(self) -> None:
        """Send the last progress if it was held back. The worker calls this at the end of a job."""
        if self._unsent and self._send_progress is not None and self.progress is not None:
            self._unsent = False
            self._sent_at_ns = SYSTEM_CLOCK.monotonic_ns()
            self._send_progress(self.progress)


def _plain(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(character in text for character in ' \t\n"=') else text
