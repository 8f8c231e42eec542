"""Removing and clearing: what goes with a job, what stays, and what becomes of those that waited for it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.errors import JobStateError, UnknownJobError
from jobwarden.jobs import JobFilter, JobOptions, JobStatus
from jobwarden.store import Changed, Store, schema
from jobwarden.store.access import Access
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.people.removing import delete_jobs

from .scene import Scene


def remove(scene: Scene, job_id: int) -> None:
    scene.store.bulk.remove(job_id, now_us=scene.now_us)


def rows(url: str) -> dict[str, int]:
    """How many rows there are in each table that is about jobs."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    tables = (schema.job, schema.event, schema.tag, schema.edge, schema.barrier, schema.key)
    with dialect.engine.connect() as connection:
        found = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
        }
    dialect.close()
    return found


def test_everything_that_is_only_the_jobs_goes_with_it(scene: Scene, url: str) -> None:
    """Events, tags, edges, barriers, its key: nothing is left, and nobody else's goes."""
    stays = scene.add("other", tags=["t"], idempotency_key="stays")
    before = rows(url)
    job_id = scene.add(
        tags=["a", "b"], idempotency_key="goes", depends_on={"jobIds": [stays], "tags": ["t"]}, group_id="g"
    )
    remove(scene, job_id)
    assert rows(url) == before
    assert (scene.store.get(job_id), scene.store.events(job_id), scene.store.has_ended(job_id)) == (None, [], None)
    assert scene.get(stays).tags == ["t"]


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled", "retrying", "ready", "later"])
def test_a_job_in_any_state_but_running_can_be_removed(scene: Scene, state: str) -> None:
    """It is neither counted nor claimed any more, and its number is not used again."""
    job_id = scene.add(max_attempts=1 if state == "failed" else 3)
    if state in {"completed", "failed", "retrying"}:
        (job,) = scene.claim()
        scene.complete(job) if state == "completed" else scene.end(job)
    elif state == "cancelled":
        scene.store.cancel(job_id, now_us=scene.now_us)
    elif state == "later":
        scene.store.bulk.remove(job_id, now_us=scene.now_us)
        job_id = scene.add(run_at=to_datetime(scene.now_us + SECOND_US))
    remove(scene, job_id)
    assert scene.store.get(job_id) is None
    assert scene.store.counts() == {}
    scene.pass_seconds(100_000)
    assert scene.claim() == []
    assert scene.add() == job_id + 1


def test_a_running_job_is_refused(scene: Scene) -> None:
    """Its owner would write about a job that is not there; the sentence says why not."""
    job = scene.add_and_claim()
    with pytest.raises(JobStateError, match="is processing, so it cannot be removed"):
        remove(scene, job.id)
    assert scene.complete(job).refused == []


def test_an_unknown_job_is_named(scene: Scene) -> None:
    """Also one that was removed a moment ago."""
    job_id = scene.add()
    remove(scene, job_id)
    with pytest.raises(UnknownJobError, match=str(job_id)):
        remove(scene, job_id)


def test_a_freed_key_can_be_used_again(scene: Scene) -> None:
    """The job that held it is gone."""
    first = scene.add(idempotency_key="k")
    remove(scene, first)
    assert scene.add(idempotency_key="k") == first + 1


def test_a_key_with_a_time_of_its_own_holds_until_then(scene: Scene) -> None:
    """That is what was asked for, with or without the job."""
    first = scene.add(idempotency_key="k", idempotency_ttl=100)
    remove(scene, first)
    assert scene.add(idempotency_key="k", idempotency_ttl=100) == first
    scene.pass_seconds(101)
    assert scene.add(idempotency_key="k") > first


@pytest.mark.parametrize(("policy", "expected"), [("cancel", "cancelled"), ("run", "pending"), ("fail", "failed")])
def test_dependents_of_a_job_that_had_not_ended_see_it_cancelled(scene: Scene, policy: str, expected: str) -> None:
    """Each edge does what it says for a prerequisite that is not completed."""
    parent = scene.add("other")
    child = scene.add(max_attempts=1, depends_on={"jobIds": [{"id": parent, "onParentFailure": policy}]})
    remove(scene, parent)
    assert scene.get(child).status == expected
    assert [job.id for job in scene.claim()] == ([child] if policy == "run" else [])


