"""The clerk: what it answers, in which order, and that no question of a handler can end it."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from jobwarden.clock import SECOND_NS, Clock
from jobwarden.errors import JobwardenError
from jobwarden.store import Store, StoreOptions, open_store
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.clerk import Clerk, refusal
from jobwarden.supervisor.mailbox import Mailbox
from jobwarden.wire.messages import Answer


class SetClock(Clock):
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ns = SECOND_NS

    def monotonic_ns(self) -> int:
        return self.ns


class Post(Mailbox):
    """A mailbox that a test waits at."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: queue.SimpleQueue[tuple[int, Answer]] = queue.SimpleQueue()
        self.facts: list[seen.Input] = []

    def answer(self, slot: int, answer: Answer) -> None:
        self.answers.put((slot, answer))

    def post(self, fact: seen.Input) -> None:
        self.facts.append(fact)


class Desk:
    """A clerk at work on a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "jobs.db"
        self.store: Store = open_store(f"sqlite:///{self.database}", StoreOptions(lock_timeout_seconds=0.05))
        self.post = Post()
        self.clock = SetClock()
        self.clerk = Clerk(self.store, self.post, clock=self.clock, patience_seconds=2.0)

    def ask(self, verb: str, arguments: str, *, number: int = 1) -> Answer:
        """What it answers to one question."""
        self.clerk.submit(7, number, verb, arguments, waits=lambda: True)
        slot, answer = self.post.answers.get(timeout=30)
        assert (slot, answer.number) == (7, number)
        return answer


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A clerk that is ended after the test."""
    made = Desk(tmp_path)
    made.clerk.start()
    yield made
    made.clerk.finish(timeout_seconds=30)
    assert not made.clerk.is_alive()
    made.store.close()


def test_an_added_job_is_answered_with_its_id_and_the_pool_is_told(desk: Desk) -> None:
    """So that it starts at once; a question that changes nothing wakes nobody."""
    assert desk.ask("add_jobs", '{"jobs":[{"job_type":"a"},{"job_type":"b","payload":[1]}]}').value == "[1,2]"
    assert desk.post.facts == [seen.Rang()]
    record = msgspec.json.decode(desk.ask("get_job", '{"job_id":2}').value or "")
    assert (record["jobType"], record["payload"], record["status"]) == ("b", [1], "pending")
    assert len(desk.post.facts) == 1


@pytest.mark.parametrize(
    ("verb", "arguments", "kind", "sentence"),
    [
        ("fly", "{}", "JobwardenError", "does not know 'fly'"),
        ("get_job", "{", "InvalidJobError", "arguments"),
        ("get_job", "[]", "InvalidJobError", "arguments"),
        ("get_job", "{}", "InvalidJobError", "job_id"),
        ("get_job", '{"job_id":1,"more":2}', "InvalidJobError", "more"),
        ("add_jobs", '{"jobs":[{"job_type":"a","payload":1e400}]}', "InvalidJobError", ""),
        ("add_jobs", '{"jobs":[{"cls":1}]}', "JobwardenError", "TypeError"),
        ("get_jobs", '{"limit":1,"offset":0,"order":"id; DROP TABLE job","filters":{}}', "InvalidJobError", "order"),
        ("edit_job", '{"job_id":1,"changes":{}}', "InvalidJobError", ""),
    ],
)
def test_no_question_ends_the_clerk(desk: Desk, verb: str, arguments: str, kind: str, sentence: str) -> None:
    """P5: a handler may write whatever it likes; it gets one sentence."""
    found = desk.ask(verb, arguments)
    assert (found.error_kind, sentence in (found.error or "")) == (kind, True), found
    assert desk.ask("get_job", '{"job_id":1}', number=2).value == "null"


def test_what_a_dead_worker_had_asked_is_not_begun(desk: Desk) -> None:
    """Its attempt may be recorded as ended, and the next one run, before the question's turn comes."""
    desk.clerk.submit(7, 1, "add_jobs", '{"jobs":[{"job_type":"a"}]}', waits=lambda: False)
    assert desk.ask("get_job", '{"job_id":1}', number=2).value == "null"


def test_a_locked_store_costs_a_question_the_busy_timeout(desk: Desk) -> None:
    """Then the handler gets what a client would get; the next question is asked anew."""
    with closing(sqlite3.connect(desk.database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert desk.ask("add_jobs", '{"jobs":[{"job_type":"a"}]}').error_kind == "StoreUnavailableError"
        connection.execute("ROLLBACK")
    assert desk.post.facts == []
    assert desk.ask("add_jobs", '{"jobs":[{"job_type":"a"}]}').value == "[1]"


def test_a_question_that_has_waited_too_long_is_answered_without_a_try(tmp_path: Path) -> None:
    """Many handlers that ask while the store is away must not wait for each other's timeouts, one after the other."""
    desk = Desk(tmp_path)
    desk.clerk.submit(7, 1, "add_jobs", '{"jobs":[{"job_type":"a"}]}', waits=lambda: True)
    desk.clock.ns += 3 * SECOND_NS
    desk.clerk.submit(7, 2, "add_jobs", '{"jobs":[{"job_type":"a"}]}', waits=lambda: True)
    desk.clerk.start()
    first, second = (desk.post.answers.get(timeout=30)[1] for _ in range(2))
    assert (first.number, first.error_kind, second.value) == (1, "StoreUnavailableError", "[1]")
    desk.clerk.finish(timeout_seconds=30)
    desk.store.close()


def test_an_answer_that_is_too_large_to_send_says_so(desk: Desk) -> None:
    """Sixteen megabytes: fewer jobs at once."""
    jobs = [{"job_type": "a", "payload": "x" * 1_000_000} for _ in range(17)]
    for job in jobs:
        desk.ask("add_jobs", msgspec.json.encode({"jobs": [job]}).decode())
    found = desk.ask("get_jobs", '{"limit":17,"offset":0,"order":"-id","filters":{}}')
    assert (found.error_kind, "ask for fewer jobs" in (found.error or "")) == ("InvalidJobError", True)


def test_what_an_error_carries_travels_if_json_can_carry_it() -> None:
    """The rest stays here."""
    error = JobwardenError("it broke")
    error.__dict__.update(job_id=5, problem="odd", seconds=1.5, missing=None, folder=Path("a"))
    assert msgspec.json.decode(refusal(3, error).value or "") == {
        "job_id": 5,
        "problem": "odd",
        "seconds": 1.5,
        "missing": None,
    }
