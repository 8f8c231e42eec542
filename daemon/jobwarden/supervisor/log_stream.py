"""The log's way out: lines are queued, and a thread of its own writes them, so that nobody waits for a slow reader.

A pipe that nobody reads or a terminal that was stopped with Ctrl-S would otherwise stop the loop in the middle of a
write, and the keeper would kill it as hung. What such a reader misses is counted, and told to it when it reads again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

MOST_WAITING = 10_000
"""Lines that may wait; later ones are dropped."""


class LogStream(threading.Thread):
    """Has of a text stream what the log needs; `write` never blocks."""

    def __init__(self, stream: TextIO) -> None:
        """`stream` is where the lines go in the end."""
        super().__init__(name="log", daemon=True)
        self._stream = stream
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0

    def isatty(self) -> bool:
        """Whether people look at it."""
        return self._stream.isatty()

    def write(self, text: str) -> int:
        """From any thread: one or more whole lines."""
        if self._lines.qsize() < MOST_WAITING:
            self._lines.put(text)
        else:
            self._dropped += 1
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread flushes what it writes."""

    def finish(self, *, seconds: float) -> None:
        """Let the thread write what waits, for so long at most; the last call."""
        self._lines.put(None)
        if self is not threading.current_thread():
            self.join(seconds)

    def run(self) -> None:
        """Write until `finish`."""
        while (text := self._lines.get()) is not None:
            dropped, self._dropped = self._dropped, 0
            note = f"jobwarden: {dropped} lines of the log were dropped, nobody read them\n" if dropped else ""
            with contextlib.suppress(OSError, ValueError):  # a closed log never hurts the daemon
                self._stream.write(text + note)
                self._stream.flush()
