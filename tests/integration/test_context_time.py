"""How long a job may run, seen from the handler: prolong, callbacks at the limit, heartbeats, `aborted`."""

from __future__ import annotations

from typing import Any

import pytest

from jobwarden.jobs import FailureReason, JobStatus, Outcome
from tests.support.site import Site
from tests.support.waiting import eventually

SERVED_WITH = {"workers": 2, "kill_grace_seconds": 0.3}


def prolonged_events(site: Site, job_id: int) -> list[dict[str, Any] | None]:
    """What the events of this job say of prolongs."""
    return [event.metadata for event in site.client.get_job_events(job_id) if event.type == "prolonged"]


@pytest.mark.parametrize("force", [False, True])
def test_a_prolonged_job_works_past_its_first_limit(served: Site, *, force: bool) -> None:
    """With a hard kill too: prolong is a message to the supervisor (known defect: unavailable under hard kill)."""
    job_id = served.add(
        "prolong", extra={"ms": 30_000, "work_ms": 400}, timeout_ms=200, max_attempts=1, force_kill_on_timeout=force
    )

    record = served.await_end(job_id)

    assert (record.status, record.output) == (JobStatus.COMPLETED, True)
    assert prolonged_events(served, job_id) == [{"ms": 30_000}]


def test_without_a_number_the_limit_is_given_once_more(served: Site) -> None:
    """`prolong()` counts the job's own timeoutMs from now."""
    job_id = served.add("prolong", extra={"work_ms": 50}, timeout_ms=20_000)

    assert served.await_end(job_id).output is True
    assert prolonged_events(served, job_id) == [{"ms": 20_000}]


def test_a_job_without_a_limit_may_always_go_on(served: Site) -> None:
    """True, and nothing changes: it does not get a limit by asking."""
    job_id = served.add("prolong", extra={"ms": 50, "work_ms": 200})

    record = served.await_end(job_id)

    assert (record.status, record.output) == (JobStatus.COMPLETED, True)
    assert prolonged_events(served, job_id) == []


@pytest.mark.parametrize("force", [False, True])
def test_a_prolonged_job_that_passes_its_new_limit_is_timed_out(served: Site, *, force: bool) -> None:
    """A second limit is a limit: the job is stopped again, and its error says that it had been given more."""
    job_id = served.add(
        "prolong", extra={"ms": 300, "work_ms": 60_000}, timeout_ms=200, max_attempts=1, force_kill_on_timeout=force
    )

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.TIMEOUT)
    (attempt,) = served.attempts(job_id)
    assert "prolonged" in (attempt.error or "")
    assert (attempt.signal == 9) is force, "softly at the second limit too, unless it is to be killed"


def test_a_thread_keeps_its_job_alive(served: Site) -> None:
    """Calls from another thread count; the main thread needs not to know."""
    job_id = served.add(
        "prolong_in_thread", extra={"ms": 30_000, "every_ms": 50, "work_ms": 700}, timeout_ms=400, max_attempts=1
    )

    record = served.await_end(job_id)

    assert record.status is JobStatus.COMPLETED
    assert isinstance(record.output, list)
    assert set(record.output) == {True}


@pytest.mark.parametrize("call", [False, True])
@pytest.mark.parametrize("force", [False, True])
def test_a_callback_at_the_limit_can_ask_for_more_time(served: Site, *, call: bool, force: bool) -> None:
    """A granted prolong inside of it, or a positive number that it returns: JobTimeout is not raised.

    Where the limit is a hard kill, it is called a tenth of the limit before.
    """
    job_id = served.add(
        "prolong_in_callback",
        extra={"ms": 1_000, "times": 5, "work_ms": 2_200, "call": call},
        timeout_ms=600,
        max_attempts=1,
        force_kill_on_timeout=force,
    )

    record = served.await_end(job_id)

    assert record.status is JobStatus.COMPLETED
    assert record.output in {2, 3}


def test_a_callback_that_asks_for_nothing_more_is_followed_by_the_stop(served: Site) -> None:
    """Each limit calls it anew; the one at which it is silent is the last."""
    job_id = served.add(
        "prolong_in_callback", extra={"ms": 100, "times": 2, "work_ms": 60_000}, timeout_ms=100, max_attempts=1
    )

    record = served.await_end(job_id)

    assert record.failure_reason is FailureReason.TIMEOUT
    assert served.lines(f"{job_id}.callbacks") == ["1", "2", "3"]


