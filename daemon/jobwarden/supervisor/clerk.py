"""Does in the store what running handlers ask for, in a thread and on connections of its own.

One request after the other, each a transaction; the answer goes to the worker after the commit. What a worker that is
dead by then had asked is not begun. It decides nothing about jobs, and never touches the pool. A store that is away
costs a request the busy timeout, then the handler gets StoreUnavailableError, as a client would. The loop is its only
caller.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from jobwarden import events
from jobwarden.clock import SECOND_NS
from jobwarden.errors import InvalidJobError, JobwardenError, StoreUnavailableError
from jobwarden.supervisor.inputs import Rang
from jobwarden.supervisor.signs import Sign
from jobwarden.supervisor.verbs import VERBS, WRITING
from jobwarden.wire.messages import LARGEST_ASKED, Answer

if TYPE_CHECKING:
    from jobwarden.clock import Clock
    from jobwarden.store import Store
    from jobwarden.supervisor.mailbox import Mailbox


class Request(msgspec.Struct, frozen=True):
    """What the running job of this slot asks; `number` goes back with the answer."""

    slot: int
    number: int
    verb: str
    arguments: str
    at_ns: int
    """When it was taken, CLOCK_MONOTONIC."""
    waits: Callable[[], bool]
    """Whether anybody is still there for the answer; called in the clerk's thread."""


class Clerk(threading.Thread):
    """Feed it with `submit`; answers go to the loop's mailbox."""

    def __init__(self, store: Store, mailbox: Mailbox, *, clock: Clock, patience_seconds: float) -> None:
        """`patience_seconds` is how long a request may wait for the ones before it; then the store counts as away."""
        super().__init__(name="clerk", daemon=True)
        self._store = store
        self._mailbox = mailbox
        self._clock = clock
        self._patience_ns = int(patience_seconds * SECOND_NS)
        self.sign = Sign(clock)
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()

    def submit(self, slot: int, number: int, verb: str, arguments: str, *, waits: Callable[[], bool]) -> None:
        """From the loop: do this for the job that runs in this slot, if it still `waits` when its turn comes."""
        self._queue.put(Request(slot, number, verb, arguments, self._clock.monotonic_ns(), waits))

    def finish(self, *, timeout_seconds: float) -> None:
        """No worker is left that could wait for an answer: end after what is under way."""
        self._queue.put(None)
        self.join(timeout_seconds)

    def run(self) -> None:
        """Serve until `finish`."""
        while (request := self._next()) is not None:
            if not request.waits():
                continue
            with self.sign.waiting():
                answer = self._answer_to(request)
            if request.verb in WRITING and answer.error is None:
                self._mailbox.post(Rang())
            self._mailbox.answer(request.slot, answer)

    def _next(self) -> Request | None:
        with self.sign.waiting():
            return self._queue.get()

    def _answer_to(self, request: Request) -> Answer:
        try:
            value = self._perform(request)
        except JobwardenError as error:
            return refusal(request.number, error)
        except Exception as error:  # noqa: BLE001 - a handler's odd arguments must not end the supervisor (P5)
            problem = f"{request.verb} of a handler failed with {type(error).__name__}: {error}"
            events.emit(events.Alerted(text=problem))
            return refusal(request.number, JobwardenError(problem))
        if len(value) > LARGEST_ASKED:
            problem = f"the answer is {len(value)} bytes of JSON; ask for fewer jobs at once"
            return refusal(request.number, InvalidJobError("limit", problem))
        return Answer(request.number, value)

    def _perform(self, request: Request) -> str:
        """The verb's answer as JSON text."""
        if self._clock.monotonic_ns() - request.at_ns > self._patience_ns:
            raise StoreUnavailableError(self._store.url_shown, "too many requests wait for it; ask again later")
        verb = VERBS.get(request.verb)
        if verb is None:
            problem = f"this daemon does not know {request.verb!r}; restart it, it is older than its workers"
            raise JobwardenError(problem)
        return msgspec.json.encode(verb(self._store, request.arguments, now_us=self._clock.now_us())).decode()


def refusal(number: int, error: JobwardenError) -> Answer:
    """The error as it travels: its class, its sentence, and what it carries that JSON can carry."""
    carried = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | None)}
    return Answer(number, msgspec.json.encode(carried).decode(), str(error), type(error).__name__)
