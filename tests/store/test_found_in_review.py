"""Sequences of verbs that a hostile review found to go wrong, each now as it must be; and walks that were too long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from jobwarden.jobs import JobOptions, JobStatus
from jobwarden.jobs.filter import JobChanges
from jobwarden.jobs.options import Dependency, DependsOn
from jobwarden.store.gates.barriers import MOST_AT_ONCE
from jobwarden.store.gates.lanes import FURTHEST
from jobwarden.store.keeping.retention import Retention

from .maintaining import KEEP_ALL, access_of, maintain, rows
from .scene import Scene


@contextmanager
def statements(scene: Scene) -> Iterator[list[str]]:
    """The text of every statement that is run inside."""
    seen: list[str] = []
    engine = access_of(scene).dialect.engine

    def note(_connection: object, _cursor: object, text: str, *_rest: object) -> None:
        seen.append(text)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_a_job_that_was_tried_does_not_expire_because_a_clock_was_set_back(scene: Scene) -> None:
    """Expiry is for jobs that were never started; giving back a later attempt does not undo the first one's start."""
    job_id = scene.add(expires_in=60, retry_delay=0, retry_backoff=False)
    scene.pass_seconds(20)
    (first,) = scene.claim()
    scene.end(first)
    scene.pass_seconds(-15)
    (second,) = scene.claim()
    scene.give_back(second)
    scene.pass_seconds(1_000)
    assert [job.id for job in scene.claim()] == [job_id]


def test_a_job_that_was_given_back_unstarted_at_first_can_still_expire(scene: Scene) -> None:
    """A first attempt that never began is no start."""
    job_id = scene.add(expires_in=60)
    (job,) = scene.claim()
    scene.give_back(job)
    scene.pass_seconds(100)
    assert scene.claim() == []
    assert scene.get(job_id).failure_reason == "expired"


def test_a_prerequisite_that_was_met_stays_met_when_it_is_removed(scene: Scene) -> None:
    """Retrying a failed prerequisite with its dependents asks nothing of others that had completed and are gone."""
    met = scene.add()
    (job,) = scene.claim()
    failing = scene.add()
    child = scene.add(depends_on={"jobIds": [met, failing]})
    scene.complete(job)
    (job,) = scene.claim()
    scene.end(job, permanent=True)
    scene.store.bulk.remove(met, now_us=scene.now_us)
    scene.store.retry(failing, now_us=scene.now_us, with_dependents=True)
    assert scene.get(child).status == JobStatus.PENDING
    (job,) = scene.claim()
    scene.complete(job)
    assert [each.id for each in scene.claim()] == [child]


def test_a_prerequisite_that_failed_and_was_removed_still_counts(scene: Scene) -> None:
    """Taken along by one prerequisite, a dependent ends again because of another one that failed and is gone."""
    failed, other = scene.add(), scene.add()
    child = scene.add(depends_on={"jobIds": [failed, other]})
    for job in scene.claim():
        scene.end(job, permanent=True)
    scene.store.bulk.remove(failed, now_us=scene.now_us)
    scene.store.retry(other, now_us=scene.now_us, with_dependents=True)
    assert scene.get(child).status == JobStatus.CANCELLED


def test_a_key_outlives_a_job_that_retention_removed_early(scene: Scene) -> None:
    """A key holds for seven days after the end of its job, however short ended jobs are kept."""
    job_id = scene.add(idempotency_key="once")
    (job,) = scene.claim()
    scene.complete(job)
    scene.pass_seconds(2 * 86_400)
    assert maintain(scene, Retention(completed_days=1.0, ended_days=1.0)) == {"removed": 1}
    assert scene.add(idempotency_key="once") == job_id
    scene.pass_seconds(6 * 86_400)
    assert maintain(scene, KEEP_ALL) == {"keys": 1}
    assert scene.add(idempotency_key="once") != job_id


def test_all_who_waited_for_a_tag_go_on_when_an_edit_takes_it_away(scene: Scene) -> None:
    """Nobody waits for a job that lives and does not carry the tags: the repair pass looks at ended ones only."""
    tagged = scene.add(tags=["x"])
    waiting = [JobOptions(job_type="work", depends_on=DependsOn(tags=["x"]))] * (2 * MOST_AT_ONCE + 1)
    scene.store.add(waiting, now_us=scene.now_us)
    scene.store.bulk.edit(tagged, JobChanges.parse(tags=["y"]), now_us=scene.now_us)
    assert rows(scene, "SELECT count(*) FROM job WHERE gate = 'tags'") == [(0,)]


