"""Limits that move: signs of life, prolongs, and what a job may still ask for while it is being stopped."""

from __future__ import annotations

import pytest

from jobwarden.jobs.outcome import FailureReason, Outcome
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.slot import SlotState
from jobwarden.supervisor.terms import SECOND_NS
from jobwarden.wire.messages import HANDLER_ERROR, Failure
from tests.support.pool_world import MS_NS, World, endings, kinds, serving


def softly(effects: list[do.Effect]) -> list[str]:
    """The soft stops among them."""
    return [effect.why for effect in effects if isinstance(effect, do.StopSoftly)]


def noted(effects: list[do.Effect]) -> list[int]:
    """The prolongs that are written as events, in milliseconds."""
    return [effect.ms for effect in effects if isinstance(effect, do.NoteProlonged)]


def stopping() -> tuple[World, int]:
    """A world whose only worker runs a job with a limit of 100 ms that has just passed."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100)
    assert softly(world.pass_time(100 * MS_NS)) == ["timeout"]
    return world, slot


def test_a_silent_job_is_stopped_as_stalled() -> None:
    """Softly first, then the tree; TimedOut, with a reason of its own and a sentence that says how long."""
    world = serving(workers=1)
    slot, _job = world.start(heartbeat_timeout_ms=100)
    assert world.pass_time(99 * MS_NS) == []
    assert softly(world.pass_time(1 * MS_NS)) == ["stalled"]
    assert do.KillTree(slot, dump=True) in world.pass_time(2 * SECOND_NS)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.failure_reason) == (Outcome.TIMED_OUT, FailureReason.STALLED)
    assert ending.error == "gave no sign of life for 100 ms"


def test_a_silent_job_that_is_to_be_killed_gets_no_grace() -> None:
    """`forceKillOnTimeout` holds for silence as well."""
    world = serving(workers=1)
    slot, _job = world.start(heartbeat_timeout_ms=100, force_kill_on_timeout=1)
    assert world.pass_time(100 * MS_NS) == [do.TakeBack(slot), do.KillTree(slot, dump=True)]


@pytest.mark.parametrize("sign", ["heartbeat", "progress", "prolong"])
def test_a_sign_of_life_begins_the_silence_anew(sign: str) -> None:
    """A heartbeat, progress or a prolong: from there on it counts."""
    world = serving(workers=1)
    slot, job = world.start(heartbeat_timeout_ms=100)
    world.pass_time(90 * MS_NS)
    match sign:
        case "heartbeat":
            world.beat(slot)
        case "progress":
            world.tell(seen.ProgressMade(slot, job.fence, 50.0))
        case _:
            assert world.prolong(slot)
    assert world.pass_time(99 * MS_NS) == []
    assert softly(world.pass_time(1 * MS_NS)) == ["stalled"]


def test_heartbeats_move_no_deadline() -> None:
    """They are cheap: what is overdue is looked at again when its moment has come (decision 004)."""
    world = serving(workers=1)
    slot, _job = world.start(heartbeat_timeout_ms=100)
    before = world.pool.next_ns()
    for _ in range(5):
        world.ns += 10 * MS_NS
        world.beat(slot)
    assert world.pool.next_ns() == before
    assert world.pass_time(50 * MS_NS) == []
    assert world.pool.next_ns() == world.ns + 50 * MS_NS


def test_a_heartbeat_of_another_attempt_is_no_sign_of_life() -> None:
    """It names the fence of its own attempt."""
    world = serving(workers=1)
    slot, job = world.start(heartbeat_timeout_ms=100)
    world.pass_time(50 * MS_NS)
    world.tell(seen.Beaten(slot, job.fence + 1), seen.Beaten(99, job.fence))
    assert softly(world.pass_time(50 * MS_NS)) == ["stalled"]


def test_the_earlier_of_limit_and_silence_stops_a_job() -> None:
    """The reason says which; a job that beats runs to its limit and no further."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=150, heartbeat_timeout_ms=100)
    world.pass_time(90 * MS_NS)
    world.beat(slot)
    assert softly(world.pass_time(60 * MS_NS)) == ["timeout"]
    world.pass_time(2 * SECOND_NS)
    (ending,) = endings(world.end(slot))
    assert (ending.failure_reason, ending.error) == (FailureReason.TIMEOUT, "passed its limit of 150 ms")


def test_a_queued_job_may_be_silent_until_it_is_the_first() -> None:
    """Its clock begins when the one before it has ended."""
    world = serving(workers=1, quick=True)
    for _ in range(2):
        world.add("quick", heartbeat_timeout_ms=100)
    world.sync()
    (slot,) = world.workers
    world.take(slot)
    world.ns += 80 * MS_NS
    world.finish(slot)
    world.hear(slot)
    world.take(slot)
    assert softly(world.pass_time(99 * MS_NS)) == []
    assert softly(world.pass_time(1 * MS_NS)) == ["stalled"]


