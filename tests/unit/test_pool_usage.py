"""What running jobs use: when the pool asks, what it makes of the answers, and what it does not ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from jobwarden.jobs.outcome import FailureReason, Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.slot import SlotState
from jobwarden.supervisor.terms import SECOND_NS, PoolTerms
from jobwarden.wire.messages import MEMORY, Failure
from tests.support.pool_world import MS_NS, TERMS, World, endings, serving

LIMIT_KB = 100 * 1024
LOOK_NS = 100 * MS_NS
LIMITS: Any = {"memory_limit_kb": LIMIT_KB, "cpu_limit_ms": 2_000, "max_processes": 8}


@dataclass
class Over:
    """A way to use more than allowed, and what that makes of the attempt."""

    found: dict[str, int]
    outcome: Outcome
    reason: FailureReason
    error: str


MEMORY_OVER = Over(
    {"memory_kb": LIMIT_KB + 1},
    Outcome.MEMORY_EXCEEDED,
    FailureReason.MEMORY_LIMIT,
    "used 101 MiB of memory; memory_limit_mb allows 100",
)
PROCESSES_OVER = Over(
    {"processes": 9}, Outcome.CRASHED, FailureReason.CRASHED, "had 9 processes; max_processes allows 8"
)


def asked(effects: list[do.Effect]) -> list[do.Measure]:
    """What is to be looked at."""
    return [effect for effect in effects if isinstance(effect, do.Measure)]


def fields_of(terms: PoolTerms) -> dict[str, Any]:
    """By their names."""
    return {name: getattr(terms, name) for name in terms.__struct_fields__}


def running(**options: Any) -> tuple[World, int]:
    """A world with limits whose only worker runs a job that was just asked about."""
    world = serving(workers=1, **LIMITS)
    slot, _job = world.start(**options)
    assert [each.slot for each in asked(world.pass_time(LOOK_NS))] == [slot]
    return world, slot


def test_a_pool_without_limits_asks_for_nothing() -> None:
    """Nor does it have a deadline for it: its tiny jobs pay nothing for the limits of others."""
    world = serving(workers=1, worker_max_jobs=10, worker_max_growth_kb=1)
    world.start()
    assert world.pool.next_ns() is None


def test_a_job_that_runs_for_a_while_is_looked_at_again_and_again() -> None:
    """Ten times a second, with the numbers that the meter needs."""
    world = serving(workers=1, **LIMITS)
    slot, job = world.start()
    for _ in range(3):
        (wish,) = asked(world.pass_time(LOOK_NS))
        assert wish == do.Measure(slot, job.attempt, 1_000 + slot, born_kb=1, enough_kb=LIMIT_KB, cpu=True, most=512)
        world.measure(slot, memory_kb=1_000)


def test_what_is_no_bound_is_not_asked_for() -> None:
    """CPU time is another file to read, and memory more than one."""
    world = serving(workers=1, max_processes=3)
    world.start()
    (wish,) = asked(world.pass_time(LOOK_NS))
    assert (wish.enough_kb, wish.cpu) == (None, False)


def test_as_many_processes_are_counted_as_it_takes() -> None:
    """But not all of a fork bomb: each costs a read."""
    world = serving(workers=1, max_processes=2_000)
    world.start()
    (wish,) = asked(world.pass_time(LOOK_NS))
    assert wish.most == 2_001


def test_what_the_hooks_of_a_worker_started_is_not_the_jobs() -> None:
    """Neither their number nor their memory."""
    world = World(terms=type(TERMS)(**{**fields_of(TERMS), "workers": 1, **LIMITS}))
    world.loaded(1)
    world.bear(1)
    world.tell(seen.Ready(1, memory_kb=7_000, processes=6))
    slot, _job = world.start()
    (wish,) = asked(world.pass_time(LOOK_NS))
    assert wish.born_kb == 7_000
    assert world.measure(slot, processes=13) == []
    world.pass_time(LOOK_NS)
    assert do.KillTree(slot, dump=True) in world.measure(slot, processes=14)


def test_a_worker_from_before_the_limit_is_not_measured_by_it() -> None:
    """What it was born with is not known, and would be charged to its job."""
    world = serving(workers=1)
    world.tell(seen.TermsChanged(type(TERMS)(**{**fields_of(world.pool.terms), **LIMITS})))
    world.start()
    (wish,) = asked(world.pass_time(LOOK_NS))
    assert wish.enough_kb is None


def test_tiny_jobs_are_not_looked_at() -> None:
    """A job that has just begun when the look is due has no time to be of interest."""
    world = serving(workers=1, **LIMITS)
    slot, _job = world.start()
    world.ns += LOOK_NS - 1 * MS_NS
    world.finish(slot)
    world.hear(slot)
    world.start()
    assert asked(world.pass_time(1 * MS_NS)) == []
    assert len(asked(world.pass_time(LOOK_NS))) == 1


def test_an_idle_pool_stops_looking() -> None:
    """The last look finds nothing to do and orders no other one."""
    world, slot = running()
    world.finish(slot)
    world.hear(slot)
    world.sync()
    world.pass_time(LOOK_NS)
    assert world.pool.next_ns() is None


def test_a_job_near_its_memory_limit_is_looked_at_more_often() -> None:
    """From half of it on: a job grows by a gigabyte in a second."""
    world, slot = running()
    world.measure(slot, memory_kb=LIMIT_KB // 2)
    assert asked(world.pass_time(25 * MS_NS)) == []
    world.pass_time(75 * MS_NS)
    world.measure(slot, memory_kb=LIMIT_KB // 2 + 1)
    assert asked(world.pass_time(25 * MS_NS)) != []


@pytest.mark.parametrize("over", [MEMORY_OVER, PROCESSES_OVER], ids=["memory", "processes"])
def test_too_much_memory_or_too_many_processes_are_killed_without_grace(over: Over) -> None:
    """Each moment of grace may cost a neighbour its life; the stacks are dumped first, to show where it was."""
    world, slot = running()
    assert world.measure(slot, **over.found) == [do.TakeBack(slot), do.KillTree(slot, dump=True)]
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.failure_reason, ending.error) == (over.outcome, over.reason, over.error)
    assert ending.crashes == 1


@pytest.mark.parametrize("found", [{"memory_kb": LIMIT_KB}, {"processes": 8}, {"cpu_ms": 1_000_000}])
def test_a_job_may_use_all_that_it_may(found: dict[str, int]) -> None:
    """The limit itself is allowed; and CPU time counts from the first look at the attempt on."""
    world, slot = running()
    assert world.measure(slot, **found) == []


def test_cpu_time_is_a_limit_with_a_grace() -> None:
    """As for the run time: softly first, then the tree; TimedOut, and the sentence says of what."""
    world, slot = running()
    world.measure(slot, cpu_ms=500)
    world.pass_time(LOOK_NS)
    assert world.measure(slot, cpu_ms=2_500) == []
    world.pass_time(LOOK_NS)
    effects = world.measure(slot, cpu_ms=2_600)
    assert [type(each) for each in effects] == [do.TakeBack, do.StopSoftly]
    assert do.KillTree(slot, dump=True) in world.pass_time(TERMS.kill_grace_ns)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.failure_reason) == (Outcome.TIMED_OUT, FailureReason.TIMEOUT)
    assert ending.error == "used 2.1 s of CPU time; cpu_limit_seconds allows 2"


def test_no_prolong_gives_more_cpu_time() -> None:
    """It moves the limit of the run time, which is not what the job has passed."""
    world, slot = running(timeout_ms=3_600_000)
    world.measure(slot, cpu_ms=0)
    world.pass_time(LOOK_NS)
    world.measure(slot, cpu_ms=2_100)
    assert not world.prolong(slot)


def test_the_lateness_of_a_kill_for_cpu_time_counts_from_its_own_stop() -> None:
    """Not from the limit of the run time, which may be an hour away."""
    world, slot = running(timeout_ms=3_600_000)
    world.measure(slot, cpu_ms=0)
    world.pass_time(LOOK_NS)
    world.measure(slot, cpu_ms=2_100)
    assert world.pool.workers.slots[slot].kill_due_ns == world.ns + TERMS.kill_grace_ns


def test_the_cpu_time_of_earlier_jobs_is_not_counted() -> None:
    """The worker's own clock never goes back; each attempt begins anew."""
    world, slot = running()
    world.measure(slot, cpu_ms=1_900)
    world.finish(slot)
    world.hear(slot)
    world.start()
    for cpu_ms in (2_500, 4_400):
        world.pass_time(LOOK_NS)
        assert world.measure(slot, cpu_ms=cpu_ms) == []


