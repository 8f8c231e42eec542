"""The log's way out: lines are queued, and a thread of its own writes them, so that nobody waits for a slow reader.

A pipe that nobody reads or a terminal that was stopped with Ctrl-S would otherwise stop the loop in the middle of a
write, and the keeper would kill it as hung. What such a reader misses is counted, and told to it when it reads again.
Records for the journal go the same way, as journald can be slow or be restarted.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, NamedTuple

from jobwarden.supervisor.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

MOST_WAITING = 10_000
"""Lines that may wait; later ones are dropped."""
SILENCE_SECONDS = 1.0
"""After which, having been nudged, the thread calls `before_silence`."""


class _Record(NamedTuple):
    data: bytes
    instead: str


class LogStream(threading.Thread):
    """Has of a text stream what the log needs; `write` and `record` never block."""

    def __init__(self, stream: TextIO, *, journal: Journal | None = None) -> None:
        """`stream` is where the lines go in the end, and records that the journal does not take."""
        super().__init__(name="log", daemon=True)
        self.before_silence: Callable[[], None] = lambda: None
        """Called by the thread when nothing was written for a while after a nudge, and once at the end."""
        self._stream = stream
        self._journal = journal or Journal()
        self._lines: queue.SimpleQueue[str | _Record | None] = queue.SimpleQueue()
        self._dropped = 0
        self._nudged = False

    def isatty(self) -> bool:
        """Whether people look at it."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Its descriptor; -1 for a stream that has none."""
        try:
            return self._stream.fileno()
        except OSError:
            return -1

    def write(self, text: str) -> int:
        """From any thread: one or more whole lines."""
        self._put(text)
        return len(text)

    def record(self, data: bytes, *, instead: str) -> None:
        """From any thread: one record for the journal; `instead` is the line that is written if it is not there."""
        self._put(_Record(data, instead))

    def nudge(self) -> None:
        """From any thread: call `before_silence` once nothing is written for a while."""
        self._nudged = True
        self._lines.put("")

    def flush(self) -> None:
        """Nothing to do: the thread flushes what it writes."""

    def finish(self, *, seconds: float) -> None:
        """Let the thread write what waits, for so long at most; the last call."""
        self.before_silence()
        self._lines.put(None)
        if self is not threading.current_thread():
            self.join(seconds)

    def run(self) -> None:
        """Write until `finish`."""
        while True:
            try:
                item = self._lines.get(timeout=SILENCE_SECONDS if self._nudged else None)
            except queue.Empty:
                self._nudged = False
                self.before_silence()
                continue
            if item is None:
                self._journal.close()
                return
            self._emit(item)

    def _put(self, item: str | _Record) -> None:
        if self._lines.qsize() < MOST_WAITING:
            self._lines.put(item)
        else:
            self._dropped += 1

    def _emit(self, item: str | _Record) -> None:
        dropped, self._dropped = self._dropped, 0
        note = f"jobwarden: {dropped} lines of the log were dropped, nobody read them\n" if dropped else ""
        if isinstance(item, _Record):
            item = "" if self._journal.send(item.data) else item.instead
        if item or note:
            with contextlib.suppress(OSError, ValueError):  # a closed log never hurts the daemon
                self._stream.write(item + note)
                self._stream.flush()
