"""The main path: what is added runs, in order, when it is due, and what came of it can be read."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta

from jobwarden.clock import SYSTEM_CLOCK, to_datetime
from jobwarden.jobs import JobOptions, JobStatus, Outcome
from jobwarden.jobs.outcome import FailureReason
from tests.support.daemon import clean_environment
from tests.support.gates import Gate
from tests.support.site import Site
from tests.support.waiting import eventually

SERVED_WITH = {"kill_grace_seconds": 2}


def occupy(served: Site, *, workers: int) -> Gate:
    """Keep so many workers busy until their gate lets them go."""
    gate = served.gate()
    for _ in range(workers):
        served.add("gated", gate)
        gate.await_arrival()
    return gate


def test_an_added_job_is_completed_with_its_output_and_its_events(served: Site) -> None:
    """Payload in, output out, and one event for each transition."""
    job_id = served.client.add_job("echo", {"text": "naïve ☃", "numbers": [1, 2.5, None]})

    record = served.await_end(job_id)

    assert (record.status, record.attempts, record.failure_reason) == (JobStatus.COMPLETED, 1, None)
    assert record.output == {"text": "naïve ☃", "numbers": [1, 2.5, None]}
    assert [event.type for event in served.client.get_job_events(job_id)] == ["added", "processing", "completed"]
    (attempt,) = served.attempts(job_id)
    assert (attempt.outcome, attempt.generation, attempt.error) == (Outcome.SUCCEEDED, 1, None)
    assert attempt.worker_pid in served.daemons[0].workers


def test_a_job_larger_than_the_buffer_of_a_socket_arrives_whole(served: Site) -> None:
    """What the worker's stream does not take at once follows when it is writable again; nothing else waits for it."""
    text = "x" * 900_000

    record = served.await_end(served.client.add_job("echo", {"text": text}))

    assert (record.status, record.output) == (JobStatus.COMPLETED, {"text": text})


def test_jobs_run_by_priority_then_in_the_order_in_which_they_came(served: Site) -> None:
    """Priority descending, then id."""
    gate = occupy(served, workers=2)
    wanted = [("c", 0), ("a", 9), ("d", 0), ("e", -1), ("b", 9)]
    ids = [served.add("write_line", extra={"file": "order", "line": name}, priority=rank) for name, rank in wanted]
    gate.let_go()  # one worker is free from now on, the other one stays at the gate

    for job_id in ids:
        served.await_end(job_id)
    gate.let_go()
    assert served.lines("order") == ["a", "b", "c", "d", "e"]


def test_a_failed_job_runs_again_after_its_delay(served: Site) -> None:
    """A failure with attempts left plans the next one; the errors of all of them stay readable."""
    job_id = served.client.add_job("fail_until", {"attempt": 3}, max_attempts=3, retry_delay=0.05, retry_backoff=False)

    record = served.await_end(job_id)

    assert (record.status, record.attempts, record.output) == (JobStatus.COMPLETED, 3, 3)
    assert [each.message.partition("attempt")[2][:2] for each in record.error_history] == [" 1", " 2"]
    assert [each.outcome for each in served.attempts(job_id)] == [Outcome.FAILED, Outcome.FAILED, Outcome.SUCCEEDED]


def test_a_job_that_fails_each_time_ends_failed_when_its_attempts_are_used_up(served: Site) -> None:
    """The last failure has no next attempt."""
    job_id = served.client.add_job("fail_until", {"attempt": 99}, max_attempts=2, retry_delay=0)

    record = served.await_end(job_id)

    assert (record.status, record.attempts, record.next_attempt_at) == (JobStatus.FAILED, 2, None)
    assert record.failure_reason is FailureReason.HANDLER_ERROR


def test_a_handler_can_forbid_the_retry(served: Site) -> None:
    """FailPermanently ends the job at its first attempt."""
    record = served.await_end(served.client.add_job("fail_for_good", {}, max_attempts=5))

    assert (record.status, record.attempts) == (JobStatus.FAILED, 1)
    assert "the order was withdrawn" in record.error_history[-1].message


def test_a_job_for_later_runs_when_it_is_due_and_not_before(served: Site) -> None:
    """`run_at` is the earliest start."""
    due = to_datetime(SYSTEM_CLOCK.now_us()) + timedelta(seconds=0.6)
    later = served.client.add_job("echo", {}, run_at=due)
    served.await_end(served.client.add_job("echo", {}))

    record = served.await_end(later)

    assert record.started_at is not None
    assert record.started_at >= due