def test_memory_over_the_limit_in_the_grace_ends_the_grace() -> None:
    """Whoever is cleaning up may not take the memory of others; the outcome stays what was decided first."""
    world, slot = running(timeout_ms=150)
    world.pass_time(50 * MS_NS)
    assert world.pool.workers.slots[slot].state is SlotState.STOPPING
    world.pass_time(LOOK_NS)
    assert do.KillTree(slot, dump=True) in world.measure(slot, memory_kb=LIMIT_KB + 1)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.error) == (Outcome.TIMED_OUT, "passed its limit of 150 ms")


def test_an_answer_about_an_attempt_that_has_ended_is_of_no_interest() -> None:
    """Its successor in the same worker is innocent."""
    world, slot = running()
    world.finish(slot)
    world.hear(slot)
    world.start()
    assert world.measure(slot, memory_kb=10 * LIMIT_KB) == []


def test_a_report_that_was_under_way_counts() -> None:
    """Whoever had ended before the kill has ended; what began behind it in the same worker is given back."""
    world = serving(workers=1, quick=True, **LIMITS)
    slot, (first, second) = world.queued(2)
    world.pass_time(LOOK_NS)
    world.finish(slot)
    world.take(slot)
    world.measure(slot, memory_kb=2 * LIMIT_KB)
    done, given_back = endings(world.end(slot))
    assert (done.job_id, done.outcome) == (first.id, Outcome.SUCCEEDED)
    assert (given_back.job_id, given_back.outcome) == (second.id, Outcome.INTERRUPTED)


