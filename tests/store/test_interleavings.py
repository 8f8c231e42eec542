"""Two verbs about one job at the same moment: whichever is first, the outcome is one of those that make sense.

Each pair is tried in both orders and at once, from two connections. SQLite lets one transaction write at a time; the
outcomes asserted here hold on every database.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, text

from jobwarden.errors import JobStateError, JobwardenError, StoreUnavailableError
from jobwarden.jobs import ClaimedJob, DependsOn, JobChanges, JobOptions, JobStatus, Outcome, complete
from jobwarden.store import Store, StoreOptions, Work, open_store

from ..support.waiting import LIMIT_SECONDS
from .maintaining import maintain
from .scene import NAME, NODE, START_US, Scene
from .sql import engine_of_a_caller

ROUNDS = 12
"""Tries of each race; which side wins differs."""
ORDERS = ("first", "second", "at once")
PARENTS = 40
ADDERS = 4

ADDER = """
import sys
from jobwarden.jobs import DependsOn, JobOptions
from jobwarden.store import StoreOptions, open_store
store = open_store(sys.argv[1], StoreOptions(synchronous="normal", lock_timeout_seconds=30))
mine = sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    parent, _ = store.add([
        JobOptions(job_type="work", payload=number, tags=[mine], max_attempts=1),
        JobOptions(job_type="work", depends_on=DependsOn(job_ids=[-1])),
    ], now_us=int(sys.argv[4]))
    for rule in ("cancel", "run", "fail"):
        after = DependsOn(job_ids=[{"id": parent, "onParentFailure": rule}])
        store.add([JobOptions(job_type="work", max_attempts=1, depends_on=after)], now_us=int(sys.argv[4]))
    store.add([JobOptions(job_type="work", max_attempts=1, depends_on=DependsOn(tags=[mine]))], now_us=int(sys.argv[4]))
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other(url: str) -> Iterator[Store]:
    """A second way into the same database, as another process has it."""
    opened = open_store(url, StoreOptions(synchronous="normal"))
    yield opened
    opened.close()