def test_callbacks_that_fail_or_say_something_useless_change_nothing(served: Site) -> None:
    """What they raise is printed, and the job ends as it would without them."""
    job_id = served.add("bad_callbacks", timeout_ms=200, max_attempts=1)

    record = served.await_end(job_id)

    assert record.failure_reason is FailureReason.TIMEOUT
    (attempt,) = served.attempts(job_id)
    assert "RuntimeError: this callback is broken" in (attempt.captured or "")
    assert attempt.signal is None


def test_async_handlers_are_called_back_and_prolonged_as_well(served: Site) -> None:
    """The callback comes at the limit, twice; the coroutine is not cancelled."""
    job_id = served.add("prolong_async", extra={"ms": 300, "times": 9, "work_ms": 700}, timeout_ms=300, max_attempts=1)

    record = served.await_end(job_id)

    assert record.status is JobStatus.COMPLETED
    assert record.output in {1, 2}


def test_an_async_handler_without_more_time_is_cancelled(served: Site) -> None:
    """After its callbacks have asked for nothing."""
    job_id = served.add(
        "prolong_async", extra={"ms": 100, "times": 1, "work_ms": 60_000}, timeout_ms=100, max_attempts=1
    )

    assert served.await_end(job_id).failure_reason is FailureReason.TIMEOUT
    (attempt,) = served.attempts(job_id)
    assert attempt.signal is None


def test_a_job_that_caught_its_stop_may_still_be_given_time(served: Site) -> None:
    """Within the grace the limit can be moved; what it then returns is its success, and its worker goes."""
    gate = served.gate()
    job_id = served.add("prolong_after_stop", gate, timeout_ms=200, max_attempts=1)
    pid = gate.await_arrival().pid

    record = served.await_end(job_id)

    assert (record.status, record.output) == (JobStatus.COMPLETED, [True, True, False])
    assert served.lines(f"{job_id}.granted") == ["JobTimeout True False"]
    (daemon,) = served.daemons
    daemon.wait_for("worker_died", pid=pid)


def test_a_cancelled_job_is_given_no_more_time(served: Site) -> None:
    """Prolong moves a limit, nothing else."""
    gate = served.gate()
    job_id = served.add("prolong_after_stop", gate, timeout_ms=60_000)
    gate.await_arrival()

    served.client.cancel_job(job_id)

    assert served.await_end(job_id).status is JobStatus.CANCELLED
    assert served.lines(f"{job_id}.granted") == ["JobCancelled False True"]


@pytest.mark.parametrize("by", ["heartbeat", "progress"])
def test_signs_of_life_keep_a_job_alive(served: Site, by: str) -> None:
    """A heartbeat or progress within each heartbeatTimeoutMs."""
    job_id = served.add("beat", extra={"work_ms": 900, "by": by}, heartbeat_timeout_ms=300, max_attempts=1)

    assert served.await_end(job_id).status is JobStatus.COMPLETED


def test_a_silent_job_is_stopped_as_stalled(served: Site) -> None:
    """Softly first; the error says how long it was silent."""
    job_id = served.add("fall_silent", heartbeat_timeout_ms=200, max_attempts=1)

    record = served.await_end(job_id)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.STALLED)
    (attempt,) = served.attempts(job_id)
    assert (attempt.outcome, attempt.error) == (Outcome.TIMED_OUT, "gave no sign of life for 200 ms")
    assert served.lines(f"{job_id}.stops") == ["the job gave no sign of life within its heartbeatTimeoutMs"]


def test_a_thread_sees_that_its_job_is_to_end(served: Site) -> None:
    """`ctx.aborted` is true even while the main thread is in C and hears no signal."""
    gate = served.gate()
    job_id = served.add("watch_for_stop", gate, timeout_ms=200, max_attempts=1)
    gate.await_arrival()

    served.await_end(job_id)

    assert served.lines(f"{job_id}.seen") == ["aborted"]


def test_a_thread_that_outlives_its_job_can_do_nothing_for_it(served: Site) -> None:
    """Its context is closed: no progress of the next job, no more time, no new jobs."""
    job_id = served.add("outlive", timeout_ms=60_000)
    served.await_end(job_id)

    (line,) = eventually(lambda: served.lines(f"{job_id}.later"), what="the thread's line")

    assert line == f"False job {job_id} has ended, so its context cannot add_jobs any more"
