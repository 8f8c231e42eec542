"""Takes out of texts what nobody is to be told, before the pool, the store or the log gets them.

Texts come from user code: what attempts print, errors, stack dumps, why a file does not load. Out of them go what the
patterns of `redact` match and the values of the job's own secret payload fields. Used by the loop in the main thread;
`listener` in any. A pattern that takes too long on a text costs the text, never the supervisor.
"""

from __future__ import annotations

import re
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from jobwarden import events
from jobwarden.jobs.secrecy import MASK, SecretFields, rows_of, secret_values, without
from jobwarden.supervisor import inputs as seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.settings import Settings
    from jobwarden.wire.messages import HandlerInfo

OUT_OF_TIME = signal.SIGVTALRM
_PATIENCE_SECONDS = 0.25
"""CPU time for one text. Python's `re` looks for signals while it searches, in the main thread."""
_GIVEN_UP = "[left out: a pattern of `redact` took too long on this text]"


_MOST_LATE = 1_000
_OF_ANOTHER = ('"originalPayload"', "\\u")
"""In a payload that may hold another job's, as a dead letter does."""


class _OutOfTimeError(Exception):
    pass


class Redaction:
    """One per supervisor, made in the main thread."""

    def __init__(self, settings: Settings) -> None:
        """It knows no jobs yet."""
        self.job_of: Callable[[int], ClaimedJob | None] = lambda _slot: None
        """The job that a slot runs."""
        self._declared: dict[str, frozenset[str]] = {}
        self._searching = False
        self._printed_late: dict[int, list[str]] = {}
        self._cleaners: dict[type, Callable[[Any], seen.Input]] = {
            seen.Reported: self._of_report,
            seen.Died: self._of_death,
            seen.Cleared: self._of_end,
            seen.TemplateReady: self._of_load,
            **dict.fromkeys((seen.TemplateFailed, seen.Unready, seen.Unborn), self._of_failure),
        }
        self.change(settings)
        signal.signal(OUT_OF_TIME, self._give_up)

    def change(self, settings: Settings) -> None:
        """From now on: other patterns, other names."""
        self._patterns = tuple(map(re.compile, settings.redact))
        self._everywhere = tuple(settings.secret_fields)
        self._told_slow = False
        self._learn()

    def serve(self, handlers: Iterable[HandlerInfo]) -> None:
        """These types are served now; workers of older code run on, so what was secret stays it."""
        for each in handlers:
            if each.secret:
                self._declared[each.job_type] = self._declared.get(each.job_type, frozenset()) | set(each.secret)
        self._learn()

    def _learn(self) -> None:
        self.rows = rows_of(self._declared, self._everywhere)
        """(job type, name), as the store keeps them for those who look at jobs."""
        self._fields = SecretFields(self.rows)

    # what comes from user code

    def of_fact(self, fact: seen.Input) -> seen.Input:
        """The same fact with clean texts; most have none."""
        if not (self._patterns or self._fields):
            return fact
        clean = self._cleaners.get(type(fact))
        return fact if clean is None else clean(fact)

    def _of_report(self, fact: seen.Reported) -> seen.Reported:
        done = fact.done
        values = self._values_of(fact.slot)
        if done.failure is not None:
            failure = msgspec.structs.replace(done.failure, message=self.text(done.failure.message, values))
            done = msgspec.structs.replace(done, failure=failure)
        if fact.captured is None:
            self._may_have_printed(fact.slot, values)
            return fact if done is fact.done else msgspec.structs.replace(fact, done=done)
        values = [*values, *self._printed_late.pop(fact.slot, ())]
        return msgspec.structs.replace(fact, done=done, captured=self.text(fact.captured, values))

    def _may_have_printed(self, slot: int, values: list[str]) -> None:
        """What a very short job has written past Python may be read with the output of the next one in its worker."""
        if values:
            self._printed_late[slot] = [*values, *self._printed_late.get(slot, ())][:_MOST_LATE]

    def _of_death(self, fact: seen.Died) -> seen.Died:
        values = [*self._values_of(fact.slot), *self._printed_late.pop(fact.slot, ())]
        return msgspec.structs.replace(fact, captured=self.text(fact.captured, values))

    def _of_end(self, fact: seen.Cleared) -> seen.Cleared:
        if fact.stack_dump is None:
            return fact
        return msgspec.structs.replace(fact, stack_dump=self.text(fact.stack_dump, self._values_of(fact.slot)))

    def _of_load(self, fact: seen.TemplateReady) -> seen.TemplateReady:
        return msgspec.structs.replace(fact, problems=tuple(self.texts(fact.problems)))

    def _of_failure(self, fact: seen.TemplateFailed | seen.Unready | seen.Unborn) -> seen.Input:
        return msgspec.structs.replace(fact, why=self._search(fact.why))

    def _values_of(self, slot: int) -> list[str]:
        job = self.job_of(slot) if self._fields else None
        if job is None or not (self._fields.of(job.job_type) or any(each in job.payload for each in _OF_ANOTHER)):
            return []
        payload = msgspec.json.decode(job.payload)
        return secret_values(payload, self._fields.of_job(job.job_type, payload))

    # what is said

    def listener(self, listener: Callable[[events.Fact], None]) -> Callable[[events.Fact], None]:
        """One that is told the same facts with clean texts."""
        return lambda fact: listener(self._of_event(fact) if self._patterns else fact)

    def _of_event(self, fact: events.Fact) -> events.Fact:
        clean = {name: self._clean(value) for name, value in msgspec.structs.asdict(fact).items()}
        return msgspec.structs.replace(fact, **clean)

    def texts(self, found: Iterable[str]) -> list[str]:
        """Sentences about what user code does."""
        return [self._search(each) for each in found]

    def text(self, text: str | None, values: Iterable[str] = ()) -> str | None:
        """The text without these values and without what the patterns match."""
        return None if text is None else self._search(without(text, sorted(values, key=len, reverse=True)))

    def _clean(self, value: object) -> object:
        if isinstance(value, str):
            return self._search(value)
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return type(value)(map(self._search, value))
        return value

    def _search(self, text: str) -> str:
        if not self._patterns:
            return text
        try:
            with self._bounded():
                for pattern in self._patterns:
                    text = pattern.sub(MASK, text)
        except _OutOfTimeError:
            self._tell_slow()
            return _GIVEN_UP
        return text

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Raises in the main thread when the time is over; elsewhere Python hears no signals."""
        if threading.current_thread() is not threading.main_thread() or self._searching:
            yield
            return
        self._searching = True
        signal.setitimer(signal.ITIMER_VIRTUAL, _PATIENCE_SECONDS)
        try:
            yield
        finally:
            self._searching = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _give_up(self, _number: int, _frame: FrameType | None) -> None:
        if self._searching:
            raise _OutOfTimeError

    def _tell_slow(self) -> None:
        if not self._told_slow:
            self._told_slow = True
            text = (
                "a pattern of the option `redact` takes too long on what a job prints, which is left out; simplify it"
            )
            events.emit(events.Alerted(text=text))