def together(order: str, first: Callable[[], object], second: Callable[[], object]) -> list[Any]:
    """What both answered, errors of ours included; `order` says who goes first."""
    calls = [first, second]
    answers: list[Any] = [None, None]
    if order != "at once":
        for place in (0, 1) if order == "first" else (1, 0):
            answers[place] = _answer(calls[place])
        return answers
    gate = threading.Barrier(2)

    def run(place: int) -> None:
        gate.wait(LIMIT_SECONDS)
        answers[place] = _answer(calls[place])

    threads = [threading.Thread(target=run, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    return answers


def _answer(call: Callable[[], object]) -> object:
    try:
        return call()
    except JobwardenError as error:
        return error


def child_of(parent: int, scene: Scene, store: Store) -> Callable[[], int]:
    """Adding a job that depends on this one, from another connection."""
    option = JobOptions(job_type="work", depends_on=DependsOn.model_validate({"job_ids": [parent]}))
    return lambda: store.add([option], now_us=scene.now_us)[0]


def at_end(scene: Scene, job: ClaimedJob, outcome: Outcome) -> Callable[[], object]:
    """The owner ends the attempt for good."""
    if outcome is Outcome.SUCCEEDED:
        return lambda: scene.complete(job)
    return lambda: scene.end(job, outcome, permanent=True)


@pytest.mark.parametrize("order", ORDERS)
def test_a_dependent_that_is_added_while_its_prerequisite_completes_always_runs(
    scene: Scene, other: Store, order: str
) -> None:
    """Whether the add saw the parent running or ended, nobody misses the wake-up."""
    for _ in range(ROUNDS):
        parent = scene.add_and_claim()
        child, _ = together(order, child_of(parent.id, scene, other), at_end(scene, parent, Outcome.SUCCEEDED))
        (claimed,) = scene.claim()
        assert claimed.id == child
        scene.complete(claimed)


@pytest.mark.parametrize("order", ORDERS)
def test_a_dependent_that_is_added_while_its_prerequisite_fails_always_ends(
    scene: Scene, other: Store, order: str
) -> None:
    """It is cancelled, whether its parent failed before or after it came."""
    for _ in range(ROUNDS):
        parent = scene.add_and_claim()
        child, _ = together(order, child_of(parent.id, scene, other), at_end(scene, parent, Outcome.FAILED))
        assert isinstance(child, int)
        assert scene.get(child).status is JobStatus.CANCELLED
        assert scene.claim() == []


@pytest.mark.parametrize("order", ORDERS)
def test_a_dependent_that_is_added_while_its_prerequisite_is_cancelled_always_ends(
    scene: Scene, other: Store, order: str
) -> None:
    """Cancelled by hand is as ended as failed."""
    for _ in range(ROUNDS):
        parent = scene.add(run_at=None)
        cancel = partial(scene.store.cancel, parent, now_us=scene.now_us)
        child, _ = together(order, child_of(parent, scene, other), cancel)
        assert isinstance(child, int)
        assert scene.get(child).status is JobStatus.CANCELLED


@pytest.mark.parametrize("order", ORDERS)
def test_a_job_that_waits_for_tags_and_is_added_while_their_last_job_ends_always_runs(
    scene: Scene, other: Store, order: str
) -> None:
    """Barriers are opened by whoever ends the job, or never closed."""
    for _ in range(ROUNDS):
        tagged = scene.add_and_claim(tags=["import"])
        option = JobOptions(job_type="work", depends_on=DependsOn(tags=["import"]))
        add = lambda option=option: other.add([option], now_us=scene.now_us)[0]  # noqa: E731
        after, _ = together(order, add, at_end(scene, tagged, Outcome.SUCCEEDED))
        (claimed,) = scene.claim()
        assert claimed.id == after
        scene.complete(claimed)


def test_a_dependent_in_an_open_transaction_is_not_lost_to_a_finish_meanwhile(scene: Scene, url: str) -> None:
    """The finish of the parent waits for the add, or the next round of maintenance settles what it could not see."""
    parent = scene.add_and_claim()
    with _connected(url) as connection:
        option = JobOptions(job_type="work", depends_on=DependsOn.model_validate({"job_ids": [parent.id]}))
        (child,) = scene.store.add([option], now_us=scene.now_us, connection=connection)
        finish = threading.Thread(target=at_end(scene, parent, Outcome.SUCCEEDED))
        finish.start()
        if not scene.store.shares_kernel:
            finish.join(LIMIT_SECONDS)
            assert scene.get(parent.id).ended, "a client's open transaction has held a node up"
        connection.commit()
        finish.join(LIMIT_SECONDS)
    maintain(scene)
    assert [job.id for job in scene.claim()] == [child]


@pytest.mark.only("sqlite", reason="elsewhere a transaction that writes sees what others have committed meanwhile")
def test_a_dependent_added_on_an_old_view_is_refused_and_not_lost(scene: Scene, url: str) -> None:
    """The caller's transaction has seen the parent running; it ends meanwhile: add it again, nothing was stored."""
    parent = scene.add_and_claim()
    option = JobOptions(job_type="work", depends_on=DependsOn.model_validate({"job_ids": [parent.id]}))
    with _connected(url) as connection:
        connection.execute(text("BEGIN"))
        assert connection.execute(text("SELECT status FROM job")).scalar() == "processing"
        scene.complete(parent)
        with pytest.raises(StoreUnavailableError):
            scene.store.add([option], now_us=scene.now_us, connection=connection)
        connection.rollback()
    assert scene.store.counts() == {"work": {"completed": 1}}


@pytest.mark.parametrize("order", ORDERS)
def test_a_cancel_and_the_end_of_the_same_attempt_leave_one_end(scene: Scene, other: Store, order: str) -> None:
    """Either the wish came in time to be seen, or the caller is told that the job has completed."""
    for _ in range(ROUNDS):
        job = scene.add_and_claim()
        cancel = partial(other.cancel, job.id, now_us=scene.now_us)
        answer, receipts = together(order, cancel, at_end(scene, job, Outcome.SUCCEEDED))
        assert answer == "asked" or isinstance(answer, JobStateError)
        assert receipts.refused == []
        assert scene.event_types(job.id) == ["added", "processing", "completed"]
        assert scene.transact(read_wishes=True).wishes == []


@pytest.mark.parametrize("order", ORDERS)
def test_an_edit_and_a_claim_never_run_half_of_each(scene: Scene, other: Store, order: str) -> None:
    """The attempt has the new payload, or the edit is refused; never an edited row under an old attempt."""
    for _ in range(ROUNDS):
        job_id = scene.add(payload="old")
        edit = partial(other.bulk.edit, job_id, JobChanges.parse(payload="new"), now_us=scene.now_us)
        answer, claimed = together(order, edit, scene.claim)
        # A claim passes over what somebody is changing.
        (job,) = claimed or scene.claim()
        assert job.id == job_id
        assert job.payload == ('"old"' if isinstance(answer, JobStateError) else '"new"')
        assert f'"{scene.get(job_id).payload}"' == job.payload
        scene.complete(job)


@pytest.mark.parametrize("order", ORDERS)
def test_a_retry_and_a_claim_give_one_attempt(scene: Scene, other: Store, order: str) -> None:
    """A job that waits for its next attempt is retried by hand as it is claimed: it runs once."""
    for _ in range(ROUNDS):
        failed = scene.add_and_claim(retry_delay=0, max_attempts=3)
        scene.end(failed)
        retry = partial(other.retry, failed.id, now_us=scene.now_us)
        answer, claimed = together(order, retry, scene.claim)
        (job,) = claimed or scene.claim()
        assert answer is None or isinstance(answer, JobStateError)
        assert (job.id, job.attempts) == (failed.id, 2)
        assert scene.get(job.id).status is JobStatus.PROCESSING
        assert scene.claim() == []
        assert scene.complete(job).refused == []


@pytest.mark.parametrize("order", ORDERS)
def test_of_two_finishes_of_one_attempt_the_first_counts(scene: Scene, other: Store, order: str) -> None:
    """The other one is refused, and leaves neither an event nor a value."""
    writer = other.writer()
    for _ in range(ROUNDS):
        job = scene.add_and_claim()
        work = Work(
            now_us=scene.now_us,
            node_id=NODE,
            node_name=NAME,
            endings=[complete(job, output='"theirs"', now_us=scene.now_us)],
        )
        theirs, ours = together(order, partial(writer.transact, work), at_end(scene, job, Outcome.FAILED))
        refused = [len(each.refused) for each in (theirs, ours)]
        assert sorted(refused) == [0, 1]
        record = scene.get(job.id)
        assert (record.status, record.output) == (
            (JobStatus.COMPLETED, "theirs") if refused[1] else (JobStatus.FAILED, None)
        )
        assert len(scene.store.attempts(job.id)) == 1
    writer.close()


@pytest.mark.parametrize("order", ORDERS)
def test_a_removal_and_a_claim_leave_no_attempt_without_a_job(scene: Scene, other: Store, order: str) -> None:
    """Either the job is gone before anybody had it, or it runs and the removal is refused."""
    for _ in range(ROUNDS):
        job_id = scene.add()
        answer, claimed = together(order, partial(other.bulk.remove, job_id, now_us=scene.now_us), scene.claim)
        if isinstance(answer, JobStateError):
            (job,) = claimed
            assert scene.complete(job).refused == []
        else:
            assert claimed == []
            assert scene.store.get(job_id) is None


@pytest.mark.slow
def test_processes_that_add_parents_and_children_lose_no_wake_up(scene: Scene, url: str) -> None:
    """Four processes add while a node claims and finishes, one in three for good: every dependent ends by itself."""
    command = [sys.executable, "-c", ADDER, url]
    adders = [
        subprocess.Popen(
            [*command, f"tag {name}", str(PARENTS), str(START_US)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in range(ADDERS)
    ]
    assert [_line(adder) for adder in adders] == ["ready"] * ADDERS
    for adder in adders:
        _go(adder)
    wanted, ended = PARENTS * ADDERS * 6, 0
    while ended < wanted:
        for job in scene.claim(7):
            if job.id % 3:
                scene.complete(job)
            else:
                scene.end(job, permanent=True)
        counts = scene.store.counts().get("work", {})
        ended = sum(counts.get(status, 0) for status in ("completed", "failed", "cancelled"))
        left = [adder.poll() for adder in adders]
        assert not any(left), "an adder died"
    assert [_line(adder) for adder in adders] == ["done"] * ADDERS
    for adder in adders:
        adder.communicate("\n")
    assert [adder.returncode for adder in adders] == [0] * ADDERS
    assert set(scene.store.counts()["work"]) <= {"completed", "failed", "cancelled"}


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = engine_of_a_caller(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
