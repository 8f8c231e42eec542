"""What a start waits for, and what it does not wait for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobwarden import events
from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.errors import CommitUnknownError, SchemaMismatchError, StoreError, StoreUnavailableError
from jobwarden.supervisor import awaiting
from jobwarden.supervisor.awaiting import Awaiting
from jobwarden.supervisor.handover import inheritable_memfd
from jobwarden.wire.page import ALIVE, PAGE_BYTES, SharedPage
from tests.support.service_manager import Line

AWAY = StoreUnavailableError("jobs", "no server answers there", passes=True)
LASTING = [
    StoreUnavailableError("jobs", "the server refuses the user or the password"),
    SchemaMismatchError("jobs", "0001", "0002"),
    StoreError("jobs: something else"),
]


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


@pytest.fixture
def page() -> SharedPage:
    return SharedPage(inheritable_memfd("page", bytes(PAGE_BYTES)), writable=True)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try follows the other at once."""
    monkeypatch.setattr(awaiting, "_PAUSE_SECONDS", 0.001)


class Server:
    """Answers after some errors."""

    def __init__(self, *errors: StoreError) -> None:
        self.errors = list(errors)

    def ask(self) -> str:
        """One try."""
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def test_it_tries_until_the_store_is_there_and_tells_people_once(line: Line, page: SharedPage) -> None:
    """Also where the answer to a commit was lost; a keeper that looked for signs of life waits for the loop's again."""
    facts: list[str] = []
    end = events.listen(lambda fact: facts.append(events.name_of(fact)))
    server = Server(AWAY, AWAY, CommitUnknownError("jobs"), AWAY)
    patient = Awaiting(line.notifier, page=page, clock=SYSTEM_CLOCK, waits=True)
    assert patient.until_done(server.ask) == "answer"
    end()
    assert facts == ["store_away", "store_back"]
    told = [message for message in line.said() if message[0].startswith("STATUS=")]
    assert told[0] == ["STATUS=waits for the database: jobs: no server answers there"]
    assert page[ALIVE] == 0


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_what_waiting_cannot_mend_is_an_error_at_once(line: Line, page: SharedPage, error: StoreError) -> None:
    """A password, a name, a schema: also after a wait."""
    patient = Awaiting(line.notifier, page=page, clock=SYSTEM_CLOCK, waits=True)
    with pytest.raises(type(error)):
        patient.until_done(Server(AWAY, error).ask)


def test_an_errand_does_not_wait(line: Line, page: SharedPage) -> None:
    """Whoever started it wants to know."""
    with pytest.raises(StoreUnavailableError):
        Awaiting(line.notifier, page=page, clock=SYSTEM_CLOCK, waits=False).until_done(Server(AWAY).ask)
