"""When a node does its slices of maintenance: in which rhythm, and what a failure costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest

from jobwarden import events
from jobwarden.clock import MILLISECOND_NS, SECOND_NS, Clock
from jobwarden.errors import CommitUnknownError, StoreError, StoreUnavailableError
from jobwarden.store.keeping.retention import Retention
from jobwarden.store.keeping.rounds import Rounds, Rules, Step
from jobwarden.store.writer import Writer
from jobwarden.supervisor.maintenance import Maintenance

PERIOD_SECONDS = 3.0
QUIET_SECONDS = 120.0
BATCH_NS = 5 * MILLISECOND_NS
RULES = Rules(retention=Retention(completed_days=7, ended_days=30), starvation_seconds=300)
AWAY = StoreUnavailableError("sqlite:///jobs.db", "locked")


class HandClock(Clock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.ns = 10**12

    def monotonic_ns(self) -> int:
        return self.ns

    def now_us(self) -> int:
        return self.ns // 1_000


class PlayedWriter:
    """Wins as it is told; each of its batches takes 5 ms and does what the test put on its list."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.wins: list[bool | Exception] = []
        self.batches: list[int | Exception] = []
        self.asked = 0
        self.stepped = 0

    def win_round(self, **_when: int) -> bool:
        self.asked += 1
        won = self.wins.pop(0) if self.wins else False
        if isinstance(won, Exception):
            raise won
        return won

    def step_round(self, rounds: Rounds, *, now_us: int) -> Step:  # noqa: ARG002 - the writer's own
        self.stepped += 1
        self.clock.ns += BATCH_NS
        batch = self.batches.pop(0) if self.batches else 0
        if isinstance(batch, Exception):
            raise batch
        if not self.batches:
            rounds.abandon()
        rounds.done = {"removed": batch} if batch else rounds.done
        return Step(batch, moved=batch == 7)


class Stage:
    """Maintenance with a played writer, on a clock set by hand."""

    def __init__(self, *, quiet_seconds: float | None = None) -> None:
        self.clock = HandClock()
        self.writer = PlayedWriter(self.clock)
        self.maintenance = Maintenance(
            RULES, period_seconds=PERIOD_SECONDS, clock=self.clock, quiet_seconds=quiet_seconds
        )

    def turn(self) -> bool:
        return self.maintenance.turn(cast("Writer", self.writer))

    def pass_time(self, seconds: float) -> None:
        self.clock.ns += int(seconds * SECOND_NS)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def quiet() -> Stage:
    """On a server, where nothing has happened since its first question."""
    stage = Stage(quiet_seconds=QUIET_SECONDS)
    stage.turn()
    return stage


@pytest.fixture
def alerts() -> Iterator[list[str]]:
    """What people are told meanwhile."""
    heard: list[str] = []
    forget = events.listen(lambda fact: heard.append(fact.text) if isinstance(fact, events.Alerted) else None)
    yield heard
    forget()


def test_it_asks_once_in_a_period(stage: Stage) -> None:
    """However often the ledger comes by; whoever has won does the rest."""
    for _ in range(5):
        stage.turn()
    assert stage.writer.asked == 1
    assert stage.maintenance.idle_seconds() == PERIOD_SECONDS
    stage.pass_time(PERIOD_SECONDS)
    stage.turn()
    assert (stage.writer.asked, stage.writer.stepped) == (2, 0)


def test_after_a_batch_the_store_is_left_to_jobs_for_twice_as_long(stage: Stage) -> None:
    """A backlog of what is old leaves two thirds of the ledger's time to claims."""
    stage.writer.wins, stage.writer.batches = [True], [400, 400, 400]
    stage.turn()
    stage.turn()
    assert stage.maintenance.idle_seconds() == pytest.approx(0.010)
    stage.turn()
    assert stage.writer.stepped == 1
    stage.pass_time(0.010)
    stage.turn()
    assert stage.writer.stepped == 2


def test_as_many_as_have_ended_are_removed_without_a_pause(stage: Stage) -> None:
    """So retention keeps up with any rate of ends, and no further."""
    stage.writer.wins, stage.writer.batches = [True], [400, 400, 400, 400]
    stage.maintenance.ended(900)
    stage.turn()
    for _ in range(5):
        stage.turn()
    assert stage.writer.stepped == 3
    assert stage.maintenance.idle_seconds() > 0