def test_a_payload_of_the_wrong_form_fails_at_once_and_names_the_field(served: Site) -> None:
    """A typed payload is checked before the call; trying again would not help."""
    right = served.client.add_job("bill", {"number": 3, "amount": 1.5})
    wrong = served.client.add_job("bill", {"number": "three", "amount": 1.5}, max_attempts=5)

    assert served.await_end(right).output == 4.5
    record = served.await_end(wrong)

    assert (record.status, record.attempts) == (JobStatus.FAILED, 1)
    assert record.failure_reason is FailureReason.INVALID_PAYLOAD
    assert "number" in record.error_history[-1].message


def test_progress_can_be_read_while_the_job_runs(served: Site) -> None:
    """What a handler reports is in the record before it ends."""
    gate = served.gate()
    job_id = served.add("progress", gate, extra={"percent": 40})
    gate.await_arrival()

    eventually(lambda: served.job(job_id).progress == 40, what="the progress in the record")
    assert served.job(job_id).status is JobStatus.PROCESSING
    gate.let_go()
    assert served.await_end(job_id).status is JobStatus.COMPLETED


def test_what_a_job_prints_is_kept_with_its_attempt_and_with_no_other(served: Site) -> None:
    """Streams, descriptors and children of one attempt are captured; the next job's begin empty."""
    gate = occupy(served, workers=1)
    ids = [served.client.add_job("speak", {"word": word}) for word in ("apple", "pear")]
    served.await_end(ids[-1])
    gate.let_go()

    first, second = (served.attempts(job_id)[0].captured or "" for job_id in ids)
    for text in ("on stdout apple", "on stderr", "through the context size=3", "from a child", "on the descriptor"):
        assert text in first
    assert second == first.replace("apple", "pear")


def test_a_job_added_by_another_process_wakes_the_daemon(served: Site) -> None:
    """The doorbell is rung by whoever adds; nothing else of this test reaches the daemon."""
    program = "import sys; from jobwarden.client import Client; print(Client(sys.argv[1]).add_job('echo', {'n': 7}))"
    ran = subprocess.run(
        [sys.executable, "-c", program, served.url], env=clean_environment(), capture_output=True, text=True, check=True
    )

    assert served.await_end(int(ran.stdout)).output == {"n": 7}


def test_a_running_job_is_cancelled_with_all_that_it_started(served: Site) -> None:
    """A cancel of a running job is obeyed by its owner, and only recorded when the tree is gone."""
    gate = served.gate()
    job_id = served.add("run_away", gate, max_attempts=5)
    gate.await_arrival()

    record = served.client.cancel_job(job_id, wait_seconds=30)

    assert record.status is JobStatus.CANCELLED
    assert not served.is_held(job_id)
    assert [each.outcome for each in served.attempts(job_id)] == [Outcome.CANCELLED]


def test_an_async_handler_is_cancelled_from_within(served: Site) -> None:
    """A coroutine that waits hears the cancel and needs no kill."""
    gate = served.gate()
    job_id = served.add("gated_async", gate)
    gate.await_arrival()

    assert served.client.cancel_job(job_id, wait_seconds=15).status is JobStatus.CANCELLED
    assert served.attempts(job_id)[0].signal is None


def test_a_batch_of_jobs_is_completed_by_all_workers(served: Site) -> None:
    """Many small jobs at once: each runs exactly once."""
    payloads = [served.payload(file="batch", line=number) for number in range(500)]
    ids = served.client.add_jobs([JobOptions(job_type="write_line", payload=each) for each in payloads])

    for job_id in ids:
        assert served.await_end(job_id).status is JobStatus.COMPLETED
    assert sorted(map(int, served.lines("batch"))) == list(range(500))


def test_a_handler_can_end_the_children_that_it_has_forked(served: Site) -> None:
    """Workers hear no SIGTERM, their forked children do, however soon it comes: pools of `multiprocessing` need it."""
    record = served.await_end(served.add("end_children", extra={"count": 20}, max_attempts=1))
    assert record.output == [-signal.SIGTERM] * 20, record.error_history
