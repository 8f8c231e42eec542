"""Adding jobs, keys that make adding safe to repeat, and the caller's own transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobOptions, JobStatus, Outcome
from jobwarden.jobs.options import DEEPEST_JSON, LARGEST_PAYLOAD_BYTES
from jobwarden.store import Store
from jobwarden.store.adding import IDEMPOTENCY_TTL_SECONDS

from .scene import START_US, Scene
from .sql import engine_of_a_caller

TTL = IDEMPOTENCY_TTL_SECONDS


def test_a_new_job_is_pending_and_says_what_it_was_given(scene: Scene) -> None:
    """Every option is in the record."""
    at = to_datetime(START_US) + timedelta(hours=1)
    job_id = scene.add(
        payload={"to": "a@example.org"},
        priority=-7,
        run_at=at,
        timeout_ms=5_000,
        force_kill_on_timeout=True,
        max_attempts=9,
        retry_delay=1.5,
        retry_backoff=False,
        retry_delay_max=99,
        tags=["b", "a", "b"],
        idempotency_key="k",
        metadata={"by": "test"},
        expires_in=7_200,
        heartbeat_timeout_ms=750,
        dead_letter_job_type="dead",
        group_id="g",
        depends_on={"tags": ["y", "x"]},
    )
    record = scene.get(job_id)
    assert record.status is JobStatus.PENDING
    assert (record.payload, record.priority, record.run_at) == ({"to": "a@example.org"}, -7, at)
    assert (record.timeout_ms, record.force_kill_on_timeout, record.max_attempts) == (5_000, True, 9)
    assert (record.retry_delay, record.retry_backoff, record.retry_delay_max) == (1.5, False, 99)
    assert (record.tags, record.idempotency_key, record.metadata) == (["b", "a"], "k", {"by": "test"})
    assert (record.heartbeat_timeout_ms, record.dead_letter_job_type, record.group_id) == (750, "dead", "g")
    assert (record.expires_at, record.depends_on_tags) == (to_datetime(START_US) + timedelta(hours=2), ["y", "x"])
    assert record.created_at == record.updated_at == to_datetime(START_US)
    assert scene.event_types(job_id) == ["added"]
    assert scene.store.has_ended(job_id) is False


def test_ids_come_in_the_order_of_the_jobs_and_only_grow(store: Store) -> None:
    """One transaction, one id each."""
    first = store.add([JobOptions(job_type="a", payload=n) for n in range(50)], now_us=START_US)
    second = store.add([JobOptions(job_type="a")], now_us=START_US)
    assert first == sorted(set(first))
    assert second[0] > first[-1]
    assert [record.payload for record in store.find(newest_first=False, limit=50)] == list(range(50))


def test_adding_nothing_adds_nothing(store: Store) -> None:
    """An empty list is no error."""
    assert store.add([], now_us=START_US) == []


def test_a_payload_that_cannot_be_stored_adds_none_of_the_batch(store: Store) -> None:
    """The error names the field; the store is as it was."""
    good, bad = JobOptions(job_type="a"), JobOptions(job_type="a", payload={"x": "nul \0"})
    with pytest.raises(InvalidJobError, match="payload"):
        store.add([good, bad], now_us=START_US)
    assert store.find() == []


def test_an_error_names_the_job_of_the_batch(store: Store) -> None:
    """Counted from 0, as its caller counts; alone, a job needs no number."""
    good, bad = JobOptions(job_type="a"), JobOptions(job_type="a", payload=["nul \0"])
    for options, field in (([good, good, bad], "jobs[2].payload"), ([bad], "payload")):
        with pytest.raises(InvalidJobError) as raised:
            store.add(options, now_us=START_US)
        assert raised.value.field == field


DEEP: Any = []
for _ in range(DEEPEST_JSON):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("x" * LARGEST_PAYLOAD_BYTES, "the limit is 1048576"),
        (DEEP, "deeper than 200"),
        (float("nan"), "NaN"),
        ("a \0 b", "NUL"),
        ("\ud800", "cannot be written as JSON"),
    ],
    ids=["large", "deep", "nan", "nul", "surrogate"],
)
@pytest.mark.parametrize("name", ["payload", "metadata"])
def test_what_cannot_be_stored_is_refused_wherever_it_stands(store: Store, name: str, value: Any, problem: str) -> None:
    """The same limits hold for payload and metadata; the sentence names the option and the limit, not the value."""
    fields = {name: {"key": value}}
    with pytest.raises(InvalidJobError, match=problem) as raised:
        store.add([JobOptions.parse(job_type="a", **fields)], now_us=START_US)
    assert raised.value.field == name
    assert len(str(raised.value)) < 200
    assert store.find() == []


def test_plain_and_other_jobs_of_one_batch_are_all_there(store: Store) -> None:
    """Two statements insert them; ids and events follow the batch."""
    options = [JobOptions(job_type="a", payload=n, group_id="g" if n % 3 else None) for n in range(10)]
    ids = store.add(options, now_us=START_US)
    found = store.find(newest_first=False)
    assert [(each.id, each.payload, each.group_id) for each in found] == [
        (ids[n], n, "g" if n % 3 else None) for n in range(10)
    ]
    assert all([event.type for event in store.events(each)] == ["added"] for each in ids)


def test_a_second_add_with_the_same_key_returns_the_first_job(scene: Scene) -> None:
    """No second job, no second event, whatever else is asked for."""
    first = scene.add(idempotency_key="k", payload=1)
    assert scene.add(idempotency_key="k", payload=2) == first
    assert scene.get(first).payload == 1
    assert scene.event_types(first) == ["added"]
    assert len(scene.store.find()) == 1


def test_keys_compare_bytewise(scene: Scene) -> None:
    """Case and trailing blanks make different keys."""
    assert len({scene.add(idempotency_key=key) for key in ("k", "K", "k ", "\N{FULLWIDTH LATIN SMALL LETTER K}")}) == 4


def test_equal_keys_in_one_batch_are_one_job(store: Store) -> None:
    """The first wins; jobs without a key around them are their own."""
    keys = [None, "k", "k", None, "other", "k"]
    options = [JobOptions(job_type="a", payload=n, idempotency_key=key) for n, key in enumerate(keys)]
    ids = store.add(options, now_us=START_US)
    assert ids[1] == ids[2] == ids[5]
    assert len(set(ids)) == 4
    assert [record.payload for record in store.find(newest_first=False)] == [0, 1, 3, 4]


def test_a_batch_mixes_new_and_held_keys(store: Store) -> None:
    """Repeating a batch after a lost answer adds exactly what was missing."""
    jobs = [JobOptions(job_type="a", idempotency_key=f"k{n}", tags=["t"]) for n in range(4)]
    ids = store.add(jobs[1:3], now_us=START_US)
    again = store.add(jobs, now_us=START_US)
    assert again[1:3] == ids
    assert len(set(again)) == 4
    assert len(store.find(tags=["t"])) == 4


def test_a_key_holds_while_its_job_has_not_ended(scene: Scene) -> None:
    """However long that takes."""
    first = scene.add(idempotency_key="k")
    scene.pass_seconds(100 * TTL)
    assert scene.add(idempotency_key="k") == first


def test_a_key_is_free_some_time_after_its_job_has_ended(scene: Scene) -> None:
    """It is not held for ever: until the end of the job plus its time to live."""
    job = scene.add_and_claim(idempotency_key="k")
    scene.complete(job)
    scene.pass_seconds(TTL - 2)
    assert scene.add(idempotency_key="k") == job.id
    scene.pass_seconds(4)
    second = scene.add(idempotency_key="k")
    assert second != job.id
    assert scene.add(idempotency_key="k") == second
    assert scene.get(second).idempotency_key == scene.get(job.id).idempotency_key == "k"


def test_a_retrying_job_holds_its_key(scene: Scene) -> None:
    """`failed` with a next attempt has not ended."""
    job = scene.add_and_claim(idempotency_key="k", retry_delay=40 * TTL, retry_backoff=False)
    scene.end(job, Outcome.FAILED)
    scene.pass_seconds(20 * TTL)
    assert scene.add(idempotency_key="k") == job.id


@pytest.mark.parametrize("commits", [True, False])
def test_an_add_in_the_callers_transaction_shares_its_fate(store: Store, url: str, *, commits: bool) -> None:
    """Committed or rolled back with it; visible to nobody before."""
    engine = engine_of_a_caller(url)
    with engine.connect() as connection:
        (job_id,) = store.add([JobOptions(job_type="a", tags=["t"])], now_us=START_US, connection=connection)
        assert store.get(job_id) is None
        connection.commit() if commits else connection.rollback()
    engine.dispose()
    assert (store.get(job_id) is not None) is commits
    assert len(store.events(job_id)) == int(commits)


def test_a_bulk_add_writes_one_event_for_each_job(store: Store) -> None:
    """Large batches are one transaction and complete."""
    ids = store.add([JobOptions(job_type="a", payload={"n": n}) for n in range(3_000)], now_us=START_US)
    assert len(set(ids)) == 3_000
    assert store.counts() == {"a": {"pending": 3_000}}
    assert [each.type for each in store.events(ids[-1])] == ["added"]


def test_a_time_in_the_past_is_due_at_once(scene: Scene) -> None:
    """And goes before younger due times of the same priority."""
    now = scene.add()
    past = scene.add(run_at=to_datetime(START_US - 60 * SECOND_US))
    assert [job.id for job in scene.claim()] == [past, now]
