"""Makes log lines out of facts: human on a terminal, JSON elsewhere. The only place that formats them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from jobwarden import events
from jobwarden.clock import to_datetime

if TYPE_CHECKING:
    from typing import TextIO

    from jobwarden.clock import Clock
    from jobwarden.settings import Settings
    from jobwarden.supervisor.log_stream import LogStream

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_QUIET = {events.WorkerBorn, events.WorkerDied, events.TreeCleared, events.Maintained}
_LOUD = {events.Alerted, events.StoreAway, events.RenewalFailed, events.AttemptEnded}


class LogLines:
    """A listener for facts that writes one line for each."""

    def __init__(self, settings: Settings, *, clock: Clock, stream: TextIO | LogStream | None = None) -> None:
        """`stream` is standard error unless a test says otherwise."""
        self._stream = stream or sys.stderr
        self._clock = clock
        self.change(settings)

    def change(self, settings: Settings) -> None:
        """From now on: another level, another form."""
        self._least = _LEVELS[settings.log_level]
        human = settings.log_format == "human" or (settings.log_format == "auto" and self._stream.isatty())
        self._render = _human if human else _json

    def __call__(self, fact: events.Fact) -> None:
        """Write the fact's line if its level asks for it; a closed log never hurts the daemon."""
        level = level_of(fact)
        if _LEVELS[level] < self._least:
            return
        try:
            self._stream.write(self._render(fact, level, self._clock.now_us()) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return


def level_of(fact: events.Fact) -> str:
    """debug, info or warning."""
    if type(fact) in _LOUD:
        return "warning"
    return "debug" if type(fact) in _QUIET else "info"


def _human(fact: events.Fact, level: str, now_us: int) -> str:
    fields = " ".join(f"{name}={value}" for name, value in msgspec.structs.asdict(fact).items() if value is not None)
    return f"{to_datetime(now_us):%H:%M:%S} {level:7} {events.name_of(fact)} {fields}".rstrip()


def _json(fact: events.Fact, level: str, now_us: int) -> str:
    line = {"at": to_datetime(now_us), "level": level, "event": events.name_of(fact), **msgspec.structs.asdict(fact)}
    return msgspec.json.encode(line).decode()
