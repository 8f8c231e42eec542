"""What follows from an error that a handler let out: the rules of its decorator. Runs in the worker.

`FailPermanently`, `RetryLater` and a stop by the pool are not judged here: they say themselves what follows.
"""

from __future__ import annotations

import math
import reprlib
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobwarden.worker.naming import single_errors, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_DELAY_SECONDS = 31_622_400


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """`fail_on` wins; with `retry_on` given, whatever it does not name fails for good."""

    retry_on: tuple[type[BaseException], ...] | None = None
    fail_on: tuple[type[BaseException], ...] | None = None
    delay: Callable[[int, BaseException], float] | None = None
    """(attempt, error) -> seconds until the next attempt; the attempt counts from 1."""

    def is_final(self, error: BaseException) -> bool:
        """Whether trying again is of no use. Of a group, `fail_on` needs one error, `retry_on` all of them."""
        errors = single_errors(error)
        if self.fail_on is not None and any(isinstance(each, self.fail_on) for each in (error, *errors)):
            return True
        if self.retry_on is None or isinstance(error, self.retry_on):
            return False
        return not all(isinstance(each, self.retry_on) for each in errors)

    def seconds_after(self, error: BaseException, *, attempt: int) -> float | None:
        """When to try again; None leaves the job's own delay, as does a `delay` that fails (it says so)."""
        if self.delay is None:
            return None
        try:
            seconds: object = self.delay(attempt, error)
        except BaseException as second:  # noqa: BLE001 - user code: an outcome must not be lost with its delay
            _complain(f"failed with {type(second).__name__}: {text_of(second)}")
            return None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not _is_duration(seconds):
            _complain(f"gave {reprlib.repr(seconds)}, which is no number of seconds")
            return None
        return float(min(seconds, LONGEST_DELAY_SECONDS))


NO_RULES = RetryRules()


def _is_duration(seconds: float) -> bool:
    return seconds >= 0 and (isinstance(seconds, int) or math.isfinite(seconds))


def _complain(problem: str) -> None:
    with suppress(Exception):  # the stream may be the handler's own
        sys.stderr.write(f"the handler's delay function {problem}; the job's own delay holds\n")
