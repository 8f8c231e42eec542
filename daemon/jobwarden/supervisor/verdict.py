"""From what was seen of an attempt (its report, its death, the pool's own decision) to its ending. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jobwarden.jobs.ending import AttemptFacts, Ending, complete, end_attempt
from jobwarden.jobs.outcome import FailureReason, Outcome
from jobwarden.wire.messages import INVALID_PAYLOAD, MEMORY, NO_HANDLER, PERMANENT, TIMEOUT, Failure

if TYPE_CHECKING:
    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.supervisor.inputs import Moment
    from jobwarden.supervisor.slot import Slot
    from jobwarden.wire.messages import Done

_NS_PER_MS = 1_000_000
_REASONS = {INVALID_PAYLOAD: FailureReason.INVALID_PAYLOAD, NO_HANDLER: FailureReason.NO_HANDLER}
_SIGNALS = {1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL"}
_SIGNALS |= {11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS"}
"""signal(7) on Linux; the module `signal` would bring the machine into the pure core."""


def ran_over(job: ClaimedJob, done: Done, slot: Slot) -> bool:
    """Whether the attempt's own stamps say that it passed its limit, or the silence for which it was stopped."""
    if slot.stalled_ns and done.ended_ns > slot.stalled_ns:
        return True
    if slot.prolonged:
        return slot.limit_ns is not None and done.ended_ns > slot.limit_ns
    return job.timeout_ms is not None and done.ended_ns - done.started_ns > job.timeout_ms * _NS_PER_MS


def judge_report(job: ClaimedJob, done: Done, slot: Slot, *, now: Moment, jitter: float) -> Ending:
    """The ending of an attempt whose worker reported and whose tree is gone (or never was)."""
    facts = _facts_of_report(done, slot, now)
    failure = done.failure
    if ran_over(job, done, slot) or (failure is not None and failure.kind == TIMEOUT):
        return _timed_out(job, slot, now=now, jitter=jitter, facts=facts)
    if failure is None:
        return complete(job, output=done.output, now_us=now.us, facts=facts)
    if slot.why in {Outcome.CANCELLED, Outcome.INTERRUPTED} and done.retire:
        return _decided(job, slot.why, slot, now=now, jitter=jitter, facts=facts)
    return end_attempt(
        job,
        Outcome.MEMORY_EXCEEDED if failure.kind == MEMORY else Outcome.FAILED,
        error=failure.message,
        now_us=now.us,
        jitter=jitter,
        reason=_REASONS.get(failure.kind),
        permanent=_is_permanent(failure),
        retry_after=failure.retry_after,
        facts=facts,
    )


def judge_end(job: ClaimedJob, slot: Slot, *, stack_dump: str | None, now: Moment, jitter: float) -> Ending:
    """The ending of an attempt whose worker is dead and whose tree is gone, whether or not it reported before."""
    if slot.done is None:
        return judge_death(job, slot, stack_dump=stack_dump, now=now, jitter=jitter)
    ending = judge_report(job, slot.done, slot, now=now, jitter=jitter)
    if stack_dump is None:
        return ending
    return msgspec.structs.replace(ending, facts=msgspec.structs.replace(ending.facts, stack_dump=stack_dump))


def judge_death(job: ClaimedJob, slot: Slot, *, stack_dump: str | None, now: Moment, jitter: float) -> Ending:
    """The ending of an attempt whose worker died without a report; its tree is gone."""
    facts = _facts_of_death(slot, now, stack_dump)
    if slot.why is Outcome.TIMED_OUT:
        return _timed_out(job, slot, now=now, jitter=jitter, facts=facts)
    if slot.why is not None:
        return _decided(job, slot.why, slot, now=now, jitter=jitter, facts=facts)
    if slot.died is not None and slot.died.fenced:
        return _decided(job, Outcome.INTERRUPTED, slot, now=now, jitter=jitter, facts=facts)
    return end_attempt(job, Outcome.CRASHED, error=_cause(slot), now_us=now.us, jitter=jitter, facts=facts)


def _is_permanent(failure: Failure) -> bool:
    return failure.kind in {PERMANENT, INVALID_PAYLOAD, NO_HANDLER}


def _timed_out(job: ClaimedJob, slot: Slot, *, now: Moment, jitter: float, facts: AttemptFacts) -> Ending:
    reason = FailureReason.STALLED if slot.stalled_ns else FailureReason.TIMEOUT
    error = _what_passed(job, slot)
    return end_attempt(job, Outcome.TIMED_OUT, error=error, now_us=now.us, jitter=jitter, reason=reason, facts=facts)


def _what_passed(job: ClaimedJob, slot: Slot) -> str:
    if slot.use.spent and slot.told is not None:
        return slot.told
    if slot.stalled_ns:
        return f"gave no sign of life for {job.heartbeat_timeout_ms} ms"
    if slot.ceiling_ms is not None and slot.limit_ns == slot.head_since_ns + slot.ceiling_ms * _NS_PER_MS:
        return f"passed {slot.ceiling_ms} ms, the longest that the daemon lets a job run (max_timeout_ms)"
    if slot.prolonged and slot.limit_ns is not None:
        ms = (slot.limit_ns - slot.head_since_ns) // _NS_PER_MS
        return f"passed its limit, which it had prolonged to {ms} ms after its start"
    return f"passed its limit of {job.timeout_ms} ms"


def _decided(job: ClaimedJob, why: Outcome, slot: Slot, *, now: Moment, jitter: float, facts: AttemptFacts) -> Ending:
    plain = "cancelled while it ran" if why is Outcome.CANCELLED else "interrupted; the attempt is not counted"
    return end_attempt(job, why, error=slot.told or plain, now_us=now.us, jitter=jitter, facts=facts)


def _cause(slot: Slot) -> str:
    died = slot.died
    if died is None:
        return "the worker was given up"
    if died.signal is not None:
        return f"the worker process was killed by signal {died.signal} ({_SIGNALS.get(died.signal, 'unknown')})"
    return f"the worker process ended with exit code {died.exit_code} in the middle of the job"


def _facts_of_report(done: Done, slot: Slot, now: Moment) -> AttemptFacts:
    return AttemptFacts(
        worker_pid=slot.pid,
        generation=slot.generation,
        started_us=now.wall_us(done.started_ns),
        ended_us=now.wall_us(done.ended_ns),
        peak_rss_kb=done.peak_rss_kb,
        cpu_ms=done.cpu_us // 1_000,
        captured=slot.captured,
        left_behind=done.left_behind or None,
    )


def _facts_of_death(slot: Slot, now: Moment, stack_dump: str | None) -> AttemptFacts:
    died = slot.died
    return AttemptFacts(
        worker_pid=slot.pid,
        generation=slot.generation,
        started_us=now.wall_us(slot.head_since_ns),
        ended_us=now.us,
        signal=died.signal if died else None,
        exit_code=died.exit_code if died else None,
        peak_rss_kb=died.peak_rss_kb if died else None,
        cpu_ms=died.cpu_ms if died else None,
        captured=slot.captured,
        stack_dump=stack_dump,
    )
