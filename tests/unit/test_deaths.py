"""Whom an observer takes for dead by beats: its own CLOCK_BOOTTIME and the other's lease judge, and nothing else."""

from __future__ import annotations

import pytest

from jobwarden.clock import SECOND_NS, Clock
from jobwarden.store.deaths import Beats, Dead, pause_seconds, predecessors
from jobwarden.store.work import NodeStart, NodeView

LEASE_SECONDS = 15.0


class HandClock(Clock):
    """Boot time is set by hand; the wall clock is whatever a test makes it."""

    def __init__(self) -> None:
        self.ns = 1_000 * SECOND_NS
        self.wall_us = 1_700_000_000_000_000

    def boottime_ns(self) -> int:
        return self.ns

    def now_us(self) -> int:
        return self.wall_us


class Observer:
    """Looks once a second."""

    def __init__(self, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.clock = HandClock()
        self.beats = Beats(pause_seconds=pause_seconds(lease_seconds), clock=self.clock)

    def look(self, *nodes: tuple[str, int, float], after: float = 1.0) -> list[Dead]:
        """What it sees when so many seconds have passed."""
        self.clock.ns += int(after * SECOND_NS)
        return self.beats.still(nodes)

    def look_for(self, seconds: int, *nodes: tuple[str, int, float]) -> list[Dead]:
        """Whom it finds dead in all of these looks."""
        return [dead for _ in range(seconds) for dead in self.look(*nodes)]


@pytest.fixture
def observer() -> Observer:
    return Observer()


def test_a_beat_that_stands_still_for_the_whole_lease_is_death(observer: Observer) -> None:
    """Counted from the first look: what was before that, this observer has not seen."""
    assert observer.look_for(15, ("a", 7, 15.0)) == []
    assert observer.look(("a", 7, 15.0)) == [Dead("a", 7)]


def test_a_beat_that_moves_is_life_however_slowly(observer: Observer) -> None:
    """Each new beat is a whole lease."""
    for beat in range(5):
        assert observer.look_for(14, ("a", beat, 15.0)) == []


def test_each_nodes_own_lease_counts(observer: Observer) -> None:
    """Not the observer's, which may be longer or shorter."""
    nodes = (("short", 1, 3.0), ("long", 1, 60.0))
    assert observer.look_for(3, *nodes) == []
    assert observer.look(*nodes) == [Dead("short", 1)]
    assert observer.look_for(56, ("long", 1, 60.0)) == []
    assert observer.look(("long", 1, 60.0)) == [Dead("long", 1)]


def test_the_dead_are_named_until_their_rows_are_gone(observer: Observer) -> None:
    """To bury them may fail, and then it is tried again."""
    observer.look_for(16, ("a", 1, 15.0))
    assert observer.look(("a", 1, 15.0)) == [Dead("a", 1)]
    assert observer.look() == []
    assert observer.look(("a", 1, 15.0)) == []


def test_an_observer_that_was_away_itself_begins_anew(observer: Observer) -> None:
    """The database was away for all: whoever comes back first must not take the others for dead."""
    observer.look_for(10, ("a", 1, 15.0))
    assert observer.look(("a", 1, 15.0), after=60) == []
    assert observer.look_for(14, ("a", 1, 15.0)) == []
    assert observer.look(("a", 1, 15.0)) == [Dead("a", 1)]


def test_an_observer_with_a_long_lease_takes_nobody_for_dead_after_an_outage_that_it_outlived() -> None:
    """The others' leases are shorter, and nobody could renew; what they kept for the store would be refused."""
    observer = Observer(lease_seconds=60.0)
    assert observer.look_for(10, ("a", 1, 15.0)) == []
    assert observer.look(("a", 1, 15.0), after=20) == []
    assert observer.look_for(3, ("a", 2, 15.0)) == []


@pytest.mark.parametrize("jump_seconds", [3_600, -3_600, 86_400 * 365, -86_400 * 365])
def test_a_jump_of_the_wall_clock_kills_nobody_and_saves_nobody(observer: Observer, jump_seconds: int) -> None:
    """R6: no wall clock takes part in the question who is dead."""
    assert observer.look_for(8, ("a", 1, 15.0)) == []
    observer.clock.wall_us += jump_seconds * 1_000_000
    assert observer.look_for(7, ("a", 1, 15.0)) == []
    assert observer.look(("a", 1, 15.0)) == [Dead("a", 1)]


def started(node_id: str, *, boot_id: str = "boot", state_lock: str | None = "8:1") -> NodeStart:
    """A node that starts."""
    return NodeStart(
        node_id=node_id,
        name="host:1",
        host="host",
        boot_id=boot_id,
        pid=1,
        state_dir="state",
        state_lock=state_lock,
        lease_seconds=15.0,
        doorbell=None,
        version="0",
    )


def row(node_id: str, *, boot_id: str = "boot", state_lock: str | None = "8:1") -> NodeView:
    """What such a node's row shows."""
    return NodeView(
        node_id=node_id,
        name="host:1",
        host="host",
        boot_id=boot_id,
        pid=1,
        state_dir="state",
        state_lock=state_lock,
        started_us=1,
        beat=3,
        beat_us=1,
        lease_seconds=15.0,
        doorbell=None,
        version="0",
        types=None,
        report=None,
    )


def test_a_row_of_the_same_boot_and_the_same_locked_file_is_a_predecessors() -> None:
    """R3: its lock is ours now, so nobody of it is left."""
    assert predecessors([row("old"), row("new")], started("new")) == [Dead("old")]


@pytest.mark.parametrize(
    "other", [row("a", boot_id="another"), row("a", state_lock="8:2"), row("a", state_lock=None)], ids=repr
)
def test_any_other_row_is_left_to_its_lease(other: NodeView) -> None:
    """Another host, another state directory, or a client that holds none."""
    assert predecessors([other], started("new")) == []


def test_who_holds_no_locked_file_has_no_predecessor() -> None:
    """Two rows without one have nothing in common."""
    assert predecessors([row("a", state_lock=None)], started("new", state_lock=None)) == []