def test_a_result_from_before_the_end_of_the_silence_counts() -> None:
    """The worker's own stamps judge, for silence as for limits; what came later is stalled."""
    for late, outcome in ((False, Outcome.SUCCEEDED), (True, Outcome.TIMED_OUT)):
        world = serving(workers=1)
        slot, _job = world.start("quick", heartbeat_timeout_ms=100, force_kill_on_timeout=1)
        world.ns += (101 if late else 99) * MS_NS
        world.finish(slot)
        world.pass_time(10 * MS_NS)
        assert world.pool.workers.slots[slot].state is SlotState.KILLING
        (ending,) = endings(world.end(slot))
        assert ending.outcome is outcome
        assert ending.failure_reason is (FailureReason.STALLED if late else None)


def test_lateness_of_a_stalled_job_counts_from_the_end_of_its_silence() -> None:
    """And from the end of the grace after it."""
    world = serving(workers=1)
    slot, job = world.start(heartbeat_timeout_ms=100, timeout_ms=60_000)
    world.pass_time(100 * MS_NS)
    world.pass_time(2 * SECOND_NS)
    world.die(slot)
    world.bury(slot)
    world.ns += 7 * MS_NS
    (note,) = [effect for effect in world.clear(slot) if isinstance(effect, do.NoteCleared)]
    assert (note.job_id, note.lateness_ms) == (job.id, 7.0)


