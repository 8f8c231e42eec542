"""Rules of retries and limits that a handler declares: which errors are retried, when, and how many jobs run."""

from __future__ import annotations

import pytest

from jobwarden.jobs import FailureReason, JobStatus
from tests.support.site import Site

SERVED_WITH = {"workers": 2, "kill_grace_seconds": 0.3}


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        ("reset", 3),  # retry_on names its parent
        ("refused", 1),  # fail_on wins over retry_on
        ("value", 1),  # not among retry_on
        ("later", 3),  # RetryLater wins over everything
        ("permanent", 1),
    ],
)
def test_what_is_retried_is_what_the_handler_declares(served: Site, error: str, attempts: int) -> None:
    """Anything that is not to be retried fails for good, whatever attempts are left."""
    record = served.await_end(served.add("ruled", extra={"error": error}))

    assert (record.status, record.attempts) == (JobStatus.FAILED, attempts)
    assert record.failure_reason is FailureReason.HANDLER_ERROR
    assert record.next_attempt_at is None


def test_the_declared_delay_replaces_the_jobs_own(served: Site) -> None:
    """0 s here, where the job says an hour; it is told attempt and error, and not asked when no retry follows."""
    job_id = served.add("ruled", extra={"error": "reset"}, retry_delay=3600)

    assert served.await_end(job_id).attempts == 3
    said = [(attempt.captured or "").splitlines()[-1] for attempt in served.attempts(job_id)]
    assert said[:2] == ["delay 1 ConnectionResetError", "delay 2 ConnectionResetError"]
    assert said[2] == "ConnectionResetError: reset"


def test_a_delay_that_fails_costs_nothing_but_a_line(served: Site) -> None:
    """The job's own delay holds, and the captured output says so."""
    job_id = served.add("ruled", extra={"error": "bad delay"}, retry_delay=0)

    assert served.await_end(job_id).attempts == 3
    assert "delay function failed with ArithmeticError" in (served.attempts(job_id)[0].captured or "")


def test_a_timeout_is_not_judged_by_the_rules(served: Site) -> None:
    """JobTimeout is no error of the handler's: it is retried although retry_on does not name it."""
    record = served.await_end(served.add("ruled_hang"))

    assert (record.attempts, record.failure_reason) == (2, FailureReason.TIMEOUT)


def test_the_declared_concurrency_holds_on_this_node(served: Site) -> None:
    """max_concurrency=1: the second job waits although a worker is idle; other types do not."""
    gate = served.gate()
    ids = [served.add("limited", gate) for _ in range(2)]
    first = gate.await_arrival().job_id
    served.await_end(served.add("echo"))
    assert not gate.somebody_came
    gate.let_go()
    second = gate.await_arrival().job_id
    gate.let_go()
    assert sorted([first, second]) == ids
    assert {served.await_end(job_id).heartbeat_timeout_ms for job_id in ids} == {60_000}