def test_a_round_ends_with_its_period(stage: Stage) -> None:
    """What is left comes with the next one, whose first duties are due by then."""
    stage.writer.wins, stage.writer.batches = [True, False], [400] * 1_000_000
    stage.turn()
    while stage.writer.asked == 1:
        stage.turn()
        stage.pass_time(0.001)
    began_ns = 10**12
    assert PERIOD_SECONDS <= (stage.clock.ns - began_ns) / SECOND_NS < PERIOD_SECONDS + 0.1
    assert stage.maintenance.summary is not None
    assert stage.maintenance.summary["done"] == {"removed": 400}


def test_it_says_whether_jobs_were_moved(stage: Stage) -> None:
    """Then others are rung."""
    stage.writer.wins, stage.writer.batches = [True], [7, 0]
    assert [stage.turn(), stage.turn()] == [False, True]


@pytest.mark.parametrize("problem", [AWAY, CommitUnknownError("sqlite:///jobs.db")])
def test_a_store_that_is_away_ends_the_round_quietly(stage: Stage, alerts: list[str], problem: StoreError) -> None:
    """The ledger tells of it with its own next write; maintenance comes again a period later."""
    stage.writer.wins, stage.writer.batches = [True, problem, True], [problem, 400, 400]
    stage.turn()
    assert not stage.turn()
    for _ in range(2):
        assert stage.maintenance.idle_seconds() > PERIOD_SECONDS - 1
        stage.pass_time(PERIOD_SECONDS)
        stage.turn()
    assert (stage.writer.asked, stage.writer.stepped, alerts) == (3, 1, [])


def test_a_duty_that_fails_is_told_once_and_left_out(stage: Stage, alerts: list[str]) -> None:
    """One odd row must not cost the outcomes of all other jobs, nor the duties after it; each round tries again."""
    failure = StoreError("no such luck")
    stage.writer.wins = [True, True]
    for _ in range(2):
        stage.writer.batches = [failure, LookupError("odd"), 3]
        while stage.writer.batches:
            stage.turn()
            stage.pass_time(0.1)
        stage.pass_time(PERIOD_SECONDS)
    assert len(alerts) == 2
    assert "no such luck" in alerts[0]
    assert "LookupError: odd" in alerts[1]
    assert stage.maintenance.summary is not None
    assert stage.maintenance.summary["done"] == {"removed": 3}


def test_what_fails_again_after_it_went_well_is_told_again(stage: Stage, alerts: list[str]) -> None:
    """It is another failure."""
    stage.writer.wins = [True, True, True]
    for outcome in (StoreError("no"), 3, StoreError("no")):
        stage.writer.batches = [outcome, 1]
        while stage.writer.batches:
            stage.turn()
            stage.pass_time(0.1)
        stage.pass_time(PERIOD_SECONDS)
    assert len(alerts) == 2


def test_while_nothing_stirs_it_asks_seldom(quiet: Stage) -> None:
    """Each question is a round trip; what follows from a moment in time is known by that moment."""
    assert quiet.maintenance.idle_seconds() == QUIET_SECONDS
    quiet.pass_time(QUIET_SECONDS - 1)
    quiet.turn()
    assert quiet.writer.asked == 1
    quiet.pass_time(1)
    quiet.turn()
    assert quiet.writer.asked == 2


@pytest.mark.parametrize("stir", [Maintenance.stir, lambda maintenance: maintenance.ended(1)], ids=["seen", "ended"])
def test_when_something_stirs_it_asks_in_the_usual_period(quiet: Stage, stir: Callable[[Maintenance], None]) -> None:
    """Once for what has happened; then it is quiet again."""
    stir(quiet.maintenance)
    assert quiet.maintenance.idle_seconds() == PERIOD_SECONDS
    quiet.pass_time(PERIOD_SECONDS)
    quiet.turn()
    assert (quiet.writer.asked, quiet.maintenance.idle_seconds()) == (2, QUIET_SECONDS)


@pytest.mark.parametrize("batches", [[400], [LookupError("odd"), 0]], ids=["found something", "failed"])
def test_a_round_that_may_have_left_something_is_followed_by_another(
    quiet: Stage, batches: list[int | Exception]
) -> None:
    """A backlog goes on period by period, and what failed is tried again as soon."""
    quiet.writer.wins, quiet.writer.batches = [True], batches
    quiet.pass_time(QUIET_SECONDS)
    while quiet.writer.asked == 1 or quiet.writer.batches:
        quiet.turn()
        quiet.pass_time(0.1)
    assert quiet.maintenance.idle_seconds() < PERIOD_SECONDS


def test_a_question_that_failed_comes_again_in_the_usual_period(quiet: Stage) -> None:
    """The store was away; that is no quiet."""
    quiet.writer.wins = [AWAY]
    quiet.pass_time(QUIET_SECONDS)
    quiet.turn()
    assert quiet.maintenance.idle_seconds() == PERIOD_SECONDS
