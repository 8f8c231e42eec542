"""Makes log lines out of facts: which are written, in which form, and how many in a second. Listens to `events`.

What is said of jobs can be as much as the jobs are: above `log_lines_per_second` such facts are left out and counted,
so that a thousand failing jobs a second neither fill a disk nor make journald drop what an operator must know. What is
said of the daemon itself is never left out. Must never block or raise: whoever emits a fact has work to do.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.clock import SECOND_NS
from jobwarden.supervisor.log_forms import FORMS, journal_record
from jobwarden.supervisor.log_stream import LogStream

if TYPE_CHECKING:
    from typing import TextIO

    from jobwarden.clock import Clock
    from jobwarden.settings import Settings

JOURNAL_VARIABLE = "JOURNAL_STREAM"
"""Device and inode of what systemd connected with the journal (systemd.exec(5))."""
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_QUIET = {events.WorkerBorn, events.WorkerDied, events.TreeCleared, events.Maintained}
_LOUD = {events.Alerted, events.StoreAway, events.RenewalFailed, events.AttemptEnded, events.LinesLeftOut}
_BOUNDED = {*_QUIET, events.AttemptEnded, events.JobPrinted, events.HooksSaid}
"""As many as the jobs and their workers."""
_BURST_SECONDS = 4
"""Of silence that a burst may use up at once."""


class LogLines:
    """A listener for facts that writes one line, or one record of the journal, for each."""

    def __init__(self, settings: Settings, *, clock: Clock, stream: TextIO | LogStream | None = None) -> None:
        """`stream` is standard error unless a test says otherwise; only a `LogStream` reaches the journal."""
        self._stream = stream or sys.stderr
        self._clock = clock
        self._lock = threading.Lock()
        self._left_out = 0
        self._told_ns = 0
        self._bucket: Bucket | None = None
        if isinstance(self._stream, LogStream):
            self._stream.before_silence = self.tell_left_out
        self.change(settings)

    def change(self, settings: Settings) -> None:
        """From now on: another level, another form, another bound."""
        rate = settings.log_lines_per_second
        with self._lock:
            self._least = _LEVELS[settings.log_level]
            self._form = self._form_of(settings.log_format)
            self._prints = settings.log_job_output
            self._bucket = None if rate is None else Bucket(rate, now_ns=self._clock.monotonic_ns())

    def __call__(self, fact: events.Fact) -> None:
        """Write the fact if its level asks for it; a closed log never hurts the daemon."""
        level = level_of(fact)
        if _LEVELS[level] < self._least or (type(fact) is events.JobPrinted and not self._prints):
            return
        if type(fact) in _BOUNDED and not self._has_room():
            return
        self._write(fact, level)

    def tell_left_out(self) -> None:
        """How many were left out since this was told last, if any; by the log's thread, when nothing is written."""
        with self._lock:
            number, self._left_out = self._left_out, 0
            self._told_ns = self._clock.monotonic_ns()
        if number:
            fact = events.LinesLeftOut(number=number)
            self._write(fact, level_of(fact))

    def _has_room(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            room = self._bucket is None or self._bucket.take(now_ns=now_ns)
            self._left_out += not room
            begins = not room and self._left_out == 1
            overdue = self._left_out > 0 and room and now_ns - self._told_ns > SECOND_NS
        if overdue:
            self.tell_left_out()
        if begins and isinstance(self._stream, LogStream):
            self._stream.nudge()
        return room

    def _write(self, fact: events.Fact, level: str) -> None:
        now_us = self._clock.now_us()
        try:
            if self._form == "journal" and isinstance(self._stream, LogStream):
                record = journal_record(fact, level, now_us)
                self._stream.record(record, instead=FORMS["json"](fact, level, now_us) + "\n")
                return
            self._stream.write(FORMS[self._form](fact, level, now_us) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    def _form_of(self, asked: str) -> str:
        """What `auto` is: people see lines, the journal gets its own, all else gets JSON."""
        if asked == "journal" and not isinstance(self._stream, LogStream):
            return "json"
        if asked != "auto":
            return asked
        if self._stream.isatty():
            return "human"
        return "journal" if isinstance(self._stream, LogStream) and is_journal(self._stream.fileno()) else "json"


class Bucket:
    """How many lines may be written now: so many a second, and those of a few silent seconds at once."""

    def __init__(self, per_second: float, *, now_ns: int) -> None:
        self._per_ns = per_second / SECOND_NS
        self._most = max(1.0, per_second * _BURST_SECONDS)
        self._room = self._most
        self._at_ns = now_ns

    def take(self, *, now_ns: int) -> bool:
        """Room for one more, which is then used."""
        self._room = min(self._most, self._room + (now_ns - self._at_ns) * self._per_ns)
        self._at_ns = now_ns
        if self._room < 1:
            return False
        self._room -= 1
        return True


def is_journal(descriptor: int) -> bool:
    """Whether systemd has connected this descriptor with the journal, and nobody has put another in its place."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get(JOURNAL_VARIABLE) == f"{found.st_dev}:{found.st_ino}"


def level_of(fact: events.Fact) -> str:
    """debug, info or warning."""
    if type(fact) in _LOUD:
        return "warning"
    return "debug" if type(fact) in _QUIET else "info"
