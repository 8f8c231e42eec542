"""What an executable says on descriptor 3 while it runs: one thing per line, plain text.

    progress 42.5        how far it is, in percent; a bare number says the same
    heartbeat            that it is alive; every other line says so too
    prolong 60000        its limit is to be so many milliseconds from now; without a number: its timeoutMs from now
    retry 30             if it ends with exit code 75, the next attempt is due in 30 seconds
    error no such city   what the error history is to say if it fails

What is no such line is noted in the captured output and does no harm. Runs in the worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobwarden.worker.naming import clean
from jobwarden.worker.rules import LONGEST_DELAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.worker.context import JobContext

LONGEST_LINE = 4096
"""Bytes; what is longer is cut."""
_MOST_NOTES = 5


@dataclass(slots=True)
class Asides:
    """Of one attempt: carries out what lines say, and keeps what counts at its end."""

    context: JobContext
    note: Callable[[str], None]
    """Writes a line into the captured output."""
    retry_after: float | None = None
    """Seconds."""
    error: str = ""
    _rest: bytes = b""
    _notes: int = 0

    def feed(self, data: bytes) -> None:
        """Bytes as they come from the pipe."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LONGEST_LINE]
        for line in lines:
            self._take(line[:LONGEST_LINE])

    def finish(self) -> None:
        """The last line may lack its end."""
        if self._rest:
            self.feed(b"\n")

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").strip()
        word, _, rest = text.partition(" ")
        try:
            understood = self._obey(word.rstrip(":").lower(), rest.strip())
        except ValueError:
            understood = False
        if not understood:
            self._complain(text)
        self.context.heartbeat()  # after a progress: that is a sign of life too, and one message is enough

    def _obey(self, word: str, rest: str) -> bool:
        match word:
            case "heartbeat" | "":
                pass
            case "progress":
                self.context.set_progress(_number(rest.removesuffix("%")))
            case "prolong":
                self.context.prolong(int(rest) if rest else None)
            case "retry":
                self.retry_after = min(_number(rest, lowest=0), LONGEST_DELAY_SECONDS)
            case "error":
                self.error = clean(rest)
            case _ if not rest:
                self.context.set_progress(_number(word.removesuffix("%")))
            case _:
                return False
        return True

    def _complain(self, text: str) -> None:
        self._notes += 1
        if self._notes <= _MOST_NOTES:
            self.note(f"jobwarden: not understood on descriptor 3: {clean(text)[:200]!r}")


def _number(text: str, *, lowest: float = -math.inf) -> float:
    value = float(text)
    if not math.isfinite(value) or value < lowest:
        raise ValueError(text)
    return value
