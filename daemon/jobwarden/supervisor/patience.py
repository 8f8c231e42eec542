"""Growing pauses after failures in a row, so that what fails at once is not tried in a busy circle. Pure."""

from __future__ import annotations

_MOST_DOUBLINGS = 16


class Patience:
    """Each failure doubles the pause, up to a limit; a success ends it."""

    def __init__(self, *, first_ns: int, longest_ns: int) -> None:
        """No failure yet."""
        self._first_ns = first_ns
        self._longest_ns = longest_ns
        self._failures = 0
        self.not_before_ns = 0
        """No further try before this moment."""

    def fail(self, now_ns: int) -> int:
        """It failed; returns the pause."""
        pause = min(self._first_ns << min(self._failures, _MOST_DOUBLINGS), self._longest_ns)
        self._failures += 1
        self.not_before_ns = now_ns + pause
        return pause

    def succeed(self) -> None:
        """It worked."""
        self._failures = 0

    def forget(self) -> None:
        """What is tried from now on is something else."""
        self._failures = self.not_before_ns = 0