@pytest.mark.parametrize(("ms", "until_ms"), [(None, 100), (700, 700), (1, 1)])
def test_a_prolonged_job_gets_a_new_limit_from_now_on(ms: int | None, until_ms: int) -> None:
    """Without a number, its own limit once more. The event says how much."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100)
    world.pass_time(50 * MS_NS)
    assert world.prolong(slot, ms)
    assert noted(world.last_effects) == [until_ms]
    assert softly(world.pass_time(until_ms * MS_NS - 1)) == []
    assert softly(world.pass_time(1)) == ["timeout"]


def test_a_prolonged_job_is_judged_by_its_new_limit() -> None:
    """Its result counts although its run time is above timeoutMs; past the new limit it does not."""
    late_error = "passed its limit, which it had prolonged to 140 ms after its start"
    for run_on_ms, outcome, error in ((50, Outcome.SUCCEEDED, None), (51, Outcome.TIMED_OUT, late_error)):
        world = serving(workers=1)
        slot, _job = world.start("quick", timeout_ms=100)
        world.ns += 90 * MS_NS
        world.prolong(slot, 50)
        world.ns += run_on_ms * MS_NS
        world.finish(slot)
        (ending,) = endings(world.hear(slot))
        assert (ending.outcome, ending.error) == (outcome, error)


def test_a_job_without_a_limit_does_not_get_one_by_asking() -> None:
    """Granted, and nothing changes or is written."""
    world = serving(workers=1)
    slot, _job = world.start()
    assert world.prolong(slot, 5)
    assert noted(world.last_effects) == []
    assert world.pass_time(60 * SECOND_NS) == []


def test_a_job_that_is_being_stopped_at_its_limit_may_go_on() -> None:
    """The decision is taken back, and its end is judged as if it had not been; its worker gets no other job."""
    world, slot = stopping()
    assert world.prolong(slot, 500)
    assert softly(world.pass_time(400 * MS_NS)) == []
    world.add("slow")
    world.sync()
    assert do.Dispatch not in kinds(world.last_effects)
    world.finish(slot)
    world.hear(slot)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.SUCCEEDED]
    assert world.run_on(until=lambda: world.ended)


def test_the_next_limit_stops_it_again() -> None:
    """A second soft stop, a second grace, and then the tree (decision 009)."""
    world, slot = stopping()
    world.prolong(slot, 500)
    assert softly(world.pass_time(500 * MS_NS)) == ["timeout"]
    assert do.KillTree(slot, dump=True) in world.pass_time(2 * SECOND_NS)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.TIMED_OUT]


def test_a_prolong_is_one_jobs_own() -> None:
    """The next one in the same worker is judged by its own limit, and may ask for time whatever was asked of others."""
    world = serving(workers=1, quick=True)
    slot, _job = world.start("quick", timeout_ms=100)
    world.prolong(slot, 5_000)
    world.finish(slot)
    world.hear(slot)
    slot, _job = world.start("quick", timeout_ms=200, force_kill_on_timeout=1)
    world.pass_time(200 * MS_NS)
    assert [ending.error for ending in endings(world.end(slot))] == ["passed its limit of 200 ms"]


def test_the_successor_of_a_cancelled_job_may_ask_for_time() -> None:
    """R9: the cancel was meant for the one that had ended, unread, when it came."""
    world = serving(workers=1, quick=True)
    slot, (cancelled, successor) = world.queued(2)
    world.finish(slot)
    world.take(slot)
    world.tell(seen.Wished(cancelled.id, cancelled.fence, "cancel"))
    assert world.workers[slot].current == successor
    assert world.prolong(slot, 5_000)


def test_a_crash_of_a_prolonged_job_is_a_crash() -> None:
    """Nothing is left of the decision that was taken back."""
    world, slot = stopping()
    world.prolong(slot, 500)
    world.die(slot, signal=11)
    (ending,) = endings(world.bury(slot) + world.clear(slot))
    assert ending.outcome is Outcome.CRASHED


def test_a_stalled_job_that_asks_for_time_goes_on() -> None:
    """Asking is a sign of life."""
    world = serving(workers=1)
    slot, _job = world.start(heartbeat_timeout_ms=100)
    world.pass_time(100 * MS_NS)
    assert world.prolong(slot)
    assert softly(world.pass_time(99 * MS_NS)) == []
    world.finish(slot)
    world.hear(slot)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.SUCCEEDED]


def test_a_heartbeat_during_the_grace_saves_nobody() -> None:
    """The stop was sent; only a prolong takes it back."""
    world = serving(workers=1)
    slot, _job = world.start(heartbeat_timeout_ms=100)
    world.pass_time(100 * MS_NS)
    world.beat(slot)
    assert do.KillTree(slot, dump=True) in world.pass_time(2 * SECOND_NS)


@pytest.mark.parametrize("wish", ["cancel", "requeue"])
def test_a_cancelled_or_requeued_job_gets_no_more_time(wish: str) -> None:
    """Prolong moves a limit, nothing else."""
    world = serving(workers=1)
    slot, job = world.start(timeout_ms=10_000)
    world.tell(seen.Wished(job.id, job.fence, wish))
    assert not world.prolong(slot, 5_000)
    assert do.KillTree(slot, dump=True) in world.pass_time(2 * SECOND_NS)


@pytest.mark.parametrize("wish", ["cancel", "requeue"])
def test_a_wish_during_the_grace_of_a_limit_holds(wish: str) -> None:
    """Whoever asked for the end of the job does not see it go on."""
    world, slot = stopping()
    job = world.workers[slot].current
    assert job is not None
    world.tell(seen.Wished(job.id, job.fence, wish))
    assert not world.prolong(slot, 5_000)


def test_a_prolonged_job_can_be_cancelled() -> None:
    """A second soft stop tells it so."""
    world, slot = stopping()
    world.prolong(slot, 60_000)
    job = world.workers[slot].current
    assert job is not None
    assert softly(world.tell(seen.Wished(job.id, job.fence, "cancel"))) == ["cancel"]
    world.pass_time(2 * SECOND_NS)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.CANCELLED]


def test_an_interrupted_job_gets_no_more_time() -> None:
    """When the pool leaves fast, or has lost its trust, nobody stays for longer."""
    world, slot = stopping()
    world.tell(seen.StopAsked(now=False))
    world.tell(seen.StopAsked(now=False))
    assert not world.prolong(slot, 5_000)
    trusting = serving(workers=1)
    slot, _job = trusting.start(timeout_ms=1_000)
    trusting.tell(seen.TrustLost())
    assert not trusting.prolong(slot, 5_000)


def test_what_is_being_killed_gets_no_more_time() -> None:
    """Hard is hard: the answer is no, and the kill goes on."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100, force_kill_on_timeout=1)
    world.pass_time(100 * MS_NS)
    assert not world.prolong(slot, 5_000)
    assert [ending.outcome for ending in endings(world.end(slot))] == [Outcome.TIMED_OUT]


def test_with_a_hard_kill_a_prolong_before_the_limit_is_granted() -> None:
    """Known defect of others: unavailable under hard kill. Here it is a message to the supervisor."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100, force_kill_on_timeout=1)
    world.pass_time(99 * MS_NS)
    assert world.prolong(slot, 300)
    assert world.pass_time(299 * MS_NS) == []
    assert do.KillTree(slot, dump=True) in world.pass_time(1 * MS_NS)


def test_another_attempts_prolong_is_refused() -> None:
    """It names job and fence; a slot that is gone has no time to give."""
    world = serving(workers=1)
    slot, job = world.start(timeout_ms=100)
    for attempt in ((job.id, job.fence + 1), (job.id + 1, job.fence)):
        assert world.pool.handle(seen.ProlongAsked(slot, attempt, 5_000), world.moment) == [
            do.AnswerProlong(slot, attempt, granted=False)
        ]
    assert world.pool.handle(seen.ProlongAsked(99, job.attempt, 5_000), world.moment) == [
        do.AnswerProlong(99, job.attempt, granted=False)
    ]
    assert softly(world.pass_time(100 * MS_NS)) == ["timeout"]


def test_a_lost_attempt_gets_no_more_time() -> None:
    """The job is somebody else's."""
    world = serving(workers=1)
    slot, job = world.start(timeout_ms=100)
    world.someone_else_takes(job.attempt)
    assert not world.prolong(slot, 5_000)


