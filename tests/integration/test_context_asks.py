"""What a running job asks the store for, through the supervisor's clerk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from jobwarden.jobs import JobStatus
from tests.support.site import Site

SERVED_WITH = {"workers": 2, "kill_grace_seconds": 2}
SOON_ENOUGH_SECONDS = 20.0


def answer(site: Site, verb: str, *arguments: Any, **named: Any) -> Any:
    """What this verb of a job's context gave."""
    job_id = site.add("ask", extra={"verb": verb, "args": list(arguments), "kwargs": named}, max_attempts=1)
    record = site.await_end(job_id)
    assert record.status is JobStatus.COMPLETED, record.error_history
    return record.output


def test_a_job_adds_a_job_which_starts_at_once(served: Site) -> None:
    """Its id is the answer, after the commit; the options are those of a client."""
    job_id = answer(served, "add_job", "echo", {"n": 1}, priority=7, tags=["a", "b"], metadata={"by": "me"})

    record = served.await_end(job_id)

    assert (record.status, record.output) == (JobStatus.COMPLETED, {"n": 1})
    assert (record.priority, record.tags, record.metadata) == (7, ["a", "b"], {"by": "me"})


def test_a_job_adds_a_workflow_in_one_call(served: Site) -> None:
    """Ids in the order of the list; -1 is the first job of the same batch."""
    first, second = answer(
        served,
        "add_jobs",
        [
            {"job_type": "echo", "payload": {"n": 1}},
            {"jobType": "echo", "payload": {"n": 2}, "dependsOn": {"jobIds": [-1]}},
        ],
    )

    assert served.await_end(second).depends_on_job_ids == [first]
    assert served.job(first).status is JobStatus.COMPLETED


def test_a_moment_travels_with_its_zone(served: Site) -> None:
    """ISO 8601 on the wire; the job waits for that moment."""
    job_id = answer(served, "add_job", "echo", {}, run_at="2090-01-02T03:04:05+00:00")
    record = served.job(job_id)
    assert (record.status, record.run_at) == (JobStatus.PENDING, datetime(2090, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_a_job_reads_edits_cancels_and_retries_others(served: Site) -> None:
    """The verbs of a client; records come as their JSON."""
    far = {"run_at": "2090-01-01T00:00:00Z"}
    job_id = answer(served, "add_job", "echo", {"n": 1}, tags=["asked"], **far)
    assert answer(served, "edit_job", job_id, priority=3, payload={"n": 2}) is None
    record = answer(served, "get_job", job_id)
    assert (record["id"], record["jobType"], record["priority"], record["payload"]) == (job_id, "echo", 3, {"n": 2})
    assert [each["id"] for each in answer(served, "get_jobs", tags=["asked"], limit=5)] == [job_id]
    assert answer(served, "cancel_job", job_id, reason="not now") == "cancelled"
    assert served.job(job_id).status is JobStatus.CANCELLED
    assert answer(served, "retry_job", job_id) is None
    assert answer(served, "get_job", 2**60) is None


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (("add_job", "", {}), "InvalidJobError", "job_type"),
        (("add_job", "echo", {}, {"priority": "high"}), "InvalidJobError", "priority"),
        (("add_job", "echo", {}, {"run_at": "2030-01-01T00:00:00"}), "InvalidJobError", "run_at"),
        (("add_job", "echo", {}, {"colour": "red"}), "InvalidJobError", "colour"),
        (("add_jobs", [{"job_type": "echo"}, {"job_type": 5}]), "InvalidJobError", "jobs[1].job_type"),
        (("add_jobs", [{"payload": 5}]), "InvalidJobError", "job"),
        (("get_job", 0), "InvalidJobError", "job_id"),
        (("get_job", "1"), "InvalidJobError", "job_id"),
        (("get_job", 2**70), "InvalidJobError", "job_id"),
        (("get_jobs", {"limit": 0}), "InvalidJobError", "limit"),
        (("get_jobs", {"status": "lost"}), "InvalidJobError", "status"),
        (("cancel_job", 2**60), "UnknownJobError", f"there is no job {2**60}"),
        (("cancel_job", 1, {"reason": ""}), "InvalidJobError", "reason"),
        (("retry_job", 2**60), "UnknownJobError", f"there is no job {2**60}"),
        (("edit_job", 2**60, {"priority": 1}), "UnknownJobError", f"there is no job {2**60}"),
        (("edit_job", 1, {"priority": "x"}), "InvalidJobError", "priority"),
    ],
)
def test_errors_come_back_as_what_they_are(served: Site, call: tuple[Any, ...], error: str, sentence: str) -> None:
    """The same class, sentence and data as a client gets; nothing was changed, and the daemon serves on."""
    verb, *arguments = call
    named = arguments.pop() if isinstance(arguments[-1], dict) and len(arguments) > (verb == "add_job") * 2 else {}
    before = served.client.get_jobs(limit=1)[0].id

    found = answer(served, verb, *arguments, **named)

    assert found["error"] == error
    assert sentence in found["sentence"]
    assert served.client.get_jobs(limit=1)[0].id == before + 1


