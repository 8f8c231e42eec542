"""Errands (`run --once`, `run --burst`) in the played world: what is claimed, and when the pool leaves."""

from __future__ import annotations

import pytest

from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.errand import MOST_AT_ONCE, ErrandRun
from jobwarden.supervisor.intake import STALE_NS
from jobwarden.supervisor.terms import Errand, PoolTerms
from jobwarden.wire.messages import HANDLER_ERROR, Failure
from tests.support.pool_world import TERMS, World, given_back

ONCE = Errand(burst=False)
BURST = Errand(burst=True)


def world_for(errand: Errand, *, jobs: int = 0, job_type: str = "slow", workers: int = 2) -> World:
    """A world with so many ready jobs, whose pool was just asked to load the handlers."""
    given = {name: getattr(TERMS, name) for name in TERMS.__struct_fields__}
    world = World(terms=PoolTerms(**{**given, "errand": errand, "workers": workers}))
    for _ in range(jobs):
        world.add(job_type)
    return world


def at_work(errand: Errand, *, jobs: int, workers: int = 2) -> World:
    """The same, once its workers wait and the first claim was answered."""
    world = world_for(errand, jobs=jobs, workers=workers)
    world.settle_births()
    world.sync()
    return world


def errand_of(world: World) -> ErrandRun:
    """The pool's errand."""
    assert world.pool.errand is not None
    return world.pool.errand


def statuses(world: World) -> list[str]:
    """What the store says of each job."""
    return [row.status for row in world.rows.values()]


def test_once_claims_as_many_as_it_may_and_leaves_when_they_have_ended() -> None:
    """More than the workers can take wait in the backlog; what is beyond the limit stays where it is."""
    world = world_for(Errand(burst=False, limit=5), jobs=7)
    assert world.run_on(until=lambda: world.left)
    assert statuses(world) == ["ended"] * 5 + ["ready"] * 2
    assert errand_of(world).processed == 5


def test_once_has_a_limit_of_its_own() -> None:
    """Where none is given it takes a hundred."""
    world = world_for(ONCE, jobs=MOST_AT_ONCE + 1)
    assert world.run_on(until=lambda: world.left)
    assert statuses(world).count("ended") == MOST_AT_ONCE


def test_once_makes_one_claim_only() -> None:
    """What becomes ready while it works waits for the next call, also if there was room under the limit."""
    world = at_work(Errand(burst=False, limit=5), jobs=1)
    late = world.add("slow")
    assert world.run_on(until=lambda: world.left)
    assert world.rows[late].status == "ready"
    assert errand_of(world).processed == 1


def test_once_with_nothing_ready_leaves() -> None:
    """The one claim brings nothing, and that is an answer."""
    world = world_for(ONCE)
    assert world.run_on(until=lambda: world.left)
    assert (errand_of(world).processed, errand_of(world).exit_code) == (0, 0)


@pytest.mark.parametrize("errand", [ONCE, BURST], ids=["once", "burst"])
def test_a_claim_that_was_not_committed_is_made_again(errand: Errand) -> None:
    """A store that is busy for a while does not make the errand forget its jobs."""
    world = world_for(errand, jobs=2)
    world.settle_births()
    world.commit(answer=False)
    assert world.run_on(until=lambda: world.left)
    assert statuses(world) == ["ended", "ended"]
    assert errand_of(world).processed == 2


def test_nothing_is_claimed_before_somebody_can_begin() -> None:
    """Jobs are not held by a process whose workers may never come."""
    world = world_for(ONCE, jobs=1)
    world.loaded(1)
    assert not world.pool.intake.claiming
    world.settle_births()
    assert world.pool.intake.claiming


def test_the_jobs_of_an_errand_wait_as_long_as_it_takes() -> None:
    """A daemon gives back what finds no worker for a second; an errand has promised to run it."""
    world = at_work(Errand(burst=False, limit=3), jobs=3, workers=1)
    (slot,) = world.workers
    world.take(slot)
    assert given_back(world.pass_time(10 * STALE_NS)) == []
    assert world.run_on(until=lambda: world.left)
    assert statuses(world) == ["ended"] * 3


