"""Who gets which job, and what is taken back (R8): depth, quickness, backlog, give-backs."""

from __future__ import annotations

from jobwarden.jobs.outcome import Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.intake import DEPTH, STALE_NS
from jobwarden.supervisor.terms import SECOND_NS
from tests.support.pool_world import MS_NS, World, endings, given_back, kinds, serving


def held(world: World) -> list[int]:
    """How many jobs each worker has in hand."""
    return [len(slot.in_flight) for slot in world.pool.workers.slots.values()]


def test_a_worker_holds_one_job_of_a_type_that_is_not_known_to_be_quick() -> None:
    """What may take long is never behind something else, and nothing is claimed that nobody can begin."""
    world = serving(workers=2)
    for _ in range(5):
        world.add("quick")
    world.sync()
    assert held(world) == [1, 1]
    assert [row.status for row in world.rows.values()].count("ready") == 3


def test_a_worker_holds_eight_quick_jobs_at_most() -> None:
    """So that tiny jobs are not bound by a round trip, and little is lost when the first one hangs."""
    world = serving(workers=2, quick=True)
    for _ in range(100):
        world.add("quick")
    world.sync()
    assert held(world) == [DEPTH, DEPTH]


def test_quick_jobs_are_spread_before_they_are_piled_up() -> None:
    """The worker with the least to do gets the next one."""
    world = serving(workers=2, quick=True)
    for _ in range(6):
        world.add("quick")
    world.sync()
    assert held(world) == [3, 3]


def test_no_job_is_queued_behind_one_of_a_slow_type() -> None:
    """A quick job does not wait for a long one, however quick its own type is."""
    world = serving(workers=1, quick=True)
    world.start("slow")
    world.add("quick")
    world.claim(len(world.rows))
    assert held(world) == [1]


def test_a_large_job_is_queued_behind_nothing_and_nothing_behind_it() -> None:
    """It travels on the stream, and a worker that listens to both might take the second job first."""
    world = serving(workers=1, quick=True)
    world.add("quick", payload='"' + "x" * 70_000 + '"')
    small = world.add("quick")
    world.claim(*world.rows.keys() - set(range(1, 21)))
    assert held(world) == [1]
    assert [job.id for job in world.pool.intake.backlog] == [small]


def test_a_job_that_was_lost_before_waits_for_an_idle_worker() -> None:
    """R7: it may be the one that takes hosts down; nobody else's job is in the same queue."""
    world = serving(workers=1, quick=True)
    world.queued(2)
    suspect = world.add("quick", lost_in_row=1)
    world.claim(suspect)
    assert held(world) == [2]


def test_jobs_behind_one_that_turns_out_slow_go_to_an_idle_worker() -> None:
    """After 100 ms with another worker idle they are taken back, in their order, and run there."""
    world = serving(workers=2, quick=True)
    for _ in range(6):
        world.add("quick")
    world.sync()
    slow, other = world.workers
    world.take(slow)
    waiting = [job.id for job in world.workers[slow].queue]
    for _ in range(3):
        world.work(other)
    assert held(world) == [3, 0]
    world.pass_time(101 * MS_NS)
    assert [job.id for job in world.workers[other].queue] == waiting
    assert held(world) == [1, 2]


def test_a_crash_charges_only_the_job_that_was_received_without_done() -> None:
    """R8: the queued ones were never in the worker's hands; they go to the next worker with the same attempt."""
    world = serving(workers=1, quick=True)
    slot, (first, second, third) = world.queued(3)
    world.finish(slot)
    world.take(slot)
    world.die(slot)
    effects = world.bury(slot) + world.clear(slot)
    assert [(ending.job_id, ending.outcome) for ending in endings(effects)] == [
        (first.id, Outcome.SUCCEEDED),
        (second.id, Outcome.CRASHED),
    ]
    world.settle_births()
    (new,) = world.workers
    assert [job.attempt for job in world.workers[new].queue] == [third.attempt]


def test_a_worker_that_dies_with_unreceived_jobs_only_is_charged_nothing() -> None:
    """It was idle when it died; the job that was on its way to it costs no attempt, and is not sent to it again."""
    world = serving(workers=1, quick=True)
    job_id = world.add("quick")
    world.sync()
    (slot,) = world.workers
    world.die(slot)
    effects = world.bury(slot) + world.clear(slot)
    assert endings(effects) == []
    assert do.Dispatch not in kinds(effects)
    assert world.run_on(until=lambda: world.ended)
    assert world.watch.outcomes[job_id, 1] == [Outcome.SUCCEEDED]


def test_taking_back_never_takes_what_runs() -> None:
    """All these jobs have fence 1, because each job counts its own: the fence alone does not name the attempt."""
    world = serving(workers=1, quick=True)
    slot, (running, second, third) = world.queued(3)
    assert running.fence == second.fence == third.fence
    world.tell(seen.TookBack(slot, (second.attempt, third.attempt)))
    first = world.pool.workers.slots[slot].head
    assert first is not None
    assert first.attempt == running.attempt


