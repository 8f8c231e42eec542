"""How long a worker serves: so many jobs, or until its memory has grown; and no job is ever lost with it."""

from __future__ import annotations

import pytest

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.intake import DEPTH
from jobwarden.supervisor.pool import Pool
from tests.support.pool_world import TERMS, World, endings, given_back, serving

MOST_KB = 50_000
BORN_KB = 30_000


def killed(effects: list[do.Effect]) -> list[int]:
    """The slots whose workers are to go."""
    return [effect.slot for effect in effects if isinstance(effect, do.KillTree)]


def held(world: World) -> list[int]:
    """How many jobs each worker has in hand."""
    return [len(slot.in_flight) for slot in world.pool.workers.slots.values()]


def grown(world: World, slot: int, kb: int) -> list[do.Effect]:
    """The worker's job ends, and it has so much more memory than at its birth."""
    world.workers[slot].memory_kb = world.pool.workers.slots[slot].use.born_kb + kb
    world.finish(slot)
    return world.hear(slot)


def test_a_worker_is_replaced_after_its_jobs() -> None:
    """When it is idle, so nobody waits for it; its last job is recorded at once."""
    world = serving(workers=1, worker_max_jobs=3)
    for last in (False, False, True):
        assert world.start()[0] == 1
        world.finish(1)
        effects = world.hear(1)
        assert [ending.outcome for ending in endings(effects)] == [Outcome.SUCCEEDED]
        assert killed(effects) == ([1] if last else [])
    world.end(1)
    world.settle_births()
    assert world.start()[0] == 2


def test_a_worker_for_one_job_gets_no_second_one() -> None:
    """A fresh process for each job, also of quick jobs that might wait in its queue."""
    world = serving(workers=2, quick=True, worker_max_jobs=1)
    world.settle_births()
    for _ in range(20):
        world.add("quick")
    world.sync()
    assert held(world) == [1, 1]


def test_what_a_worker_may_still_do_bounds_its_queue() -> None:
    """Nothing is queued that would have to be taken back from it."""
    world = serving(workers=1, quick=True, worker_max_jobs=25)
    slot = world.pool.workers.slots[1]
    left = slot.may_take
    assert left == 8
    for _ in range(50):
        world.add("quick")
    world.sync()
    assert held(world) == [left]
    assert slot.worn


def test_a_queue_within_what_a_worker_may_still_do_is_left_to_it() -> None:
    """Its last jobs are its own: nothing of them is fetched back, sent again and fetched back after each one."""
    world = serving(workers=1, quick=True, worker_max_jobs=25)
    left = world.pool.workers.slots[1].may_take
    for _ in range(left):
        world.add("quick")
    world.sync()
    assert held(world) == [left]
    for _ in range(left - 1):
        world.take(1)
        world.finish(1)
        assert not [effect for effect in world.hear(1) if isinstance(effect, do.TakeBack)]


def test_what_is_taken_back_was_no_job_of_this_worker() -> None:
    """It has its jobs still before it, and is not replaced for those that others did."""
    world = serving(workers=1, quick=True, worker_max_jobs=25)
    left = world.pool.workers.slots[1].may_take
    slot, jobs = world.queued(4)
    world.pass_time(2_000_000_000)
    assert [job.attempt for job in world.pool.intake.backlog] == [job.attempt for job in jobs[1:]]
    assert world.pool.workers.slots[slot].may_take == left - 1


def test_no_more_is_claimed_than_the_workers_may_still_do() -> None:
    """What is claimed beyond that would lie with this node while another one could run it."""
    asked = []
    for left in (DEPTH, 3):
        world = serving(workers=1, quick=True, worker_max_jobs=1_000)
        world.pool.workers.slots[1].may_take = left
        world.start("quick")
        effects = world.tell(seen.Rang())
        asked += [effect.limit for effect in effects if isinstance(effect, do.AskClaim)]
    assert asked[0] - asked[1] == DEPTH - 3


