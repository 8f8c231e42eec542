"""What keeps the demo from showing anything."""

from __future__ import annotations

from jobwarden.errors import JobwardenError


class DemoError(JobwardenError):
    """Its root; the demo ends with exit code 1."""


class DemoDaemonError(DemoError):
    """The daemon of the demo did not start, or died."""

    def __init__(self, log_tail: str, *, exit_code: int | None = None, after_seconds: float = 0) -> None:
        """`log_tail` is the end of what it logged; without an exit code it still runs `after_seconds`."""
        ended = f"ended with exit code {exit_code}"
        problem = f"did not start within {after_seconds:g} s" if exit_code is None else ended
        super().__init__(f"the daemon of the demo {problem}; its log ends with\n{log_tail}")
