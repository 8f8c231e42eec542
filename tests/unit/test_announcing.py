"""What a service manager is told of a node, and when: played pools, and a real line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobwarden import events
from jobwarden.clock import SECOND_NS, SECOND_US, Clock
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.announcing import Announcing
from jobwarden.supervisor.report import report_of
from jobwarden.supervisor.systemd import Notifier
from jobwarden.supervisor.terms import PoolTerms
from tests.support.pool_world import TERMS
from tests.support.pools_world import PoolsWorld, named
from tests.support.service_manager import Line, Message

WATCHDOG_USEC = 20 * SECOND_US


class Scene(Clock):
    """Pools, the line, and the turns of a loop."""

    def __init__(self, line: Line, *terms: PoolTerms) -> None:
        self.world = PoolsWorld(*(terms or (TERMS,)))
        self.parts = list(self.world.parts.values())
        self.well = True
        self.depth: int | None = None
        self._line = line
        self.announcing = Announcing(
            self.world.pools,
            line.notifier,
            watchdog_usec=WATCHDOG_USEC,
            all_well=lambda _now_ns: self.well,
            depth=lambda: self.depth,
            clock=self,
        )

    def monotonic_ns(self) -> int:
        return self.world.ns

    def turn(self, *, after_seconds: float = 1.0) -> list[Message]:
        """One turn of the loop so long after the last one; what was said in it, without signs of life."""
        self.world.ns += int(after_seconds * SECOND_NS)
        now = self.parts[0].moment
        if self.announcing.look(now) or after_seconds >= 1:
            self.announcing.tell(report_of(self.world.pools, now, kill_level_of=str), now)
        return [message for message in self._line.said() if message != ["WATCHDOG=1"]]

    def serve(self) -> None:
        """Each pool has loaded its first generation."""
        for place, part in enumerate(self.parts, start=1):
            part.loaded(place)
        self.turn(after_seconds=0)

    def reload(self, pool: str | None = None) -> None:
        """As people ask for it."""
        self.announcing.reload_began(pool)
        self.world.tell(seen.ReloadAsked(pool))

    def lines(self, *, after_seconds: float = 1.0) -> list[str]:
        """All lines of a turn."""
        return [line for message in self.turn(after_seconds=after_seconds) for line in message]


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def test_it_is_ready_when_the_first_generation_is_served(line: Line) -> None:
    """Until then it asks for time, because a load has its own limit; then the status comes in the same message."""
    scene = Scene(line)
    assert scene.turn() == [["STATUS=nothing is served; 0 of 2 workers busy", "EXTEND_TIMEOUT_USEC=15000000"]]
    scene.parts[0].loaded(1)
    assert scene.turn(after_seconds=0) == [["READY=1", "STATUS=generation 1 serves 2 job types; 0 of 2 workers busy"]]
    assert scene.turn() == []


def test_with_several_pools_it_is_ready_when_each_has_tried_and_one_serves(line: Line) -> None:
    """One pool's broken code must not keep the others from serving, nor be mistaken for a start."""
    scene = Scene(line, named("light"), named("heavy"))
    scene.parts[0].loaded(1)
    assert "READY=1" not in scene.lines()
    scene.world.tell(seen.TemplateFailed(2, "no such interpreter"))
    ready, status = scene.turn(after_seconds=0)[0]
    assert ready == "READY=1"
    assert status.startswith("STATUS=pool heavy: no such interpreter; 1 of 2 pools serve")


def test_a_daemon_that_serves_nothing_is_not_ready(line: Line) -> None:
    """And asks for no more time: its service manager may give up, and shows why."""
    scene = Scene(line)
    scene.world.tell(seen.TemplateFailed(1, "no such interpreter"))
    assert scene.turn() == [["STATUS=no such interpreter; nothing is served; 0 of 2 workers busy"]]
    scene.world.tell(seen.Ticked())
    assert "READY=1" not in scene.lines()


@pytest.mark.parametrize("problem", ["", "a.py:1: SyntaxError"])
def test_a_reload_is_told_at_its_begin_and_when_its_outcome_is_known(line: Line, problem: str) -> None:
    """RELOADING=1 carries the time in the same message; READY=1 follows for better or worse, with the status."""
    scene = Scene(line)
    scene.serve()
    scene.reload()
    assert scene.turn(after_seconds=0) == [["RELOADING=1", f"MONOTONIC_USEC={scene.world.ns // 1_000}"]]
    assert "READY=1" not in scene.lines()
    scene.parts[0].loaded(2, code="b", problem=problem, broken=("a.py",) if problem else ())
    assert scene.turn(after_seconds=0)[0][0] == "READY=1"
    assert scene.turn(after_seconds=0) == []


