"""Retention: what is old goes, in its own time by how it ended; what lives, or is waited for, stays."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from jobwarden.clock import SECOND_US
from jobwarden.errors import JobStateError, UnknownJobError
from jobwarden.jobs import ClaimedJob, JobOptions, JobStatus, Outcome
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.keeping import retention
from jobwarden.store.keeping.retention import DAY_US, Retention
from jobwarden.store.keeping.rounds import BATCH, Rounds
from jobwarden.store.moments import later
from jobwarden.store.schema import job

from .maintaining import USUAL, access_of, maintain, rows, tamper
from .scene import Scene

DAY_SECONDS = 86_400
AT_ONCE = Retention(completed_days=0, ended_days=0)


def _completed(scene: Scene, **fields: Any) -> int:
    job = scene.add_and_claim(**fields)
    scene.complete(job)
    return job.id


def _failed(scene: Scene) -> int:
    job = scene.add_and_claim(max_attempts=1)
    scene.end(job)
    return job.id


def _cancelled(scene: Scene) -> int:
    job_id = scene.add()
    scene.store.cancel(job_id, now_us=scene.now_us)
    return job_id


def _remove_batch(scene: Scene) -> int:
    """The duty alone, without the repair pass before it."""
    access = access_of(scene)
    with access.writing() as connection:
        return retention.remove_old_jobs(
            connection, access.sql, JobStatus.COMPLETED, before_us=scene.now_us, limit=BATCH, now_us=scene.now_us
        )


def _alive(scene: Scene) -> dict[str, int]:
    """One job in each state that is not an end."""
    retrying = scene.add_and_claim(max_attempts=2, retry_delay=10_000_000)
    scene.end(retrying)
    running = scene.add_and_claim()
    pending = scene.add("unserved")
    return {"retrying": retrying.id, "running": running.id, "pending": pending}


def test_each_end_has_its_own_time(scene: Scene) -> None:
    """Completed jobs stay for 7 days, those that ended otherwise for 30, counted from their end."""
    completed, failed, cancelled = _completed(scene), _failed(scene), _cancelled(scene)
    scene.pass_seconds(7 * DAY_SECONDS - 60)
    assert maintain(scene, USUAL.retention) == {}
    scene.pass_seconds(120)
    assert maintain(scene, USUAL.retention) == {"removed": 1}
    assert scene.store.get(completed) is None
    scene.pass_seconds(23 * DAY_SECONDS)
    assert maintain(scene, USUAL.retention) == {"removed": 2}
    assert [scene.store.get(each) for each in (failed, cancelled)] == [None, None]


def test_none_keeps_for_ever(scene: Scene) -> None:
    """Each kind by itself."""
    completed, failed = _completed(scene), _failed(scene)
    scene.pass_seconds(10_000 * DAY_SECONDS)
    assert maintain(scene, Retention(completed_days=None, ended_days=None)) == {}
    assert maintain(scene, Retention(completed_days=None, ended_days=1)) == {"removed": 1}
    assert (scene.store.get(completed) is None, scene.store.get(failed) is None) == (False, True)


def test_a_job_goes_with_its_events_tags_and_count(scene: Scene) -> None:
    """Nothing that was only its own is left."""
    job_id = _completed(scene, tags=["a", "b"])
    maintain(scene, AT_ONCE)
    assert scene.store.get(job_id) is None
    assert rows(scene, "SELECT count(*) FROM event") == [(0,)]
    assert rows(scene, "SELECT count(*) FROM tag") == [(0,)]
    assert scene.store.counts() == {}


def test_a_live_job_is_never_old(scene: Scene) -> None:
    """Retrying, running, pending: however long ago anything happened to them; `failed` alone says nothing."""
    alive = _alive(scene)
    scene.pass_seconds(10_000 * DAY_SECONDS)
    assert "removed" not in maintain(scene, AT_ONCE)
    assert {name: scene.get(each).status for name, each in alive.items()} == {
        "retrying": JobStatus.FAILED,
        "running": JobStatus.PROCESSING,
        "pending": JobStatus.PENDING,
    }


def test_a_job_that_was_retried_is_not_old(scene: Scene) -> None:
    """Its end was undone."""
    job_id = _failed(scene)
    scene.store.retry(job_id, now_us=scene.now_us)
    scene.pass_seconds(DAY_SECONDS)
    maintain(scene, AT_ONCE)
    assert scene.get(job_id).status is JobStatus.PENDING


@pytest.mark.parametrize("gate", ["edge", "barrier"])
def test_a_job_that_others_still_wait_for_stays(scene: Scene, gate: str) -> None:
    """Until they were told how it ended; who waits for a job that is gone would not know what to do."""
    parent = _completed(scene)
    child = scene.add("unserved")
    waits = {
        "edge": "INSERT INTO edge (job_id, depends_on) VALUES (:child, :parent)",
        "barrier": "INSERT INTO barrier (job_id, waits_for) VALUES (:child, :parent)",
    }
    tamper(scene, waits[gate], child=child, parent=parent)
    assert _remove_batch(scene) == 0
    assert scene.store.upkeep.cleanup_old_jobs(0, scene.now_us) == 0
    tamper(scene, "UPDATE edge SET settled = 1", "DELETE FROM barrier")
    assert scene.store.upkeep.cleanup_old_jobs(0, scene.now_us) == 1
    assert scene.store.get(parent) is None
    assert scene.get(child).status is JobStatus.PENDING


def test_the_oldest_go_first_and_the_rest_in_further_batches(scene: Scene) -> None:
    """However many there are, a transaction takes a bounded number, by the time of their end."""
    number = BATCH + 10
    ids = scene.store.add([JobOptions(job_type="work")] * number, now_us=scene.now_us)
    ended_at = later(job.c.created_at, job.c.id * -SECOND_US)
    ended = {"status": "completed", "ready": None, "due_at": None, "completed_at": job.c.created_at}
    tamper(scene, update(job).values(**ended, ended_at=ended_at))
    assert _remove_batch(scene) == BATCH
    assert rows(scene, "SELECT id FROM job ORDER BY id") == [(each,) for each in ids[:10]]
    assert maintain(scene, AT_ONCE) == {"removed": 10}


def test_a_key_goes_when_its_time_is_over(scene: Scene) -> None:
    """One with a time of its own when that is over; another when its job is gone."""
    own, ended, alive, gone = (scene.add(idempotency_key=name) for name in ("own", "ended", "alive", "gone"))
    tamper(
        scene,
        'UPDATE "key" SET expires_at = :later WHERE job_id = :own',
        "DELETE FROM job WHERE id = :gone",
        later=scene.now_us + DAY_US,
        own=own,
        gone=gone,
    )
    scene.store.cancel(ended, now_us=scene.now_us)
    assert maintain(scene) == {"keys": 1}
    scene.pass_seconds(2 * DAY_SECONDS)
    assert maintain(scene) == {"keys": 1}
    assert rows(scene, 'SELECT name FROM "key" ORDER BY name') == [("alive",), ("ended",)]
    assert scene.add(idempotency_key="alive") == alive


def test_a_job_that_is_retried_holds_its_key_again(scene: Scene) -> None:
    """Also after its time was over, unless another job has taken it meanwhile; maintenance does not free it."""
    job_id, other = scene.add(idempotency_key="k"), scene.add(idempotency_key="other")
    for each in (job_id, other):
        scene.store.cancel(each, now_us=scene.now_us)
    scene.pass_seconds(8 * DAY_SECONDS)
    assert maintain(scene) == {}
    scene.store.retry(job_id, now_us=scene.now_us)
    assert scene.add(idempotency_key="k") == job_id
    assert scene.add(idempotency_key="other") != other


def test_the_walk_through_the_keys_goes_on_where_it_was(scene: Scene) -> None:
    """A round looks at a bounded number; the next one at the next, and from the beginning after the last."""
    count = BATCH + 5
    ids = scene.store.add(
        [JobOptions(job_type="work", idempotency_key=f"{each:05}") for each in range(count)], now_us=scene.now_us
    )
    tamper(scene, "DELETE FROM job WHERE id IN (:first, :last)", first=ids[0], last=ids[-1])
    rounds = Rounds(USUAL)
    assert maintain(scene, rounds=rounds) == {"keys": 1}
    assert maintain(scene, rounds=rounds) == {"keys": 1}
    tamper(scene, "DELETE FROM job WHERE id = :id", id=ids[1])
    assert maintain(scene, rounds=rounds) == {"keys": 1}
    assert rows(scene, 'SELECT count(*) FROM "key"') == [(count - 3,)]


def test_counts_of_starts_go_when_no_rate_looks_at_them(scene: Scene) -> None:
    """As long as the longest window of their scope may reach them, they stay."""
    tamper(
        scene,
        "INSERT INTO control (scope, name, rate, rate_seconds, updated_at) VALUES ('group', '*', 5, 3600, :now)",
        now=scene.now_us,
    )
    for scope, name, ago_us in (("group", "g", 3500 * SECOND_US), ("group", "h", 3700 * SECOND_US), ("type", "t", 1)):
        start = "INSERT INTO start VALUES (:scope, :name, :slice, 1)"
        tamper(scene, start, scope=scope, name=name, slice=scene.now_us - ago_us)
    maintain(scene)
    assert rows(scene, "SELECT name FROM start") == [("g",)]


@pytest.mark.only("sqlite", reason="EXPLAIN QUERY PLAN is SQLite's")
def test_looking_for_old_jobs_does_not_search(scene: Scene, url: str) -> None:
    """By the index of history, and one look each for who waits."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    query = retention._old_jobs(JobStatus.COMPLETED, scene.now_us).limit(5)  # noqa: SLF001 - its plan
    text = str(query.compile(dialect.engine, compile_kwargs={"literal_binds": True}))
    plan: list[str] = [row[3] for row in rows(scene, f"EXPLAIN QUERY PLAN {text}")]
    dialect.close()
    assert [line for line in plan if "SUBQUERY" not in line] == [
        "SEARCH job USING COVERING INDEX job_history (status=? AND ended_at>? AND ended_at<?)",
        "SEARCH edge USING INDEX edge_open (depends_on=?)",
        "SEARCH barrier USING COVERING INDEX barrier_waits_for (waits_for=?)",
    ]