def test_an_error_carries_its_data(served: Site) -> None:
    """What an except clause may want to look at."""
    assert answer(served, "cancel_job", 2**60)["job_id"] == 2**60
    found = answer(served, "add_job", "echo", {}, priority="high")
    assert (found["field"], found["problem"] in found["sentence"]) == ("priority", True)
    ended = answer(served, "add_job", "echo", {})
    served.await_end(ended)
    state = answer(served, "cancel_job", ended)
    assert (state["error"], state["job_id"], state["status"]) == ("JobStateError", ended, "completed")


def test_an_idempotency_key_makes_a_repeated_add_harmless(served: Site) -> None:
    """A job runs at least once; what it adds with a key is there once."""
    first = answer(served, "add_job", "echo", {}, idempotency_key="asked once")
    assert answer(served, "add_job", "echo", {}, idempotency_key="asked once") == first


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(served: Site) -> None:
    """Answers are told apart by their numbers."""
    job_id = served.add("ask_from_threads", extra={"threads": 8, "each": 10}, max_attempts=1)

    ids = served.await_end(job_id).output

    assert isinstance(ids, list)
    payloads = [served.job(each).payload for each in ids if isinstance(each, int)]
    assert payloads == [{"marker": marker} for marker in range(80)]


def test_large_answers_and_large_questions_pass(served: Site) -> None:
    """A payload of a megabyte goes both ways, in pieces."""
    text = "x" * 1_000_000
    large = served.client.add_job("echo", {"text": text}, run_at=datetime(2090, 1, 1, tzinfo=UTC))
    assert answer(served, "get_job", large)["payload"]["text"] == text
    copied = answer(served, "add_jobs", [{"job_type": "echo", "payload": "y" * 500_000}])
    assert served.job(copied[0]).payload == "y" * 500_000


def test_a_soft_stop_in_the_middle_of_an_ask_leaves_the_stream_in_step(served: Site) -> None:
    """The exception comes between two whole messages: the same job asks on, and its stream is read as before."""
    for _ in range(5):
        gate = served.gate()
        job_id = served.add("ask_for_ever", gate, timeout_ms=100, max_attempts=1)
        gate.await_arrival()

        record = served.await_end(job_id)

        assert record.status is JobStatus.COMPLETED, record.error_history
        assert served.lines(f"{job_id}.stopped") == ["JobTimeout processing True"]
        assert isinstance(record.output, int)


def test_a_process_that_the_handler_forked_cannot_ask(served: Site) -> None:
    """Two readers of one socket would take each other's answers."""
    job_id = served.add("ask_in_child")
    assert served.await_end(job_id).output == (
        "only the job's own process can ask this; a process that it has forked cannot"
    )


def test_a_store_that_is_locked_is_an_error_in_time(site: Site) -> None:
    """The busy timeout bounds the wait; the job gets StoreUnavailableError, as a client would."""
    site.start(workers=1, busy_timeout_seconds=1)
    gate = site.gate()
    job_id = site.add("ask", gate, extra={"verb": "add_job", "args": ["echo", {}]})
    gate.await_arrival()
    with closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        gate.let_go()
        (daemon,) = site.daemons
        daemon.wait_for("store_away")  # the end of the job cannot be written either: it has been answered
        connection.execute("ROLLBACK")

    output = site.await_end(job_id).output

    assert isinstance(output, dict)
    assert output["error"] == "StoreUnavailableError"
    assert len(site.client.get_jobs(limit=10)) == 1
