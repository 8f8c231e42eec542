"""Signs of life of threads: who gives one, who owes one, and who may take as long as he likes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from jobwarden import events
from jobwarden.clock import SECOND_NS, Clock
from jobwarden.supervisor.signs import Sign, Vigil, marked

BOUND_SECONDS = 30.0


class HandClock(Clock):
    """Set by hand."""

    def __init__(self) -> None:
        self.ns = 1_000 * SECOND_NS

    def monotonic_ns(self) -> int:
        return self.ns

    def after(self, seconds: float) -> int:
        """The moment so long from now."""
        return self.ns + int(seconds * SECOND_NS)


class Database:
    """Whatever is asked takes a while, in which `vigil` is asked."""

    name = "jobs"

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def ask(self, vigil: Vigil, *, at_ns: int) -> str:
        """Is the caller alive meanwhile?"""
        self.seen.append(vigil.all_well(at_ns))
        return "answer"


@pytest.fixture
def alerts() -> Iterator[list[str]]:
    heard: list[str] = []
    end = events.listen(lambda fact: heard.append(fact.text) if isinstance(fact, events.Alerted) else None)
    yield heard
    end()


def watched(sign: Sign) -> Vigil:
    """Of this thread, which lives."""
    return Vigil([threading.current_thread()], {threading.current_thread().name: sign}, bound_seconds=BOUND_SECONDS)


def test_a_thread_that_is_at_its_own_work_for_too_long_gives_no_sign(alerts: list[str]) -> None:
    """People are told once where it is: by files and lines, without values."""
    clock = HandClock()
    sign = Sign(clock)
    with sign.waiting():
        pass
    vigil = watched(sign)
    assert vigil.all_well(clock.after(BOUND_SECONDS))
    assert not vigil.all_well(clock.after(BOUND_SECONDS + 1))
    assert not vigil.all_well(clock.after(BOUND_SECONDS + 2))
    assert len(alerts) == 1
    assert "thread gives no sign of life" in alerts[0]
    assert "test_signs.py" in alerts[0]


def test_one_that_waits_for_somebody_else_may_wait_for_ever() -> None:
    """For work, for the database, for the kernel."""
    clock = HandClock()
    sign = Sign(clock)
    with sign.waiting():
        assert watched(sign).all_well(clock.after(1_000_000))


def test_one_that_should_have_woken_up_long_ago_gives_no_sign() -> None:
    """A renewal that rests for a while has the bound from the end of that while on."""
    clock = HandClock()
    sign = Sign(clock)
    with sign.waiting(seconds=600):
        assert watched(sign).all_well(clock.after(600 + BOUND_SECONDS))
        assert not watched(sign).all_well(clock.after(601 + BOUND_SECONDS))


def test_in_the_hands_of_the_database_no_sign_is_owed() -> None:
    """However long a call of it takes, also if it fails; what is no call passes through."""
    clock = HandClock()
    sign, database = Sign(clock), Database()
    door = marked(database, sign)
    with sign.waiting():
        pass
    assert door.ask(watched(sign), at_ns=clock.after(3_600)) == "answer"
    with pytest.raises(TypeError):
        door.ask()  # type: ignore[call-arg]
    assert database.seen == [True]
    assert door.name == "jobs"
    assert not watched(sign).all_well(clock.after(3_600))


def test_a_thread_that_has_ended_is_missed(alerts: list[str]) -> None:
    """Whatever it last said."""
    ended = threading.Thread(name="killer")
    ended.start()
    ended.join()
    assert not Vigil([ended], {}, bound_seconds=BOUND_SECONDS).all_well(1)
    assert alerts == ["the killer thread gives no sign of life; it is here:\nit has ended"]