def test_a_backlog_that_nobody_takes_is_given_back_after_a_second() -> None:
    """Another node may have room; and here it is claimed again when there is some."""
    world = serving(workers=1)
    slot, _job = world.start("slow")
    waiting = world.add("slow")
    world.claim(waiting)
    effects: list[do.Effect] = []
    for _ in range(STALE_NS // (50 * MS_NS) + 2):
        effects += world.pass_time(50 * MS_NS)
    assert given_back(effects) == [(waiting, 1)]
    world.finish(slot)
    world.hear(slot)
    assert world.run_on(until=lambda: world.ended)


def test_nothing_is_claimed_while_all_workers_are_behind_slow_jobs() -> None:
    """Each such claim would be given back a second later, for ever: a write, an event and a fence for each job."""
    world = serving(workers=1, quick=True)
    slot, _jobs = world.queued(1)  # of a quick type, but it hangs
    for _ in range(20):
        world.add("quick")
    asked: list[do.Effect] = []
    for _ in range(10 * STALE_NS // (50 * MS_NS)):
        world.commit()
        world.mail()
        asked += [effect for effect in world.pass_time(50 * MS_NS) if isinstance(effect, do.AskClaim)]
    world.sync()
    assert asked == []
    assert all(row.job.fence <= 2 for row in world.rows.values())
    world.finish(slot)
    world.hear(slot)
    assert world.run_on(until=lambda: world.ended)


def test_only_what_there_is_room_for_is_claimed() -> None:
    """A claim asks for as many jobs as there are idle workers, and one claim at a time is under way."""
    world = serving(workers=3)
    asked = [effect for effect in world.tell(seen.Rang(), seen.Rang()) if isinstance(effect, do.AskClaim)]
    assert [effect.limit for effect in asked] == [3]


def test_a_claim_that_found_less_is_not_repeated_until_somebody_rings() -> None:
    """An idle daemon is silent."""
    world = serving(workers=2)
    world.tell(seen.Rang())
    assert do.AskClaim not in kinds(world.tell(seen.Claimed([])))
    assert do.AskClaim in kinds(world.tell(seen.Rang()))


def test_a_ring_during_a_claim_is_not_lost() -> None:
    """The job may have come just after the claim had looked."""
    world = serving(workers=2)
    world.tell(seen.Rang())
    world.tell(seen.Rang())
    assert do.AskClaim in kinds(world.tell(seen.Claimed([])))


def test_a_claim_that_failed_is_asked_for_again() -> None:
    """The store was away; nothing was claimed, as far as anybody knows."""
    world = serving(workers=2)
    world.tell(seen.Rang())
    assert do.AskClaim in kinds(world.tell(seen.ClaimFailed()))


def test_rows_that_the_pool_does_not_know_are_given_back() -> None:
    """R4: they were claimed, the answer was lost, and nobody has started them. What it holds, it keeps."""
    world = serving(workers=1)
    _slot, job = world.start()
    world.add("slow")
    world.claim(job.id + 1)
    lost = world.add("slow")
    effects = world.tell(seen.Processing([job.attempt, (job.id + 1, 1), (lost, 1)]))
    assert given_back(effects) == [(lost, 1)]


def test_a_claim_whose_answer_was_lost_runs_in_the_end() -> None:
    """P1: claimed, unknown, found by the comparison, given back, claimed again, at no cost of an attempt."""
    world = serving(workers=1)
    job_id = world.add("slow", max_attempts=1)
    world.mail()
    world.commit(answer=False)
    assert world.rows[job_id].status == "processing"
    assert world.run_on(until=lambda: world.ended)
    assert world.watch.outcomes == {(job_id, 3): [Outcome.SUCCEEDED]}


def test_progress_is_written_at_once_then_four_times_a_second() -> None:
    """The latest value in between is kept and written when its time has come."""
    world = serving(workers=1)
    slot, job = world.start()
    noted: list[float] = []
    for percent in range(1, 11):
        effects = world.tell(seen.ProgressMade(slot, job.fence, float(percent)))
        noted += [effect.percent for effect in effects if isinstance(effect, do.NoteProgress)]
    assert noted == [1.0]
    for _ in range(6):
        effects = world.pass_time(50 * MS_NS)
        noted += [effect.percent for effect in effects if isinstance(effect, do.NoteProgress)]
    assert noted == [1.0, 10.0]


def test_late_progress_is_dropped() -> None:
    """Of an attempt that is not the running one."""
    world = serving(workers=1)
    slot, job = world.start()
    world.ns += SECOND_NS
    assert world.tell(seen.ProgressMade(slot, job.fence + 1, 50.0)) == []