def test_retention_never_counts_below_zero(scene: Scene) -> None:
    """What was removed is taken off the tallies, which maintenance folds."""
    for _ in range(3):
        _completed(scene)
    last = scene.add_and_claim()
    maintain(scene, AT_ONCE)
    scene.complete(last)
    scene.end(scene.add_and_claim(max_attempts=1), Outcome.CRASHED)
    maintain(scene)
    assert scene.store.counts() == {"work": {"completed": 1, "failed": 1}}


class _Throng:
    """Jobs that depend on each other, and random things that happen to them."""

    def __init__(self, scene: Scene, dice: random.Random) -> None:
        self.scene = scene
        self.dice = dice
        self.claimed: list[ClaimedJob] = []

    def happen(self) -> None:
        deeds: list[Callable[[], object]] = [self.add, self.claim, self.end, self.change, self.clean_up, self.repair]
        self.dice.choices(deeds, [2, 1, 2, 1, 1, 1])[0]()
        self.scene.pass_seconds(1)

    def add(self) -> None:
        known = sorted(_ids(self.scene, "SELECT id FROM job"))
        chosen = self.dice.sample(known, min(len(known), self.dice.choice([0, 0, 1, 2])))
        how = ["cancel", "run", "fail"]
        depends_on = {"jobIds": [{"id": each, "onParentFailure": self.dice.choice(how)} for each in chosen]}
        self.scene.add(max_attempts=self.dice.choice([1, 3]), retry_delay=3, depends_on=depends_on if chosen else {})

    def claim(self) -> None:
        self.claimed += self.scene.claim(self.dice.choice([1, 5]))

    def end(self) -> None:
        if self.claimed:
            job = self.claimed.pop(self.dice.randrange(len(self.claimed)))
            ways: list[Callable[[ClaimedJob], object]] = [self.scene.complete, self.scene.end, self.scene.give_back]
            self.dice.choice(ways)(job)

    def change(self) -> None:
        job_id = self.dice.choice(sorted(_ids(self.scene, "SELECT id FROM job")) or [0])
        with contextlib.suppress(JobStateError, UnknownJobError):
            if self.dice.random() < 0.5:
                self.scene.store.cancel(job_id, now_us=self.scene.now_us)
            else:
                self.scene.store.retry(job_id, now_us=self.scene.now_us)

    def repair(self) -> None:
        maintain(self.scene)

    def clean_up(self) -> None:
        must_stay = _ids(self.scene, "SELECT id FROM job WHERE ended_at IS NULL")
        must_stay |= _ids(self.scene, "SELECT depends_on FROM edge WHERE settled IS NULL")
        may_go = _ids(self.scene, "SELECT id FROM job") - must_stay
        assert self.scene.store.upkeep.cleanup_old_jobs(0, self.scene.now_us) == len(may_go)
        assert _ids(self.scene, "SELECT id FROM job") == must_stay


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_lives_or_is_waited_for_is_ever_removed(scene: Scene, seed: int) -> None:
    """Whatever comes in whatever order: adding, claiming, ending, undoing, rounds and cleaning up by hand."""
    throng = _Throng(scene, random.Random(seed))
    for _ in range(150):
        throng.happen()


def _ids(scene: Scene, query: str) -> set[int]:
    return {row[0] for row in rows(scene, query)}
