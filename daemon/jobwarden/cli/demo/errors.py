"""What keeps the demo from showing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.errors import JobwardenError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class DemoError(JobwardenError):
    """The root of both; the demo ends with exit code 1."""


class DemoDaemonError(DemoError):
    """The daemon of the demo did not start, or died."""

    def __init__(self, log_tail: str, *, exit_code: int | None = None, after_seconds: float = 0) -> None:
        """`log_tail` is the end of what it logged; without an exit code it still runs `after_seconds`."""
        ended = f"ended with exit code {exit_code}"
        problem = f"did not start within {after_seconds:g} s" if exit_code is None else ended
        super().__init__(f"the daemon of the demo {problem}; its log ends with\n{log_tail}")


class ShippedHandlersMissingError(DemoError):
    """This installation has lost the handlers that come with jobwarden."""

    def __init__(self, places: Iterable[Path]) -> None:
        """`places` are the folders in which they could have been."""
        super().__init__(f"no handlers in {' or '.join(map(str, places))}; install jobwarden again")
