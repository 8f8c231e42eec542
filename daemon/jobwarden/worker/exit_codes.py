"""What follows from the way in which an executable ended: its exit code or the signal that killed it. Pure.

0 is success. 75 (EX_TEMPFAIL of sysexits.h) asks for another attempt. Every other code fails the job for good, unless
the side file says otherwise. A death by a signal is a crash: it costs an attempt and is tried again.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from jobwarden.wire.messages import HANDLER_ERROR, PERMANENT, Failure

EX_TEMPFAIL = 75
LARGEST_CODE = 255
_SHELL_SIGNALS = 128
"""A shell whose child was killed by signal n ends with 128 + n."""


@dataclass(frozen=True, slots=True)
class ExitRules:
    """`retry_on` and `fail_on` of a side file: exit codes. As in the decorator, `fail_on` wins."""

    retry_on: frozenset[int] | None = None
    fail_on: frozenset[int] | None = None

    def retries(self, code: int) -> bool:
        """Whether this exit code asks for another attempt."""
        if self.fail_on is not None and code in self.fail_on:
            return False
        if code == EX_TEMPFAIL:
            return True
        return code in self.retry_on if self.retry_on is not None else self.fail_on is not None


NO_EXIT_RULES = ExitRules()


def failure_of(status: int, *, rules: ExitRules, said: str, retry_after: float | None) -> Failure | None:
    """Why the attempt failed; None for exit code 0. `status` is that of wait(2), `said` one line or nothing."""
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return None
    retried = code < 0 or rules.retries(code)
    message = f"{_what(code)}: {said}" if said else _what(code)
    return Failure(HANDLER_ERROR if retried else PERMANENT, message, retry_after=retry_after if retried else None)


def _what(code: int) -> str:
    if code < 0:
        return f"it was killed by signal {-code}{_signal_name(-code)}"
    if code == EX_TEMPFAIL:
        return "exit code 75 (EX_TEMPFAIL)"
    name = _signal_name(code - _SHELL_SIGNALS) if code > _SHELL_SIGNALS else ""
    return f"exit code {code}{name}"


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
