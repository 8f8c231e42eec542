"""Kills in the pool, one rule each: order (R1), whom a kill addresses (R9), and who judges a deadline."""

from __future__ import annotations

import pytest

from jobwarden.jobs.outcome import FailureReason, JobStatus, Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.slot import SlotState
from jobwarden.supervisor.terms import SECOND_NS
from jobwarden.wire.messages import HANDLER_ERROR, Failure
from tests.support.pool_world import MS_NS, endings, given_back, kinds, serving


def test_a_timed_out_attempt_is_recorded_only_when_its_tree_is_gone() -> None:
    """R1: decide, kill, see it dead, see it cleared, and only then record."""
    world = serving(workers=1)
    slot, job = world.start(timeout_ms=100)
    assert kinds(world.pass_time(100 * MS_NS)) == [do.TakeBack, do.StopSoftly]
    assert kinds(world.pass_time(2 * SECOND_NS)) == [do.TakeBack, do.KillTree]
    world.die(slot)
    assert endings(world.bury(slot)) == []
    (ending,) = endings(world.clear(slot))
    assert (ending.job_id, ending.outcome, ending.failure_reason) == (job.id, Outcome.TIMED_OUT, FailureReason.TIMEOUT)


def test_a_crashed_attempt_is_recorded_only_when_its_tree_is_gone() -> None:
    """R1: the worker's death is not the death of its children; they are swept first."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.die(slot, signal=11)
    assert kinds(world.bury(slot)) == [do.SweepTree]
    (ending,) = endings(world.clear(slot))
    assert (ending.outcome, ending.crashes) == (Outcome.CRASHED, 1)
    assert ending.error == "the worker process was killed by signal 11 (SIGSEGV)"


def test_a_worker_that_leaves_children_behind_is_cleared_before_its_success_is_recorded() -> None:
    """The outcome stands, but as long as a child lives the attempt may still do something."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.finish(slot, left_behind=True)
    effects = world.hear(slot)
    assert endings(effects) == []
    assert do.KillTree(slot, dump=False) in effects
    (ending,) = endings(world.end(slot))
    assert ending.outcome is Outcome.SUCCEEDED
    assert ending.facts.left_behind == ["sleep (7)"]


def test_a_tree_that_does_not_die_keeps_its_job_and_its_slot_is_replaced() -> None:
    """R1: nobody gets the job until it is dead, but the other jobs get a worker."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100, force_kill_on_timeout=1)
    world.pass_time(100 * MS_NS)
    world.die(slot)
    world.bury(slot)
    effects = world.tell(seen.Stuck(slot))
    assert kinds(effects) == [do.Alert, do.ForkWorker]
    assert world.tell(seen.Stuck(slot)) == []
    assert [ending.outcome for ending in endings(world.clear(slot))] == [Outcome.TIMED_OUT]
    assert len(world.pool.workers.slots) == 1


def test_a_forced_kill_has_no_grace() -> None:
    """forceKillOnTimeout: at the limit the tree is killed, and nothing soft is sent before."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100, force_kill_on_timeout=1)
    assert world.pass_time(99 * MS_NS) == []
    assert world.pass_time(1 * MS_NS) == [do.TakeBack(slot), do.KillTree(slot, dump=True)]


def test_a_handler_that_heeds_the_soft_stop_is_timed_out_without_waiting_for_the_grace() -> None:
    """It reports, retires, is cleared and recorded; the grace is a limit, not a wait."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100)
    world.pass_time(100 * MS_NS)
    world.finish(slot)
    assert do.KillTree(slot, dump=False) in world.hear(slot)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.TIMED_OUT]


def test_a_done_in_time_that_is_read_after_the_kill_was_ordered_is_a_success() -> None:
    """R9: the worker's own stamps judge the deadline, not the moment at which we look."""
    world = serving(workers=1)
    slot, _job = world.start("quick", timeout_ms=100, force_kill_on_timeout=1)
    world.ns += 99 * MS_NS
    world.finish(slot)
    world.pass_time(1 * MS_NS)
    assert world.pool.workers.slots[slot].state is SlotState.KILLING
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.SUCCEEDED]


