"""Workers that have hooks to call: at their start they may fail, at their end they are left some time."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.report import _problem
from jobwarden.supervisor.slot import SlotState
from jobwarden.supervisor.terms import SECOND_NS, PoolTerms
from tests.support.pool_world import TERMS, World, kinds, serving

WHY = "hooks.py:3: @on_worker_start connect failed: OSError: no"


def with_hooks(*, workers: int = 1, **terms: int) -> World:
    """A world whose workers all take leave."""
    world = World(terms=PoolTerms(**{**fields(), "workers": workers, **terms}))
    world.take_leave = True
    world.settle_births()
    world.sync()
    return world


def fields() -> dict[str, Any]:
    """The terms of these tests by name."""
    return {name: getattr(TERMS, name) for name in TERMS.__struct_fields__}


def has_an_idle_worker(world: World) -> bool:
    return len(world.pool.workers.idle) == 1


def state(world: World, slot: int) -> SlotState:
    return world.pool.workers.slots[slot].state


def with_workers(count: int) -> seen.TermsChanged:
    """The configuration wants so many."""
    return seen.TermsChanged(PoolTerms(**{**fields(), "workers": count}))


def alerts(effects: list[do.Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, do.Alert)]


def reload(world: World) -> list[do.Effect]:
    """Other code is served."""
    world.tell(seen.ReloadAsked())
    world.loaded(max(world.templates), code="b")
    return world.last_effects


@pytest.mark.parametrize("reason", ["reload", "drain", "fewer"])
def test_an_idle_worker_that_is_not_needed_is_told_and_left_to_end(reason: str) -> None:
    """In order: new code, a drain, a smaller pool. Nothing is killed."""
    world = with_hooks(workers=2)
    if reason == "reload":
        effects = reload(world)
    else:
        effects = world.tell(seen.StopAsked(now=False) if reason == "drain" else with_workers(1))
    told = [effect.slot for effect in effects if isinstance(effect, do.Retire)]
    assert told == ([1] if reason == "fewer" else [1, 2])
    assert do.KillTree not in kinds(effects)
    world.leave(1)
    ended = world.bury(1)
    assert do.SweepTree(1) in ended
    world.clear(1)
    assert 1 not in world.pool.workers.slots
    if reason != "drain":
        assert do.ForkWorker in kinds(world.tell(with_workers(3))), "nobody takes that for a failed birth"


def test_one_that_retires_leaves_its_place_at_once() -> None:
    """New code does not wait for somebody else's good-bye."""
    world = with_hooks()
    assert kinds(reload(world)).count(do.ForkWorker) == 1
    world.settle_births()
    world.sync()
    assert [slot.generation for slot in world.pool.workers.idle.values()] == [2]
    assert state(world, 1) is SlotState.RETIRING


def test_a_busy_worker_is_told_when_its_job_has_ended() -> None:
    """The job's outcome is recorded first, as always."""
    world = with_hooks()
    slot, _job = world.start()
    assert do.Retire not in kinds(reload(world))
    world.finish(slot)
    effects = world.hear(slot)
    assert kinds(effects).index(do.Record) < kinds(effects).index(do.Retire)


def test_a_good_bye_that_takes_too_long_is_cut_off() -> None:
    """It has the grace of a soft stop, and then the tree is killed; an alert says whose fault that is."""
    world = with_hooks()
    reload(world)
    effects = world.pass_time(TERMS.kill_grace_ns)
    assert do.KillTree(1, dump=False) in effects
    assert alerts(effects) == ["on_worker_stop of worker 1001 takes too long; it is killed"]


@pytest.mark.parametrize(
    "fact", [seen.TrustLost(), seen.StopAsked(now=True), seen.NodeGone()], ids=lambda fact: type(fact).__name__
)
def test_where_there_is_no_time_it_is_killed(fact: seen.Input) -> None:
    """Past the trust window, at a QUIT, and where the node is taken for dead."""
    world = with_hooks()
    assert do.KillTree(1, dump=False) in world.tell(fact)
    world = with_hooks()
    reload(world)
    assert do.KillTree(1, dump=False) in world.tell(fact), "also one that is at its good-byes"


def test_without_a_grace_nobody_is_told() -> None:
    """`kill_grace_seconds = 0` leaves no time for anything."""
    world = with_hooks(kill_grace_ns=0)
    assert do.Retire not in kinds(reload(world))