def test_burst_goes_on_until_nothing_is_ready() -> None:
    """Also what became ready while it worked, and after a claim that had brought less than it asked for."""
    world = at_work(BURST, jobs=3)
    late = [world.add("slow") for _ in range(4)]
    assert world.run_on(until=lambda: world.left)
    assert {world.rows[job_id].status for job_id in late} == {"ended"}
    assert errand_of(world).processed == 7


def test_burst_looks_once_more_when_its_hands_are_empty() -> None:
    """The end of the last job may have made others ready, and nobody rings for it."""
    world = at_work(BURST, jobs=1)
    world.sync()
    (slot,) = [slot for slot, worker in world.workers.items() if worker.queue]
    world.work(slot)
    assert [type(each) for each in world.last_effects].count(do.AskClaim) == 1
    assert not world.left


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_burst_stays_within_its_limit(workers: int) -> None:
    """The limit counts what is claimed, over all claims, however many workers are idle."""
    world = at_work(Errand(burst=True, limit=3), jobs=9, workers=workers)
    assert world.run_on(until=lambda: world.left)
    assert statuses(world) == ["ended"] * 3 + ["ready"] * 6


@pytest.mark.parametrize("burst", [False, True])
def test_other_types_are_left_alone(*, burst: bool) -> None:
    """`--type` narrows the claim."""
    world = world_for(Errand(burst=burst, types=("quick",)), jobs=2)
    mine = world.add("quick")
    assert world.run_on(until=lambda: world.left)
    assert [job_id for job_id, row in world.rows.items() if row.status == "ended"] == [mine]


def test_a_type_that_nobody_serves_is_wrong_use() -> None:
    """It says which, and what there is; nothing is claimed."""
    world = world_for(Errand(burst=True, types=("quick", "quack")), jobs=1)
    assert world.run_on(until=lambda: world.left)
    run = errand_of(world)
    assert (run.exit_code, run.begun) == (2, False)
    assert run.problem == "--type: no handler here serves quack; there are handlers for quick, slow"
    assert statuses(world) == ["ready"]


def test_without_handlers_it_ends_with_their_problems() -> None:
    """Nothing to serve: a daemon would wait for a repair, an errand ends."""
    world = world_for(ONCE, jobs=1)
    world.loaded(1, types=(), problem="bad.py, line 3: it is broken")
    assert world.run_on(until=lambda: world.left)
    run = errand_of(world)
    assert run.exit_code == 1
    assert run.problem is not None
    assert "bad.py, line 3: it is broken" in run.problem


def test_a_type_whose_file_is_broken_is_no_wrong_use() -> None:
    """The call may be right; the file is not."""
    world = world_for(Errand(burst=True, types=("broken",)))
    world.loaded(1, problem="broken.py: it is broken")
    assert world.run_on(until=lambda: world.left)
    assert errand_of(world).exit_code == 1
    assert "broken.py" in (errand_of(world).problem or "")


def test_a_broken_file_does_not_keep_the_other_types_from_work() -> None:
    """As in a daemon: what can be served is."""
    world = world_for(ONCE, jobs=1)
    world.loaded(1, problem="broken.py: it is broken")
    assert world.run_on(until=lambda: world.left)
    assert (errand_of(world).processed, errand_of(world).exit_code) == (1, 0)


def test_code_that_cannot_be_loaded_ends_it() -> None:
    """There is no second try, and no waiting for a repair."""
    world = world_for(ONCE, jobs=1)
    world.template_dies(1)
    assert world.left
    assert (errand_of(world).exit_code, errand_of(world).begun) == (1, False)


def test_code_that_does_not_come_to_an_end_of_loading_ends_it() -> None:
    """`load_seconds` holds here too."""
    world = world_for(ONCE, jobs=1)
    world.pass_time(TERMS.load_ns)
    assert world.left
    assert "did not load within" in (errand_of(world).problem or "")