def test_a_done_past_the_limit_is_timed_out_even_if_nobody_killed() -> None:
    """A supervisor that looked away for a while does not turn a late result into a success."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100)
    world.ns += 101 * MS_NS
    world.finish(slot)
    (ending,) = endings(world.hear(slot))
    assert (ending.outcome, ending.output) == (Outcome.TIMED_OUT, None)


def test_a_late_result_after_a_swallowed_soft_stop_is_timed_out() -> None:
    """A handler that catches JobTimeout and returns has still passed its limit."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100)
    world.pass_time(150 * MS_NS)
    world.finish(slot, heed=False)
    world.hear(slot)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.TIMED_OUT]


@pytest.mark.parametrize("force", [0, 1])
def test_a_kill_meant_for_one_job_never_blames_its_successor(force: int) -> None:
    """R9: job k ended in time, unread; the worker has begun k+1 when k's limit passes. k succeeded, and k+1, which has
    the same fence because each job counts its own, is at worst interrupted.
    """
    world = serving(workers=1, quick=True)
    ids = [world.add("quick", timeout_ms=100, force_kill_on_timeout=force) for _ in range(2)]
    world.sync()
    (slot,) = world.workers
    world.take(slot)
    world.finish(slot)
    world.take(slot)
    world.pass_time(100 * MS_NS)
    ends = {ending.job_id: ending for ending in endings(world.hear(slot))}
    assert ends[ids[0]].outcome is Outcome.SUCCEEDED
    if force:
        (innocent,) = endings(world.end(slot))
        assert (innocent.job_id, innocent.outcome) == (ids[1], Outcome.INTERRUPTED)
        assert (innocent.attempts, innocent.crashes) == (0, 0)
    else:
        world.finish(slot)
        assert [ending.outcome for ending in endings(world.hear(slot) + world.end(slot))] == [Outcome.SUCCEEDED]


def test_a_successor_has_its_own_limit() -> None:
    """The limit of k+1 counts from the end of k, and its soft stop names k+1."""
    world = serving(workers=1, quick=True)
    for _ in range(2):
        world.add("quick", timeout_ms=100)
    world.sync()
    (slot,) = world.workers
    world.ns += 60 * MS_NS
    world.work(slot)
    world.take(slot)
    assert world.pass_time(60 * MS_NS) == []
    effects = world.pass_time(40 * MS_NS)
    second = world.workers[slot].current
    assert second is not None
    assert do.StopSoftly(slot, second.attempt, "timeout") in effects


def test_a_lost_lease_kills_the_attempt_and_records_nothing() -> None:
    """The job is somebody else's: no end of ours, not even when it reports a success."""
    world = serving(workers=1)
    slot, job = world.start()
    world.someone_else_takes(job.attempt)
    assert do.KillTree(slot, dump=False) in world.last_effects
    assert endings(world.end(slot)) == []


def test_a_lost_job_that_its_worker_had_not_received_is_not_run_by_another_one() -> None:
    """What is taken back from the killed worker goes to the next, but not what is somebody else's."""
    world = serving(workers=2)
    job_id = world.add("slow")
    world.sync()
    world.someone_else_takes((job_id, 1))
    assert do.Dispatch not in kinds(world.last_effects)
    assert given_back(world.last_effects) == []
    assert list(world.pool.intake.backlog) == []


def test_a_lost_job_in_the_backlog_is_dropped() -> None:
    """Nobody has begun it here, and nobody will."""
    world = serving(workers=1)
    world.start()
    waiting = world.add("slow")
    world.claim(waiting)
    world.someone_else_takes((waiting, 1))
    assert list(world.pool.intake.backlog) == []