def test_nobody_is_asked_about_a_job_that_is_being_killed() -> None:
    """Its numbers change nothing any more."""
    world, slot = running()
    world.measure(slot, memory_kb=2 * LIMIT_KB)
    assert asked(world.pass_time(LOOK_NS)) == []
    assert world.tell(seen.Measured(slot, (1, 1), 9 * LIMIT_KB, 0, 1)) == []


def test_out_of_memory_is_a_failure_of_its_own_kind() -> None:
    """What the worker reports ends as what the supervisor finds does; the worker is replaced, tree and all."""
    world, slot = running()
    world.finish(slot, Failure(MEMORY, "MemoryError; memory_limit_mb allows 100"))
    assert do.KillTree(slot, dump=False) in world.hear(slot)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.failure_reason) == (Outcome.MEMORY_EXCEEDED, FailureReason.MEMORY_LIMIT)
    assert ending.next_attempt_us is not None


def test_three_times_out_of_memory_is_quarantine() -> None:
    """However many attempts are left (design §7)."""
    world = serving(workers=1, **LIMITS)
    slot, _job = world.start(crashes=2, max_attempts=100)
    world.pass_time(LOOK_NS)
    world.measure(slot, memory_kb=2 * LIMIT_KB)
    (ending,) = endings(world.end(slot))
    assert (ending.ended, ending.pending_reason) == (True, "quarantined")


def test_limits_that_change_hold_for_what_runs() -> None:
    """A pool that gets limits begins to look with the next job; one that loses them stops."""
    world = serving(workers=1)
    terms = fields_of(world.pool.terms)
    world.tell(seen.TermsChanged(type(TERMS)(**{**terms, "max_processes": 2})))
    slot, _job = world.start()
    assert len(asked(world.pass_time(LOOK_NS))) == 1
    world.tell(seen.TermsChanged(type(TERMS)(**terms)))
    assert world.measure(slot, processes=100) == []
    assert asked(world.pass_time(10 * SECOND_NS)) == []