def test_workers_that_were_born_together_do_not_go_together() -> None:
    """The number is drawn for each of them, a tenth around what is configured."""
    drawn = iter([0.5, 0.75, 1.0])
    pool = Pool(TERMS, jitter=lambda: next(drawn))
    terms = {name: getattr(TERMS, name) for name in TERMS.__struct_fields__}
    pool.workers.roster.terms = type(TERMS)(**{**terms, "worker_max_jobs": 1_000})
    slots = [pool.workers.roster.add(generation=1, now_ns=0) for _ in range(3)]
    for slot in slots:
        slot.born = True
        pool.handle(seen.Ready(slot.id), seen.Moment(0, 0))
    assert [slot.may_take for slot in slots] == [900, 1_000, 1_100]


def test_a_worker_that_has_grown_is_replaced() -> None:
    """Over what it had at its birth: that belongs to the template, and every worker begins with it."""
    world = born_with(BORN_KB, worker_max_growth_kb=MOST_KB)
    slot, _job = world.start()
    assert killed(grown(world, slot, MOST_KB)) == []
    world.start()
    effects = grown(world, slot, MOST_KB + 1)
    assert [ending.outcome for ending in endings(effects)] == [Outcome.SUCCEEDED]
    assert killed(effects) == [slot]


def test_a_worker_that_is_born_large_is_not_replaced_for_that() -> None:
    """Else, after the first one, each worker would be over the limit at its birth."""
    world = born_with(10 * MOST_KB, worker_max_growth_kb=MOST_KB)
    for _ in range(3):
        slot, _job = world.start()
        world.finish(slot)
        assert killed(world.hear(slot)) == []


def test_what_waits_behind_in_a_worker_that_has_grown_runs_elsewhere() -> None:
    """At depth 8 it is taken back; what the worker has received already it ends, and nothing is lost or charged."""
    world = serving(workers=1, quick=True, worker_max_growth_kb=MOST_KB)
    slot, jobs = world.queued(DEPTH)
    world.workers[slot].memory_kb = 2 * MOST_KB
    world.finish(slot)
    world.take(slot)
    assert killed(world.hear(slot)) == []
    assert held(world) == [1]
    assert [job.attempt for job in world.pool.intake.backlog] == [job.attempt for job in jobs[2:]]
    world.finish(slot)
    assert killed(world.hear(slot)) == [slot]
    assert world.run_on(until=lambda: world.ended)
    assert all(outcomes == [Outcome.SUCCEEDED] for outcomes in world.watch.outcomes.values())
    assert {row.job.fence for row in world.rows.values()} == {1}


def test_a_worker_that_keeps_a_quarter_of_the_memory_limit_is_replaced() -> None:
    """The next job is to find what it may use: the leavings of others are not charged to it."""
    world = serving(workers=1, memory_limit_kb=4 * MOST_KB)
    slot, _job = world.start()
    assert killed(grown(world, slot, MOST_KB)) == []
    world.start()
    assert killed(grown(world, slot, MOST_KB + 1)) == [slot]


def test_the_leavings_of_earlier_jobs_are_not_charged_to_a_job() -> None:
    """What the meter subtracts is what the worker had when the job began."""
    world = born_with(BORN_KB, memory_limit_kb=4 * MOST_KB)
    slot, _job = world.start()
    grown(world, slot, 7_000)
    world.start()
    (wish,) = [effect for effect in world.pass_time(200_000_000) if isinstance(effect, do.Measure)]
    assert wish.born_kb == BORN_KB + 7_000


@pytest.mark.parametrize("order", ["stop", "reload"])
def test_a_worn_worker_that_is_not_needed_any_more_goes_once(order: str) -> None:
    """However many reasons there are for its end."""
    world = serving(workers=1, quick=True, worker_max_growth_kb=MOST_KB)
    slot, _jobs = world.queued(3)
    world.workers[slot].memory_kb = 2 * MOST_KB
    world.finish(slot)
    world.take(slot)
    world.hear(slot)
    world.tell(seen.StopAsked(now=False) if order == "stop" else seen.ReloadAsked())
    world.settle_births()
    world.finish(slot)
    assert killed(world.hear(slot)) == [slot]
    assert given_back(world.last_effects) == []


def born_with(kb: int, **terms: int) -> World:
    """A world with one worker that had so much memory at its birth."""
    fields = {name: getattr(TERMS, name) for name in TERMS.__struct_fields__}
    world = World(terms=type(TERMS)(**{**fields, "workers": 1, **terms}))
    world.loaded(1)
    world.bear(1)
    world.workers[1].memory_kb = kb
    world.greet(1)
    return world
