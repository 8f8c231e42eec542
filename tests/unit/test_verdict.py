"""From what was seen of an attempt to its end: the facts that people read in `show`."""

from __future__ import annotations

import pytest

from jobwarden.jobs import FailureReason, Outcome
from jobwarden.supervisor.inputs import Died, Moment
from jobwarden.supervisor.slot import Slot
from jobwarden.supervisor.verdict import judge_death, judge_end, judge_report, ran_over
from jobwarden.wire.messages import (
    HANDLER_ERROR,
    INVALID_PAYLOAD,
    NO_HANDLER,
    PERMANENT,
    TIMEOUT,
    Done,
    Failure,
)
from tests.unit.test_ending import job

NOW = Moment(ns=10_000_000_000, us=1_700_000_000_000_000)


def slot_with(*, why: Outcome | None = None, died: Died | None = None, captured: str | None = None) -> Slot:
    """A slot whose worker has come to this."""
    slot = Slot(3, generation=2, now_ns=NOW.ns - 1_000_000_000)
    slot.pid, slot.why, slot.died, slot.captured = 4711, why, died, captured
    return slot


def death(signal: int | None = None, exit_code: int | None = None, *, fenced: bool = False) -> Died:
    """How it died."""
    return Died(3, signal, exit_code, 250, 9_000, fenced, None)


def done(*, run_ms: int = 100, failure: Failure | None = None, retire: bool = False) -> Done:
    """A report of an attempt that ended half a second ago."""
    ended_ns = NOW.ns - 500_000_000
    started_ns = ended_ns - run_ms * 1_000_000
    return Done(1, 4, started_ns, ended_ns, 7_500, 8_000, marked=True, output="1", failure=failure, retire=retire)


def test_the_facts_of_a_report_are_the_workers_own() -> None:
    """Its stamps as wall time, its CPU time in milliseconds, its peak memory."""
    facts = judge_report(job(), done(), slot_with(captured="hello\n"), now=NOW, jitter=1.0).facts
    assert (facts.worker_pid, facts.generation, facts.cpu_ms, facts.peak_rss_kb) == (4711, 2, 7, 8_000)
    assert (facts.started_us, facts.ended_us) == (NOW.us - 600_000, NOW.us - 500_000)
    assert facts.captured == "hello\n"


def test_the_facts_of_a_death_are_the_kernels() -> None:
    """Signal, exit status and rusage of our child; it ended when we saw it."""
    ending = judge_death(job(), slot_with(died=death(9)), stack_dump="File x", now=NOW, jitter=1.0)
    facts = ending.facts
    assert (facts.signal, facts.exit_code, facts.cpu_ms, facts.peak_rss_kb) == (9, None, 250, 9_000)
    assert (facts.started_us, facts.ended_us, facts.stack_dump) == (NOW.us - 1_000_000, NOW.us, "File x")


@pytest.mark.parametrize(
    ("died", "sentence"),
    [
        (death(11), "was killed by signal 11 (SIGSEGV)"),
        (death(64), "was killed by signal 64 (unknown)"),
        (death(exit_code=3), "ended with exit code 3 in the middle of the job"),
        (death(exit_code=0), "ended with exit code 0 in the middle of the job"),
    ],
)
def test_a_crash_says_how_the_process_ended(died: Died, sentence: str) -> None:
    """One sentence for the error history. An orderly exit in the middle of a job is a crash as well."""
    ending = judge_death(job(), slot_with(died=died), stack_dump=None, now=NOW, jitter=1.0)
    assert ending.outcome is Outcome.CRASHED
    assert ending.error is not None
    assert sentence in ending.error


@pytest.mark.parametrize(
    ("why", "fenced", "outcome"),
    [
        (Outcome.TIMED_OUT, False, Outcome.TIMED_OUT),
        (Outcome.CANCELLED, False, Outcome.CANCELLED),
        (Outcome.INTERRUPTED, False, Outcome.INTERRUPTED),
        (None, True, Outcome.INTERRUPTED),
        (Outcome.TIMED_OUT, True, Outcome.TIMED_OUT),
        (None, False, Outcome.CRASHED),
    ],
)
def test_a_death_is_what_was_decided_before_it(why: Outcome | None, fenced: bool, outcome: Outcome) -> None:  # noqa: FBT001 - a parameter
    """Only a death that nobody ordered is a crash."""
    slot = slot_with(why=why, died=death(9, fenced=fenced))
    assert judge_death(job(timeout_ms=5), slot, stack_dump=None, now=NOW, jitter=1.0).outcome is outcome


@pytest.mark.parametrize(
    ("kind", "reason", "ended"),
    [
        (HANDLER_ERROR, FailureReason.HANDLER_ERROR, False),
        (PERMANENT, FailureReason.HANDLER_ERROR, True),
        (INVALID_PAYLOAD, FailureReason.INVALID_PAYLOAD, True),
        (NO_HANDLER, FailureReason.NO_HANDLER, True),
        (TIMEOUT, FailureReason.TIMEOUT, False),
    ],
)
def test_a_reported_failure_has_its_reason(kind: str, reason: FailureReason, ended: bool) -> None:  # noqa: FBT001 - a parameter
    """What cannot become better by waiting is not retried."""
    ending = judge_report(job(), done(failure=Failure(kind, "m")), slot_with(), now=NOW, jitter=1.0)
    assert (ending.failure_reason, ending.ended) == (reason, ended)


def test_the_delay_that_a_handler_asks_for_is_taken() -> None:
    """RetryLater travels in the failure."""
    failure = Failure(HANDLER_ERROR, "m", retry_after=2.0)
    ending = judge_report(job(), done(failure=failure), slot_with(), now=NOW, jitter=1.0)
    assert ending.next_attempt_us == NOW.us + 2_000_000


@pytest.mark.parametrize("why", [Outcome.CANCELLED, Outcome.INTERRUPTED])
def test_a_stopped_handler_ends_as_was_decided(why: Outcome) -> None:
    """It was made to fail; that is not a failure of its own."""
    report = done(failure=Failure(HANDLER_ERROR, "JobCancelled"), retire=True)
    assert judge_report(job(), report, slot_with(why=why), now=NOW, jitter=1.0).outcome is why


def test_a_failure_before_the_stop_arrived_is_the_handlers_own() -> None:
    """It reports without having been stopped: the decision came too late."""
    report = done(failure=Failure(HANDLER_ERROR, "ValueError"))
    ending = judge_report(job(), report, slot_with(why=Outcome.INTERRUPTED), now=NOW, jitter=1.0)
    assert ending.outcome is Outcome.FAILED


def test_a_limit_is_passed_by_more_than_itself() -> None:
    """Exactly the limit is in time."""
    assert not ran_over(job(timeout_ms=100), done(run_ms=100), slot_with())
    assert ran_over(job(timeout_ms=100), done(run_ms=101), slot_with())
    assert not ran_over(job(timeout_ms=None), done(run_ms=10_000), slot_with())


@pytest.mark.parametrize("stack_dump", [None, "File x"])
def test_a_dump_is_added_to_a_reported_end(stack_dump: str | None) -> None:
    """The stacks that were seen before the kill belong to the attempt, also when its report was in time."""
    slot = slot_with()
    slot.done = done()
    ending = judge_end(job(), slot, stack_dump=stack_dump, now=NOW, jitter=1.0)
    assert (ending.outcome, ending.facts.stack_dump) == (Outcome.SUCCEEDED, stack_dump)