def test_prolongs_in_a_circle_leave_few_events() -> None:
    """Four a second at most; but one that takes a stop back is always told."""
    world = serving(workers=1)
    slot, _job = world.start(timeout_ms=100)
    told = []
    for _ in range(100):
        world.ns += 10 * MS_NS
        world.prolong(slot)
        told += noted(world.last_effects)
    assert 3 <= len(told) <= 5
    assert softly(world.pass_time(100 * MS_NS)) == ["timeout"]
    world.prolong(slot, 50)
    assert noted(world.last_effects) == [50]


def test_a_failure_of_a_prolonged_job_is_its_own() -> None:
    """It was stopped and went on: what it raises later is a failure like any other."""
    world, slot = stopping()
    world.prolong(slot, 5_000)
    world.finish(slot, Failure(HANDLER_ERROR, "ValueError"))
    world.hear(slot)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.error) == (Outcome.FAILED, "ValueError")


def test_only_the_running_attempt_may_ask_the_store() -> None:
    """Its question goes to the clerk; anybody else's is refused."""
    world = serving(workers=1)
    slot, job = world.start()
    assert world.tell(seen.Asked(slot, job.fence, 1, "get_job", "{}")) == [do.AskStore(slot, 1, "get_job", "{}")]
    assert world.tell(seen.Asked(slot, job.fence + 1, 2, "get_job", "{}")) == [do.RefuseAsk(slot, 2)]
    assert world.tell(seen.Asked(99, job.fence, 3, "get_job", "{}")) == []
    world.someone_else_takes(job.attempt)
    assert world.tell(seen.Asked(slot, job.fence, 4, "get_job", "{}")) == [do.RefuseAsk(slot, 4)]


def test_a_job_that_is_being_stopped_may_still_ask() -> None:
    """Its clean-up may need the store; once it is killed, nothing is done for it."""
    world, slot = stopping()
    assert kinds(world.tell(seen.Asked(slot, 1, 1, "get_job", "{}"))) == [do.AskStore]
    world.pass_time(2 * SECOND_NS)
    assert kinds(world.tell(seen.Asked(slot, 1, 2, "get_job", "{}"))) == [do.RefuseAsk]


@pytest.mark.parametrize("own", [None, 100, 5_000])
def test_no_job_runs_longer_than_the_ceiling(own: int | None) -> None:
    """`max_timeout_ms` is the limit of a job that has none or a later one; an earlier one stays."""
    world = serving(workers=1, max_timeout_ms=1_000)
    slot, _job = world.start(timeout_ms=own)
    limit_ms = min(own or 1_000, 1_000)
    assert world.pass_time((limit_ms - 1) * MS_NS) == []
    assert softly(world.pass_time(1 * MS_NS)) == ["timeout"]
    world.pass_time(2 * SECOND_NS)
    (ending,) = endings(world.end(slot))
    assert (ending.outcome, ending.failure_reason) == (Outcome.TIMED_OUT, FailureReason.TIMEOUT)
    assert ending.error is not None
    assert ("the daemon lets a job run (max_timeout_ms)" in ending.error) is (own != 100)


def test_a_prolong_is_cut_at_the_ceiling() -> None:
    """However often and how far a job prolongs itself, it is stopped then, and gets no more time after that."""
    world = serving(workers=1, max_timeout_ms=1_000)
    slot, _job = world.start(timeout_ms=300)
    for _ in range(3):
        world.pass_time(250 * MS_NS)
        assert world.prolong(slot)
    assert world.prolong(slot, ms=3_600_000)
    assert world.pass_time(249 * MS_NS) == []
    assert softly(world.pass_time(1 * MS_NS)) == ["timeout"]
    assert not world.prolong(slot)
    world.pass_time(2 * SECOND_NS)
    (ending,) = endings(world.end(slot))
    assert ending.error == "passed 1000 ms, the longest that the daemon lets a job run (max_timeout_ms)"


def test_before_a_hard_kill_a_prolong_past_the_ceiling_is_refused() -> None:
    """Its worker warns the handler a moment before the kill, so it has to know that moment."""
    world = serving(workers=1, max_timeout_ms=1_000)
    slot, _job = world.start(timeout_ms=300, force_kill_on_timeout=1)
    world.pass_time(200 * MS_NS)
    assert not world.prolong(slot, ms=801)
    assert world.prolong(slot, ms=800)
    assert world.pass_time(799 * MS_NS) == []
    assert world.pass_time(1 * MS_NS) == [do.TakeBack(slot), do.KillTree(slot, dump=True)]