def test_a_reload_of_one_pool_does_not_wait_for_the_others(line: Line) -> None:
    """`jobwarden reload --pool`: what the others are doing is their affair."""
    scene = Scene(line, named("light"), named("heavy"))
    scene.serve()
    scene.world.tell(seen.ReloadAsked("heavy"))
    scene.reload("light")
    scene.turn(after_seconds=0)
    scene.parts[0].loaded(3, code="b")
    assert scene.lines(after_seconds=0)[0] == "READY=1"


def test_a_reload_that_cannot_be_done_now_is_over(line: Line) -> None:
    """A node without its lease loads nothing; a service manager must not wait for it, and is told."""
    scene = Scene(line)
    scene.serve()
    scene.world.tell(seen.TrustLost())
    scene.reload()
    told = scene.lines(after_seconds=0)
    assert told[0] == "RELOADING=1"
    assert told[2] == "READY=1"
    assert told[3].startswith("STATUS=has lost its lease")


def test_a_save_is_no_reload_for_the_service_manager(line: Line) -> None:
    """Nobody there asked for it; the status tells what came of it."""
    scene = Scene(line)
    scene.serve()
    scene.world.tell(seen.ReloadAsked("default", "b"))
    scene.parts[0].loaded(2, code="b")
    assert scene.turn() == [["STATUS=generation 2 serves 2 job types; 0 of 2 workers busy"]]


def test_stopping_comes_first_and_time_is_asked_for_while_a_job_runs(line: Line) -> None:
    """`drain_seconds` and the grace bound it, so the service manager does not have to; afterwards nothing is asked."""
    scene = Scene(line)
    scene.serve()
    part = scene.parts[0]
    part.settle_births()
    part.add("quick")
    scene.world.tell(seen.Rang())
    for _ in range(3):
        scene.world.reconcile()
    (slot,) = [slot.id for slot in scene.world.pools.all[0].workers.slots.values() if slot.head]
    scene.turn()
    scene.world.tell(seen.StopAsked(now=False))
    told = ["STOPPING=1", "STATUS=stopping; 1 job still running", "EXTEND_TIMEOUT_USEC=15000000"]
    assert scene.turn(after_seconds=0) == [told]
    assert scene.lines() == ["EXTEND_TIMEOUT_USEC=15000000"]
    part.take(slot)
    part.finish(slot)
    part.hear(slot)
    assert scene.lines() == ["STATUS=stopping; 0 jobs still running"]
    assert scene.lines() == []


def test_the_watchdog_is_fed_as_long_as_all_threads_are_alive(line: Line) -> None:
    """Four times per interval; a silent thread ends it, and a store that is away does not."""
    scene = Scene(line)
    scene.serve()
    scene.announcing.hear(events.StoreAway(problem="no server answers there"))
    fed = 0
    for _ in range(20):
        scene.world.ns += SECOND_NS
        scene.announcing.look(scene.parts[0].moment)
        fed += line.said().count(["WATCHDOG=1"])
    assert fed == 4
    scene.well = False
    scene.world.ns += 20 * SECOND_NS
    scene.announcing.look(scene.parts[0].moment)
    assert line.said() == []


def test_a_status_in_which_only_numbers_change_is_told_now_and_then(line: Line) -> None:
    """Under load it changes with every second; what is wrong is told at once."""
    scene = Scene(line)
    scene.serve()
    told = []
    for depth in range(10, 20):
        scene.depth = depth
        told += scene.lines()
    assert [line.rpartition("; ")[2] for line in told] == ["10 jobs wait", "15 jobs wait"]
    scene.announcing.hear(events.StoreAway(problem="jobs: no server answers there"))
    assert scene.lines()[0].startswith("STATUS=the database does not answer: jobs: no server")
    scene.announcing.hear(events.StoreBack(kept=0))
    assert scene.lines()[0].startswith("STATUS=generation 1 serves")


def test_without_a_service_manager_nothing_is_said_or_looked_at() -> None:
    """`jobwarden run` in a terminal."""
    world = PoolsWorld(TERMS)
    announcing = Announcing(
        world.pools,
        Notifier(None),
        watchdog_usec=None,
        all_well=lambda _now_ns: pytest.fail("nobody asks"),
        depth=lambda: pytest.fail("nobody asks"),
        clock=Clock(),
    )
    now = next(iter(world.parts.values())).moment
    announcing.reload_began(None)
    assert not announcing.look(now)
    announcing.tell({}, now)