def test_good_byes_do_not_pile_up() -> None:
    """A worker of every save that came within one grace would be too many: as many as there are workers, no more."""
    world = with_hooks()
    for code in "bcd":
        world.tell(seen.ReloadAsked())
        world.loaded(max(world.templates), code=code)
        world.settle_births()
    states = [slot.state for slot in world.pool.workers.slots.values()]
    assert states.count(SlotState.RETIRING) == 1


def test_a_worker_that_had_to_be_stopped_is_killed() -> None:
    """Its handler was interrupted anywhere: nothing of its code is called any more."""
    world = with_hooks()
    slot, job = world.start(timeout_ms=100)
    world.pass_time(SECOND_NS // 10)
    world.finish(slot)
    assert do.KillTree(slot, dump=False) in world.hear(slot)
    assert job.id == 1


def test_a_start_that_fails_is_told_once_and_tried_again_more_and_more_slowly() -> None:
    """As births do; the problem is shown as long as no worker is ready."""
    world = World(terms=PoolTerms(**{**fields(), "workers": 1}))
    world.loaded(1)
    told: list[str] = []
    pauses: list[int] = []
    for _ in range(5):
        (slot,) = world.workers
        world.bear(slot)
        told += alerts(world.fail_to_begin(slot, WHY))
        world.bury(slot)
        world.clear(slot)
        assert _problem(world.pool) == WHY
        before_ns = world.ns
        world.wait_for_deadline()
        pauses.append(world.ns - before_ns)
    assert told == [f"no worker can begin: {WHY}"]
    assert pauses == sorted(set(pauses))
    world.settle_births()
    assert _problem(world.pool) is None


def test_the_failing_start_of_one_worker_does_not_touch_the_others() -> None:
    """Who is ready serves."""
    world = serving(workers=2)
    world.die(1)
    world.bury(1)
    world.clear(1)
    world.wait_for_deadline()
    (slot,) = [slot for slot in world.workers if slot != 2]
    world.bear(slot)
    effects = world.fail_to_begin(slot)
    assert do.KillTree(slot, dump=False) in effects
    assert world.start()[0] == 2


def test_a_worker_that_serves_cannot_say_that_it_is_not_ready() -> None:
    """A handler may write anything; only a worker at its birth is believed."""
    world = serving(workers=1)
    assert world.tell(seen.Unready(1, WHY)) == []
    assert state(world, 1) is SlotState.READY


def test_a_start_that_hangs_is_named() -> None:
    """After the time for a birth it is killed, and what it may have been is said."""
    world = World(terms=PoolTerms(**{**fields(), "workers": 1}))
    world.loaded(1)
    world.bear(1)
    effects = world.pass_time(TERMS.spawn_ns)
    assert do.KillTree(1, dump=False) in effects
    assert "on_worker_start included" in alerts(effects)[0]


def with_a_trial(*, workers: int = 1) -> World:
    """A world that serves code "a"; code "b", which has hooks at the start, has loaded as generation 2."""
    world = serving(workers=workers)
    world.starts = True
    reload(world)
    return world


def scout_of(world: World) -> int:
    """The slot of the first worker of the new code."""
    (slot,) = [slot.id for slot in world.pool.workers.slots.values() if slot.scout]
    return slot


def test_code_with_hooks_serves_once_its_first_worker_is_ready() -> None:
    """P6: until then the old workers serve on, and nobody but the scout is born."""
    world = with_a_trial(workers=2)
    assert kinds(world.last_effects).count(do.ForkWorker) == 1
    assert world.pool.generations.serving == 1
    old, _job = world.start("quick")
    world.work(old)
    scout = scout_of(world)
    world.bear(scout)
    world.greet(scout)
    effects = world.last_effects
    assert [effect.generation for effect in effects if isinstance(effect, do.NoteServed)] == [2]
    assert [effect.slot for effect in effects if isinstance(effect, do.KillTree)] == [1, 2]
    assert list(world.pool.workers.idle) == [scout]


@pytest.mark.parametrize("how", ["hook", "death", "time", "template", "template later"])
def test_code_whose_first_worker_does_not_get_ready_never_serves(how: str) -> None:
    """P6: the old code serves on with its old workers, the problem is told, and the new code is tried again later."""
    world = with_a_trial()
    scout = scout_of(world)
    if how != "template":
        world.bear(scout)
    if how == "hook":
        effects = world.fail_to_begin(scout, WHY)
    elif how == "death":
        world.die(scout)
        effects = world.bury(scout)
    elif how == "time":
        effects = world.pass_time(TERMS.spawn_ns)
    else:
        world.template_dies(2)
        effects = world.last_effects
        assert (do.KillTree(scout, dump=False) in effects) == (how == "template later")
    (told,) = alerts(effects)
    assert told.startswith("generation 2 is not served: ")
    assert (WHY in told) == (how == "hook")
    assert _problem(world.pool) == told.removeprefix("generation 2 is not served: ")
    assert world.pool.generations.serving == 1
    assert world.start()[0] == 1
    assert do.ForkWorker in kinds(world.tell(with_workers(2))), "the old code's births are not slowed by it"
    world.wait_for_deadline()
    assert max(world.templates) == 3, "it is tried again"


def test_what_serves_is_restored_before_code_that_is_not_proved_is_tried_again() -> None:
    """P6: the new code may never get ready, and without a template the old code's workers would die out."""
    world = with_a_trial()
    scout = scout_of(world)
    world.bear(scout)
    world.fail_to_begin(scout, WHY)
    world.template_dies(1)
    world.wait_for_deadline()
    assert [each.restore for each in world.last_effects if isinstance(each, do.StartTemplate)] == [True]
    world.loaded(3, code="a")
    assert world.pool.generations.template == 3
    world.wait_for_deadline()
    assert [each.restore for each in world.last_effects if isinstance(each, do.StartTemplate)] == [False]


def test_new_code_serves_although_all_places_are_busy_with_the_old() -> None:
    """The scout is one more: what runs for hours does not keep new code away."""
    world = serving(workers=1)
    old, _job = world.start()
    world.starts = True
    reload(world)
    scout = scout_of(world)
    world.bear(scout)
    world.greet(scout)
    assert world.start("quick")[0] == scout
    world.finish(old)
    world.hear(old)
    assert state(world, old) is SlotState.KILLING


def test_newer_code_ends_a_trial() -> None:
    """Its scout goes, whether or not it was born."""
    for born in (True, False):
        world = with_a_trial()
        scout = scout_of(world)
        if born:
            world.bear(scout)
        effects = world.tell(seen.ReloadAsked())
        assert (do.KillTree(scout, dump=False) in effects) == born
        assert not alerts(effects), "nothing is wrong with that"
        world.starts = False
        world.loaded(max(world.templates), code="c")
        assert world.pool.generations.serving == 3
        assert world.run_on(until=partial(has_an_idle_worker, world))
        assert {slot.generation for slot in world.pool.workers.slots.values()} == {3}


def test_a_trial_is_for_code_that_replaces_other_code_only() -> None:
    """At a cold start nothing is better; the same code again needs no proof; nobody is a scout."""
    world = World(terms=PoolTerms(**{**fields(), "workers": 1}))
    world.starts = True
    world.loaded(1)
    assert world.pool.generations.serving == 1
    world.settle_births()
    world.template_dies(1)
    world.wait_for_deadline()
    world.loaded(2)
    assert world.pool.generations.serving == 2


def test_a_worker_that_dies_during_a_trial_is_replaced_by_one_of_the_old_code() -> None:
    """The scout takes nobody's place."""
    world = serving(workers=2)
    slot, _job = world.start()
    world.starts = True
    reload(world)
    world.die(slot)
    world.bury(slot)
    effects = world.clear(slot)
    assert [effect.generation for effect in effects if isinstance(effect, do.ForkWorker)] == [1]


def test_a_trial_ends_with_the_pool() -> None:
    """Leaving waits for nobody who proves anything."""
    world = with_a_trial()
    world.bear(scout_of(world))
    world.tell(seen.StopAsked(now=False))
    assert world.run_on(until=lambda: world.left)


def test_other_code_is_not_kept_waiting_for_what_the_last_one_could_not_do() -> None:
    """The pause after failed births is the old code's."""
    world = World(terms=PoolTerms(**{**fields(), "workers": 1}))
    world.loaded(1)
    for _ in range(4):
        (slot,) = world.workers
        world.bear(slot)
        world.fail_to_begin(slot)
        world.bury(slot)
        world.clear(slot)
        world.wait_for_deadline()
    (slot,) = world.workers
    world.bear(slot)
    world.fail_to_begin(slot)
    world.bury(slot)
    world.clear(slot)
    assert world.workers == {}
    world.tell(seen.ReloadAsked())
    world.starts = False
    world.loaded(max(world.templates), code="b")
    assert len(world.workers) == 1