def test_dependents_of_a_completed_job_have_nothing_to_fear(scene: Scene) -> None:
    """They were settled when it ended."""
    parent = scene.add("other")
    child = scene.add(depends_on={"jobIds": [parent]})
    scene.complete(scene.claim(types=["other"])[0])
    remove(scene, parent)
    assert [job.id for job in scene.claim()] == [child]
    assert scene.get(child).depends_on_job_ids == [parent]


def test_those_that_waited_for_the_tags_of_a_removed_job_go_on(scene: Scene) -> None:
    """It is not there any more to be waited for."""
    tagged = scene.add("other", tags=["t"])
    waiting = scene.add(depends_on={"tags": ["t"]})
    remove(scene, tagged)
    assert [job.id for job in scene.claim()] == [waiting]


def test_the_place_of_a_removed_job_goes_to_the_next(scene: Scene) -> None:
    """Of its group."""
    scene.store.controls.set_limit("group", "g", max_running=1, now_us=scene.now_us)
    first, second = scene.add(group_id="g"), scene.add(group_id="g")
    remove(scene, first)
    assert [job.id for job in scene.claim()] == [second]


def test_clear_removes_what_matches_and_counts_the_running(scene: Scene) -> None:
    """Ended or not; a job of another type stays."""
    done = scene.add_and_claim()
    scene.complete(done)
    running = scene.add_and_claim()
    ready = scene.add()
    other = scene.add("other")
    changed = scene.store.bulk.clear(JobFilter.parse(job_type="work"), now_us=scene.now_us)
    assert changed == Changed([done.id, ready], 1)
    assert {job.id for job in scene.store.find()} == {running.id, other}
    assert scene.store.counts() == {"other": {"pending": 1}, "work": {"processing": 1}}
    assert scene.complete(running).refused == []


def test_clear_of_a_whole_chain_is_quiet(scene: Scene) -> None:
    """Parents and children match: all go, whatever they would have become."""
    parent = scene.add()
    child = scene.add(depends_on={"jobIds": [parent]})
    scene.add(depends_on={"jobIds": [child]})
    assert len(scene.store.bulk.clear(JobFilter(), now_us=scene.now_us).ids) == 3
    assert scene.store.find() == []
    assert scene.store.counts() == {}


def test_deleting_settles_dependents_that_were_left_for_the_repair_pass(scene: Scene, url: str) -> None:
    """More of them than one end settles: the prerequisite can still say that it was completed."""
    parent = scene.add("other")
    batch: list[Any] = [{"depends_on": {"jobIds": [parent]}} for _ in range(2_300)]
    children = [scene.add(**fields) for fields in batch[:3]] + many(scene, batch[3:])
    scene.complete(scene.claim(types=["other"])[0])
    delete(scene.store, url, [parent], now_us=scene.now_us)
    claimed = scene.claim(limit=5_000)
    assert {job.id for job in claimed} == set(children)


def many(scene: Scene, batch: list[Any]) -> list[int]:
    return scene.store.add([JobOptions(job_type="work", **fields) for fields in batch], now_us=scene.now_us)


def delete(store: Store, url: str, ids: list[int], *, now_us: int) -> int:
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    access = Access(dialect)
    with access.writing() as connection:
        number = delete_jobs(connection, access.sql, ids, touched=set(), now_us=now_us)
    dialect.close()
    assert store.url_shown == url
    return number


def test_deleting_says_how_many_there_were(scene: Scene, url: str) -> None:
    """Ids that are gone already do not count, and tallies stay right."""
    jobs = [scene.add_and_claim() for _ in range(2)]
    for job in jobs:
        scene.complete(job)
    ids = [job.id for job in jobs]
    assert delete(scene.store, url, [*ids, 99], now_us=scene.now_us) == 2
    assert delete(scene.store, url, ids, now_us=scene.now_us) == 0
    assert scene.store.counts() == {}
    assert scene.get(scene.add()).status is JobStatus.PENDING
