"""Drain, stop and the pool's last effect."""

from __future__ import annotations

import pytest

from jobwarden.jobs.outcome import JobStatus, Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.terms import SECOND_NS
from tests.support.pool_world import TERMS, World, endings, given_back, kinds, serving

STOP = seen.StopAsked(now=False)
STOP_NOW = seen.StopAsked(now=True)


def finish_all(world: World) -> list[do.Effect]:
    """Every worker that is to die does."""
    made: list[do.Effect] = []
    for slot, worker in list(world.workers.items()):
        if worker.clearing:
            made += world.end(slot)
    return made


def test_a_drain_lets_running_jobs_end() -> None:
    """The first stop kills nothing that runs; the job's end is its own, then the worker goes, then the pool."""
    world = serving(workers=2)
    slot, _job = world.start()
    effects = world.tell(STOP)
    assert do.StopSoftly not in kinds(effects)
    assert [effect.slot for effect in effects if isinstance(effect, do.KillTree)] == [
        each for each in world.workers if each != slot
    ]
    finish_all(world)
    assert not world.left
    world.finish(slot)
    assert [ending.outcome for ending in endings(world.hear(slot))] == [Outcome.SUCCEEDED]
    finish_all(world)
    assert world.left


def test_a_drain_gives_back_what_was_not_started() -> None:
    """From the backlog, from the workers' queues, and from a claim that was still under way: at no cost."""
    world = serving(workers=1, quick=True)
    slot, (running, *waiting) = world.queued(4)
    backlog = world.add("slow")
    world.claim(backlog)
    on_its_way = world.add("quick")
    effects = world.tell(STOP)
    assert set(given_back(effects)) == {(backlog, 1), *(job.attempt for job in waiting)}
    assert given_back(world.claim(on_its_way)) == [(on_its_way, 1)]
    assert world.workers[slot].current == running
    world.sync()
    assert all(world.rows[job.id].job.attempts == 0 for job in waiting)


def test_the_end_of_the_drain_interrupts_what_still_runs() -> None:
    """Past `drain_seconds` it is stopped softly, killed after the grace, and given back."""
    world = serving(workers=1)
    slot, job = world.start()
    world.tell(STOP)
    assert do.StopSoftly(slot, job.attempt, "cancel") in world.pass_time(TERMS.drain_ns)
    assert do.KillTree(slot, dump=True) in world.pass_time(TERMS.kill_grace_ns)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.status, ending.attempts) == (Outcome.INTERRUPTED, JobStatus.PENDING, 0)
    assert world.left


def test_a_second_stop_does_not_wait_for_the_drain() -> None:
    """It interrupts at once, with the grace."""
    world = serving(workers=1)
    slot, job = world.start()
    world.tell(STOP)
    assert do.StopSoftly(slot, job.attempt, "cancel") in world.tell(STOP)
    world.finish(slot)
    world.hear(slot)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.attempts) == (Outcome.INTERRUPTED, 0)


@pytest.mark.parametrize("before", [[], [STOP], [STOP, STOP], [STOP_NOW]])
def test_a_stop_now_has_no_grace(before: list[seen.StopAsked]) -> None:
    """QUIT, or a lost keeper: the trees are killed at once, whatever was asked before."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.tell(*before)
    killed = world.workers[slot].clearing
    assert (do.KillTree in kinds(world.tell(STOP_NOW))) is not killed
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.INTERRUPTED]
    assert world.left


def test_it_leaves_once_and_claims_nothing_meanwhile() -> None:
    """However often it is asked, and whatever rings."""
    world = serving(workers=1)
    world.add("slow")
    effects = world.tell(STOP, seen.Rang(), STOP, seen.Rang()) + finish_all(world) + world.tell(STOP, STOP_NOW)
    assert kinds(effects).count(do.Leave) == 1
    assert do.AskClaim not in kinds(effects)
    assert do.EndTemplate in kinds(effects)


def test_a_drain_claims_nothing_for_the_workers_that_still_run() -> None:
    """They have room in their queues, but nobody will begin what is claimed now."""
    world = serving(workers=1, quick=True)
    world.queued(1)
    world.tell(STOP)
    assert do.AskClaim not in kinds(world.tell(seen.Rang()))


def test_it_does_not_leave_before_a_claim_is_answered() -> None:
    """Its jobs would be lost until the next start."""
    world = serving(workers=1)
    world.add("slow")
    world.mail()
    world.tell(STOP)
    assert do.Leave not in kinds(finish_all(world))
    world.sync()
    assert world.left
    world.commit()
    assert [row.status for row in world.rows.values()] == ["ready"]


def test_a_worker_that_is_born_during_the_drain_is_killed() -> None:
    """It was asked for before; nobody needs it now."""
    world = World()
    world.loaded(1)
    (first, second) = world.workers
    world.tell(STOP)
    world.bear(first)
    assert do.KillTree(first, dump=False) in world.last_effects
    world.bear(second)
    finish_all(world)
    assert world.left


def test_a_template_that_hangs_does_not_hold_up_the_end() -> None:
    """A birth that is never answered ends with its spawn deadline, also during a drain and after a stop now."""
    world = World()
    world.loaded(1)
    world.tell(STOP, STOP_NOW)
    assert not world.left
    world.pass_time(TERMS.spawn_ns)
    assert world.left


def test_a_load_that_ends_during_the_drain_serves_nobody() -> None:
    """Its template is ended, nothing is forked."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.tell(seen.ReloadAsked())
    world.tell(STOP)
    world.loaded(2)
    assert kinds(world.last_effects).count(do.EndTemplate) == 1
    assert do.ForkWorker not in kinds(world.last_effects)
    assert slot in world.workers


def test_a_reload_during_the_drain_is_ignored() -> None:
    """There is nothing to load for."""
    world = serving(workers=1)
    world.start()
    world.tell(STOP)
    assert world.tell(seen.ReloadAsked()) == []


def test_a_stuck_tree_is_waited_for() -> None:
    """To leave is to say that every worker is dead."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.tell(STOP_NOW)
    world.die(slot)
    world.bury(slot)
    world.tell(seen.Stuck(slot))
    world.pass_time(3_600 * SECOND_NS)
    assert not world.left
    world.clear(slot)
    assert world.left