def test_a_lost_lease_of_another_attempt_kills_nobody() -> None:
    """R4: only a slot that still runs that very (job, fence) is killed."""
    world = serving(workers=1)
    _slot, job = world.start()
    assert world.tell(seen.LeaseLost(job.id, job.fence + 1)) == []
    assert world.tell(seen.LeaseLost(job.id + 1, job.fence)) == []


def test_the_successor_of_a_lost_attempt_is_not_a_crash() -> None:
    """The kill for k was ours; k+1, which the worker had begun, is interrupted at no cost."""
    world = serving(workers=1, quick=True)
    slot, (lost, innocent) = world.queued(2)
    world.finish(slot)
    world.take(slot)
    world.someone_else_takes(lost.attempt)
    (ending,) = endings(world.end(slot))
    assert (ending.job_id, ending.outcome, ending.attempts) == (innocent.id, Outcome.INTERRUPTED, 0)


def test_a_cancelled_running_job_is_stopped_softly_first() -> None:
    """A cancel gives the handler its grace, then ends the job as cancelled."""
    world = serving(workers=1)
    slot, job = world.start()
    assert do.StopSoftly(slot, job.attempt, "cancel") in world.tell(seen.Wished(job.id, job.fence, "cancel"))
    assert world.tell(seen.Wished(job.id, job.fence, "cancel")) == []
    assert do.KillTree(slot, dump=True) in world.pass_time(2 * SECOND_NS)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.status) == (Outcome.CANCELLED, JobStatus.CANCELLED)


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    """A handler that returns all the same has succeeded."""
    world = serving(workers=1)
    slot, job = world.start()
    world.tell(seen.Wished(job.id, job.fence, "cancel"))
    world.finish(slot, heed=False)
    world.hear(slot)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.SUCCEEDED]


def test_a_job_in_the_backlog_is_cancelled_at_once() -> None:
    """What has not been started needs no kill; and nobody gets it afterwards."""
    world = serving(workers=1)
    slot, job = world.start()
    ids = [world.add("slow") for _ in range(3)]
    world.claim(*ids)
    effects = world.tell(seen.Wished(ids[1], 1, "cancel"))
    assert [(ending.job_id, ending.outcome) for ending in endings(effects)] == [(ids[1], Outcome.CANCELLED)]
    assert [each.id for each in world.pool.intake.backlog] == [ids[0], ids[2]]
    assert world.workers[slot].current == job


def test_a_wish_to_requeue_interrupts_at_no_cost() -> None:
    """The attempt is given back."""
    world = serving(workers=1)
    slot, job = world.start()
    world.tell(seen.Wished(job.id, job.fence, "requeue"))
    world.pass_time(2 * SECOND_NS)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.status, ending.attempts) == (Outcome.INTERRUPTED, JobStatus.PENDING, 0)


def test_who_asked_is_quoted() -> None:
    """The words of a wish are the words of the end; a second wish changes neither."""
    world = serving(workers=1)
    slot, job = world.start()
    world.tell(seen.Wished(job.id, job.fence, "requeue", "it ran for too long"))
    world.tell(seen.Wished(job.id, job.fence, "cancel", "too late"))
    world.pass_time(2 * SECOND_NS)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.error) == (Outcome.INTERRUPTED, "it ran for too long")


def test_a_job_in_the_backlog_that_is_to_be_requeued_is_given_back() -> None:
    """It has not been started: nothing was interrupted."""
    world = serving(workers=1)
    world.start()
    job_id = world.add("slow")
    world.claim(job_id)
    assert do.GiveBackJob(job_id, 1) in world.tell(seen.Wished(job_id, 1, "requeue"))
    assert not world.pool.intake.backlog


def test_a_wish_that_nobody_knows_changes_nothing() -> None:
    """A newer client may write one; the job goes on, however often it is read, and ends as it would have."""
    world = serving(workers=1)
    slot, job = world.start()
    for _ in range(3):
        assert world.tell(seen.Wished(job.id, job.fence, "levitate")) == []
    world.finish(slot)
    assert [ending.outcome for ending in endings(world.hear(slot))] == [Outcome.SUCCEEDED]