def test_workers_that_are_never_born_end_it() -> None:
    """Births are tried again for a while; then it says so instead of trying for ever."""
    world = world_for(ONCE, jobs=1)
    world.loaded(1)
    for _ in range(1_000):
        if world.left:
            break
        for slot in list(world.workers):
            del world.workers[slot]
            world.tell(seen.Unborn(slot, "no memory"))
        world.wait_for_deadline()
    assert world.left
    assert (errand_of(world).exit_code, errand_of(world).processed) == (1, 0)
    assert statuses(world) == ["ready"]


def test_a_crash_is_an_end_like_any_other() -> None:
    """The attempt counts as processed, another worker comes, and the rest is run."""
    world = at_work(Errand(burst=False, limit=3), jobs=3, workers=1)
    (slot,) = world.workers
    world.take(slot)
    world.end(slot)
    assert world.run_on(until=lambda: world.left)
    assert errand_of(world).processed == 3


@pytest.mark.parametrize(("errand", "tries"), [(ONCE, 1), (BURST, 5)], ids=["once", "burst"])
def test_a_retry_that_is_due_at_once_runs_in_a_burst_only(errand: Errand, tries: int) -> None:
    """It has become ready meanwhile, like any other job."""
    world = at_work(errand, jobs=1, workers=1)
    for _ in range(tries):
        (slot,) = world.workers
        world.take(slot)
        world.finish(slot, Failure(HANDLER_ERROR, "no"))
        world.hear(slot)
        world.sync()
    assert world.run_on(until=lambda: world.left)
    assert errand_of(world).processed == tries


def test_a_stop_in_the_middle_drains_and_counts_what_was_done() -> None:
    """What was not started is given back; what runs may end."""
    world = at_work(Errand(burst=False, limit=3), jobs=3, workers=1)
    (slot,) = world.workers
    world.take(slot)
    assert len(given_back(world.tell(seen.StopAsked(now=False)))) == 2
    assert world.run_on(until=lambda: world.left)
    assert statuses(world) == ["ended", "ready", "ready"]
    assert (errand_of(world).processed, errand_of(world).exit_code) == (1, 0)


def test_what_was_interrupted_was_not_processed() -> None:
    """It was given back, and will run again somewhere else."""
    world = at_work(Errand(burst=False, limit=2), jobs=2, workers=2)
    for slot in list(world.workers):
        world.take(slot)
    world.tell(seen.StopAsked(now=True))
    for slot in list(world.workers):
        world.end(slot)
    assert world.left
    assert errand_of(world).processed == 0


def test_reload_and_new_settings_do_not_reach_an_errand() -> None:
    """It ends on the code and the numbers with which it began."""
    world = at_work(Errand(burst=False, limit=2), jobs=2)
    assert world.tell(seen.ReloadAsked()) == []
    assert world.tell(seen.TermsChanged(TERMS)) == []
    assert world.run_on(until=lambda: world.left)
    assert errand_of(world).processed == 2


def test_a_template_that_dies_in_the_middle_is_replaced() -> None:
    """The code is restored from memory, as in a daemon, and the errand is done."""
    world = at_work(Errand(burst=False, limit=4), jobs=4, workers=1)
    (slot,) = world.workers
    world.take(slot)
    world.template_dies(1)
    world.end(slot)
    assert world.run_on(until=lambda: world.left)
    assert errand_of(world).processed == 4


def test_lost_trust_costs_the_errand_what_ran_and_no_more() -> None:
    """What was interrupted is given back; the rest of the claim is run when the lease is renewed."""
    world = at_work(Errand(burst=False, limit=4), jobs=4, workers=2)
    for slot in list(world.workers):
        world.take(slot)
    world.tell(seen.TrustLost())
    for slot in list(world.workers):
        world.end(slot)
    world.tell(seen.TrustBack())
    assert world.run_on(until=lambda: world.left)
    assert errand_of(world).processed == 2
    assert statuses(world).count("ready") == 2