def test_a_stopped_group_with_a_long_queue_does_not_stop_its_type(scene: Scene) -> None:
    """Behind more waiters of full groups than an end looks past, the repair pass finds who can run."""
    scene.store.controls.set_limit("type", "work", max_running=5, now_us=scene.now_us)
    scene.store.controls.set_limit("group", "stopped", max_running=0, now_us=scene.now_us)
    scene.store.add([JobOptions(job_type="work", group_id="stopped")] * (FURTHEST + 1), now_us=scene.now_us)
    free = scene.add()
    maintain(scene)
    assert [job.id for job in scene.claim()] == [free]


@pytest.mark.parametrize("groups", [200])
def test_full_groups_are_found_out_together(scene: Scene, groups: int) -> None:
    """An end in a limited type whose groups are full does not ask once for each of them."""
    scene.store.controls.set_limit("type", "work", max_running=groups + 1, now_us=scene.now_us)
    scene.store.controls.set_limit("group", "*", max_running=1, now_us=scene.now_us)
    named = [JobOptions(job_type="work", group_id=f"{place:04}") for place in range(groups)]
    scene.store.add([*named, JobOptions(job_type="work", group_id="last")], now_us=scene.now_us)
    running = scene.claim(groups + 1)
    waiting = scene.store.add(named, now_us=scene.now_us)
    with statements(scene) as seen:
        scene.complete(running[-1])
    assert len(seen) < 40
    scene.complete(running[7])
    assert [job.id for job in scene.claim()] == [waiting[7]]


def test_a_long_chain_is_taken_along_in_sets(scene: Scene) -> None:
    """Retrying the head of a chain with its dependents looks at each once, and revives five hundred at a time."""
    length = 300
    chain = [
        JobOptions(job_type="work", depends_on=DependsOn(job_ids=[Dependency(id=-place)] if place else []))
        for place in range(length)
    ]
    first = scene.store.add(chain, now_us=scene.now_us)[0]
    (job,) = scene.claim()
    scene.end(job, permanent=True)
    maintain(scene)
    assert scene.store.counts() == {"work": {"cancelled": length - 1, "failed": 1}}
    with statements(scene) as seen:
        scene.store.retry(first, now_us=scene.now_us, with_dependents=True)
    assert len(seen) < length + 50
    assert scene.store.counts() == {"work": {"pending": length}}
    assert [each.id for each in scene.claim()] == [first]


def test_jobs_that_wait_for_each_other_are_revived_together(scene: Scene) -> None:
    """A dependent of two revived jobs, one of them far down, is told once that it lives again."""
    root = scene.add()
    middle = scene.add(depends_on={"jobIds": [root]})
    low = scene.add(depends_on={"jobIds": [middle]})
    child = scene.add(depends_on={"jobIds": [root, low]})
    (job,) = scene.claim()
    scene.end(job, permanent=True)
    maintain(scene)
    scene.store.retry(root, now_us=scene.now_us, with_dependents=True)
    assert scene.event_types(child) == ["added", "cancelled", "retried"]
    assert {scene.get(each).status for each in (root, middle, low, child)} == {JobStatus.PENDING}


def test_a_barrier_walks_along_its_rarest_tag(scene: Scene) -> None:
    """A tag that many live jobs carry costs nothing beside one that few do, whatever their order."""
    scene.store.add([JobOptions(job_type="work", tags=["common"])] * 10_000, now_us=scene.now_us)
    both = scene.add(tags=["common", "rare"])
    scene.store.add([JobOptions(job_type="work", tags=["common"])] * 10_000, now_us=scene.now_us)
    wanted = JobOptions(job_type="work", depends_on=DependsOn(tags=["common", "rare"]))
    scene.store.add([wanted] * 5_000, now_us=scene.now_us)
    assert rows(scene, "SELECT DISTINCT waits_for FROM barrier") == [(both,)]


def test_jobs_of_one_batch_with_the_same_tags_each_find_their_own_last(scene: Scene) -> None:
    """Who stands before what the last of them found looks for itself."""
    early = scene.add(tags=["a", "b"])
    batch = [
        JobOptions(job_type="work", depends_on=DependsOn(tags=["a", "b"])),
        JobOptions(job_type="work", tags=["b", "a"]),
        JobOptions(job_type="work", depends_on=DependsOn(tags=["a", "b"])),
    ]
    first, tagged, last = scene.store.add(batch, now_us=scene.now_us)
    found = rows(scene, "SELECT job_id, waits_for FROM barrier ORDER BY job_id")
    assert found == [(first, early), (last, tagged)]
