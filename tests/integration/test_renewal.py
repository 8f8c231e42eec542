"""Who is dead, as a node sees it on SQLite: by the flock on the node's file; where the file is missing, by its beat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.clock import SECOND_NS, Clock
from jobwarden.store import NodeStart, Store, Work, open_store
from jobwarden.store.deaths import DeathWatch
from jobwarden.store.life import hold_node, lock_path

LEASE_SECONDS = 15


class HandClock(Clock):
    """Boot time is set by hand."""

    ns = 1_000 * SECOND_NS

    def boottime_ns(self) -> int:
        """As set."""
        return self.ns


class Observer:
    """A node that looks at the node `other`."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandClock()
        self.store: Store = open_store(f"sqlite:///{folder / 'jobs.db'}")
        self.writer = self.store.writer()
        nodes = self.store.side_dir("nodes")
        assert nodes is not None
        self.path = lock_path(nodes, "other")
        self.deaths = DeathWatch(self.store, lease_seconds=LEASE_SECONDS, clock=self.clock)
        start = NodeStart(
            node_id="other",
            name="host:1",
            host="host",
            boot_id="boot",
            pid=1,
            state_dir="state",
            lease_seconds=LEASE_SECONDS,
            doorbell=None,
            version="0",
        )
        self.writer.register(start, now_us=1)

    def beat(self) -> None:
        """The other node beats."""
        self.writer.transact(Work(now_us=1, node_id="other", node_name="host:1", report="{}"))

    def dead_nodes(self) -> list[str]:
        """Whom it sees dead now."""
        return [dead.node_id for dead in self.deaths.dead_nodes(own="own")]

    def pass_seconds(self, seconds: float) -> None:
        """Boot time goes on."""
        self.clock.ns += int(seconds * SECOND_NS)

    def watch_for(self, seconds: int) -> None:
        """Look once a second, and see nobody dead."""
        for _ in range(seconds):
            self.pass_seconds(1)
            assert self.dead_nodes() == []


@pytest.fixture
def observer(tmp_path: Path) -> Iterator[Observer]:
    """A node that knows of one other."""
    made = Observer(tmp_path)
    yield made
    made.writer.close()
    made.store.close()


def test_a_held_lock_is_life_however_long_it_is_silent(observer: Observer) -> None:
    """All nodes share one kernel: what it says is certain, so no lease is needed."""
    descriptor = hold_node(observer.path)
    observer.dead_nodes()
    observer.pass_seconds(100 * LEASE_SECONDS)
    assert observer.dead_nodes() == []
    os.close(descriptor)
    assert observer.dead_nodes() == ["other"]


def test_the_file_of_a_dead_node_stays_until_its_row_is_gone(observer: Observer) -> None:
    """Else the next look, after a write that failed, would find it missing and would have to wait for a lease."""
    os.close(hold_node(observer.path))
    assert observer.dead_nodes() == ["other"]
    assert observer.dead_nodes() == ["other"]
    observer.writer.remove_node("other")
    assert observer.dead_nodes() == []
    assert not observer.path.exists()


def test_the_file_of_a_node_that_died_before_it_had_a_row_is_removed(observer: Observer) -> None:
    """Nobody would ever look for it; one that is held, by a daemon that is just starting, stays."""
    paths = [observer.path.with_name(f"{name}.lock") for name in ("died", "starts")]
    died, starts = [hold_node(path) for path in paths]
    os.close(died)
    for _ in range(2):
        assert observer.dead_nodes() == []
    assert [path.exists() for path in paths] == [False, True]
    os.close(starts)


def test_a_node_whose_file_was_tidied_away_lives_while_it_beats(observer: Observer) -> None:
    """Taken for dead at once, its jobs would run a second time beside the first (P2)."""
    for _ in range(10):
        assert observer.dead_nodes() == []
        observer.beat()
        observer.watch_for(LEASE_SECONDS - 1)


def test_a_node_without_file_and_beat_is_dead_after_a_lease(observer: Observer) -> None:
    """What an observer has itself seen stand still for a whole lease (R6)."""
    assert observer.dead_nodes() == []
    observer.watch_for(LEASE_SECONDS - 1)
    observer.pass_seconds(1)
    assert observer.dead_nodes() == ["other"]