def test_a_death_past_the_trust_window_is_an_interruption() -> None:
    """The keeper's kill, or a worker that refuses to start, is nobody's crash."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.die(slot, fenced=True)
    (ending,) = endings(world.bury(slot) + world.clear(slot))
    assert (ending.outcome, ending.crashes, ending.attempts) == (Outcome.INTERRUPTED, 0, 0)


def test_lost_trust_kills_what_runs_without_grace_and_starts_nothing() -> None:
    """Past the window another node may own these jobs (design §7)."""
    world = serving(workers=2)
    slot, _job = world.start()
    effects = world.tell(seen.TrustLost())
    assert [effect.slot for effect in effects if isinstance(effect, do.KillTree)] == sorted(world.workers)
    assert do.StopSoftly not in kinds(effects)
    world.add("slow")
    world.sync()
    assert do.AskClaim not in kinds(world.last_effects)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.INTERRUPTED]


def test_trust_that_comes_back_brings_back_the_work() -> None:
    """The supervisor stays; when the lease is renewed it claims again."""
    world = serving(workers=1)
    world.tell(seen.TrustLost())
    world.add("slow")
    world.tell(seen.TrustBack())
    assert world.run_on(until=lambda: world.ended)


def test_a_job_that_kills_every_worker_is_quarantined_at_the_third_crash() -> None:
    """P8: it fails for good, whatever attempts it has left."""
    world = serving(workers=1)
    world.add("slow", max_attempts=50)
    ends = []
    for _ in range(3):
        world.settle_births()
        world.sync()
        (slot,) = world.workers
        world.take(slot)
        world.die(slot)
        ends += endings(world.bury(slot) + world.clear(slot))
    assert [(ending.crashes, ending.ended) for ending in ends] == [(1, False), (2, False), (3, True)]
    ending = ends[-1]
    assert (ending.status, ending.pending_reason) == (JobStatus.FAILED, "quarantined")
    assert ending.failure_reason is FailureReason.CRASHED


def test_a_failure_is_the_handlers_own_and_its_worker_serves_on() -> None:
    """An exception costs an attempt, not a process."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.finish(slot, Failure(HANDLER_ERROR, "ValueError: no"))
    effects = world.hear(slot)
    assert [ending.outcome for ending in endings(effects)] == [Outcome.FAILED]
    assert do.KillTree not in kinds(effects)
    assert slot in world.pool.workers.idle


def test_a_report_about_a_job_that_the_worker_was_not_given_is_a_crash_of_that_worker() -> None:
    """Garbage on the socket: the worker cannot be trusted further, its job is charged, the slot comes back."""
    world = serving(workers=1)
    slot, _job = world.start()
    world.lie(slot)
    assert do.KillTree(slot, dump=False) in world.hear(slot)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.CRASHED]


def test_lateness_counts_from_the_limit_and_the_grace() -> None:
    """Design §8: death of the last process of the tree minus (deadline + grace)."""
    world = serving(workers=1)
    slot, job = world.start(timeout_ms=100)
    world.pass_time(100 * MS_NS)
    world.pass_time(2 * SECOND_NS)
    world.die(slot)
    world.bury(slot)
    world.ns += 7 * MS_NS
    effects = world.clear(slot)
    (noted,) = [effect for effect in effects if isinstance(effect, do.NoteCleared)]
    assert (noted.job_id, noted.lateness_ms) == (job.id, 7.0)


def test_what_was_taken_back_from_a_killed_worker_is_not_recorded() -> None:
    """Only the received job pays; the others wait for another worker, with the attempt that they had."""
    world = serving(workers=1, quick=True)
    slot, (first, *others) = world.queued(4)
    world.die(slot)
    effects = world.bury(slot) + world.clear(slot)
    assert [(ending.job_id, ending.outcome) for ending in endings(effects)] == [(first.id, Outcome.CRASHED)]
    assert given_back(effects) == []
    assert [job.attempt for job in world.pool.intake.backlog] == [job.attempt for job in others]
