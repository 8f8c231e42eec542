"""Bulk verbs by filter: cancel, retry, replay of dead letters; all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.jobs import FailureReason, JobChanges, JobFilter, JobOptions, JobStatus, Outcome
from jobwarden.store import Changed
from jobwarden.store.access import Access
from jobwarden.store.dialects import StoreOptions, dialect_for
from jobwarden.store.people import cancelling, editing, reviving

from .scene import Scene

ALL = JobFilter()


def work(**wanted: Any) -> JobFilter:
    return JobFilter.parse(job_type="work", **wanted)


def add_many(scene: Scene, number: int, **fields: Any) -> list[int]:
    return scene.store.add([JobOptions(job_type="work", **fields)] * number, now_us=scene.now_us)


def failed(scene: Scene, **fields: Any) -> int:
    """A job that has failed for good."""
    job = scene.add_and_claim(max_attempts=1, **fields)
    scene.end(job)
    return job.id


@pytest.fixture
def access(scene: Scene, url: str) -> Iterator[Access]:
    """A way to the scene's database below its verbs: what is found may change before it is written."""
    dialect = dialect_for(url, StoreOptions(synchronous="normal", lock_timeout_seconds=1))
    yield Access(dialect)
    dialect.close()
    assert scene.store.url_shown == url


def test_each_verb_looks_again_at_what_it_was_told_to_change(scene: Scene, access: Access) -> None:
    """A job that was claimed, ended or revived since it was found is left alone: the WHERE says so."""
    done = scene.add_and_claim()
    scene.complete(done)
    running = scene.add_and_claim()
    free = scene.add()
    found = [done.id, running.id, free]
    before = {job_id: scene.get(job_id) for job_id in found}
    now_us = scene.now_us
    with access.writing() as connection:
        changes = JobChanges.parse(priority=0, tags=[])
        assert editing.edit_jobs(connection, access.sql, found, changes, now_us=now_us) == [free]
        assert reviving.revive_jobs(connection, access.sql, found, touched=set(), now_us=now_us) == []
        cancelling.ask_to_cancel(connection, [done.id, free], reason="no", now_us=now_us)
    assert {job_id: scene.get(job_id) for job_id in found} == before | {free: scene.get(free)}
    assert scene.transact(read_wishes=True).wishes == []
    with access.writing() as connection:
        reasons = dict.fromkeys(found)
        assert cancelling.cancel_jobs(connection, access.sql, reasons, touched=set(), now_us=now_us) == [free]
    assert scene.complete(running).refused == []


# cancel


def test_cancel_all_ends_what_is_still_to_come(scene: Scene) -> None:
    """Ready, for later, retrying: each with its event and reason. Ended ones stay, running ones are counted."""
    done = scene.add_and_claim()
    scene.complete(done)
    retrying = scene.add_and_claim()
    scene.end(retrying)
    running = scene.add_and_claim()
    other = scene.add("other")
    ready, later = scene.add(), scene.add(run_at=to_datetime(scene.now_us + 100 * SECOND_US))
    changed = scene.store.bulk.cancel_all(work(), now_us=scene.now_us, reason="not needed")
    assert changed == Changed([retrying.id, ready, later], 1)
    for job_id in changed.ids:
        record = scene.get(job_id)
        assert (record.status, record.failure_reason, record.ended) == ("cancelled", FailureReason.CANCELLED, True)
        assert scene.last_event(job_id).metadata == {"reason": "not needed"}
    assert scene.get(done.id).status is JobStatus.COMPLETED
    assert scene.get(other).status is JobStatus.PENDING
    assert scene.transact(read_wishes=True).wishes == []
    assert scene.complete(running).refused == []


def test_cancel_all_can_ask_the_running_ones_too(scene: Scene) -> None:
    """A wish, for their owners to see; they end when they are proved dead."""
    running = scene.add_and_claim()
    elsewhere = scene.add("other")
    scene.claim(types=["other"])
    ready = scene.add()
    changed = scene.store.bulk.cancel_all(work(), now_us=scene.now_us, reason="stop", running=True)
    assert changed == Changed([ready], 1)
    assert [(wish.job_id, wish.wish, wish.reason) for wish in scene.transact(read_wishes=True).wishes] == [
        (running.id, "cancel", "stop")
    ]
    assert {scene.get(running.id).status, scene.get(elsewhere).status} == {"processing"}


def test_cancel_all_cancels_dependents(scene: Scene) -> None:
    """As for every job that ends cancelled."""
    parent = scene.add()
    child = scene.add("other", depends_on={"jobIds": [parent]})
    scene.store.bulk.cancel_all(work(), now_us=scene.now_us)
    assert scene.get(child).status is JobStatus.CANCELLED


def test_cancel_all_that_matches_nothing_changes_nothing(scene: Scene) -> None:
    """No event, no error."""
    job_id = scene.add()
    assert scene.store.bulk.cancel_all(work(priority=9), now_us=scene.now_us) == Changed([], 0)
    assert scene.event_types(job_id) == ["added"]


def test_a_verb_reaches_all_chunks(scene: Scene) -> None:
    """More jobs than go into one statement."""
    ids = add_many(scene, 1_201, tags=["t"])
    assert scene.store.bulk.cancel_all(work(tags=["t"]), now_us=scene.now_us).ids == ids
    assert scene.store.bulk.retry_all(work(status="cancelled"), now_us=scene.now_us) == ids
    assert scene.store.counts() == {"work": {"pending": 1_201}}
    assert scene.store.bulk.clear(work(), now_us=scene.now_us).ids == ids
    assert scene.store.counts() == {}


# retry


def test_retry_all_takes_failed_cancelled_and_retrying_jobs(scene: Scene) -> None:
    """Not pending, running or completed ones; each runs again now, with one attempt at least."""
    done = scene.add_and_claim()
    scene.complete(done)
    for_good = failed(scene)
    retrying = scene.add_and_claim(retry_delay=5_000)
    scene.end(retrying)
    cancelled = scene.add()
    scene.store.cancel(cancelled, now_us=scene.now_us)
    running = scene.add_and_claim()
    later = scene.add(run_at=to_datetime(scene.now_us + 1_000 * SECOND_US))
    expected = [for_good, retrying.id, cancelled]
    assert scene.store.bulk.retry_all(ALL, now_us=scene.now_us) == expected
    assert [(scene.get(job_id).status, scene.get(job_id).max_attempts) for job_id in expected] == [
        ("pending", 2),
        ("pending", 3),
        ("pending", 3),
    ]
    assert scene.last_event(cancelled).metadata == {"from": "cancelled"}
    assert [job.id for job in scene.claim()] == expected
    assert scene.get(later).status is JobStatus.PENDING
    assert scene.complete(running).refused == []


def test_a_dry_run_lists_and_changes_nothing(scene: Scene) -> None:
    """The same ids as the run itself."""
    expected = [failed(scene), failed(scene)]
    before = [(scene.get(job_id), scene.store.events(job_id)) for job_id in expected]
    assert scene.store.bulk.retry_all(ALL, now_us=scene.now_us, dry_run=True) == expected
    assert scene.store.bulk.replay_dead_letters(ALL, now_us=scene.now_us, dry_run=True) == []
    assert [(scene.get(job_id), scene.store.events(job_id)) for job_id in expected] == before
    assert scene.claim() == []
    assert scene.store.bulk.retry_all(ALL, now_us=scene.now_us) == expected


def test_retry_all_obeys_its_filter(scene: Scene) -> None:
    """`failed` for good and `cancelled` can be told apart."""
    for_good = failed(scene)
    scene.store.cancel(scene.add(), now_us=scene.now_us)
    assert scene.store.bulk.retry_all(work(status="failed"), now_us=scene.now_us) == [for_good]


def test_a_retried_job_counts_as_before_its_end(scene: Scene) -> None:
    """Tallies and live tags are put back: it holds up barriers again, and ends once more."""
    job_id = failed(scene, tags=["t"])
    scene.store.bulk.retry_all(ALL, now_us=scene.now_us)
    assert scene.store.counts() == {"work": {"pending": 1}}
    waiting = scene.add("other", depends_on={"tags": ["t"]})
    assert scene.claim(types=["other"]) == []
    scene.complete(scene.claim()[0])
    assert [job.id for job in scene.claim(types=["other"])] == [waiting]
    assert scene.store.counts()["work"] == {"completed": 1}
    assert scene.get(job_id).status is JobStatus.COMPLETED


def test_a_late_result_of_the_attempt_before_a_retry_is_refused(scene: Scene) -> None:
    """The fence rises with every job that is revived."""
    job = scene.add_and_claim()
    scene.end(job)
    scene.store.bulk.retry_all(ALL, now_us=scene.now_us)
    scene.claim()
    assert [refusal.job_id for refusal in scene.complete(job).refused] == [job.id]


def test_a_retried_job_of_a_full_group_waits_for_room(scene: Scene) -> None:
    """Reviving is no way round a limit."""
    scene.store.controls.set_limit("group", "g", max_running=1, now_us=scene.now_us)
    first, second = failed(scene, group_id="g"), failed(scene, group_id="g")
    scene.store.bulk.retry_all(ALL, now_us=scene.now_us)
    assert [job.id for job in scene.claim()] == [first]
    assert scene.get(second).pending_reason == "waits for its limit"


def test_a_job_that_was_cancelled_while_it_waited_for_another_waits_again(scene: Scene) -> None:
    """Its prerequisite has not been completed in the meantime."""
    parent = scene.add("other")
    child = scene.add(depends_on={"jobIds": [parent]})
    scene.store.cancel(child, now_us=scene.now_us)
    scene.store.bulk.retry_all(work(), now_us=scene.now_us)
    assert scene.claim() == []
    scene.complete(scene.claim(types=["other"])[0])
    assert [job.id for job in scene.claim()] == [child]


def test_an_expired_job_that_is_retried_has_no_expiry_any_more(scene: Scene) -> None:
    """Or it would end again at once."""
    job_id = scene.add(expires_in=10)
    scene.pass_seconds(100)
    scene.store.cancel(job_id, now_us=scene.now_us)
    scene.store.bulk.retry_all(ALL, now_us=scene.now_us)
    assert scene.get(job_id).expires_at is None
    assert [job.id for job in scene.claim()] == [job_id]


# dead letters


def dead_lettered(scene: Scene, **fields: Any) -> tuple[int, int]:
    """A job that has failed for good, and its dead letter."""
    original = failed(scene, dead_letter_job_type="grave", **fields)
    letter = scene.get(original).dead_letter_job_id
    assert letter is not None
    return original, letter


def test_replaying_a_dead_letter_gives_the_original_all_its_attempts(scene: Scene) -> None:
    """Its dead letter, not started yet, is cancelled with a reason; the links are gone; events name both."""
    original, letter = dead_lettered(scene)
    assert scene.store.bulk.replay_dead_letters(work(), now_us=scene.now_us, dry_run=True) == [original]
    assert scene.store.bulk.replay_dead_letters(work(), now_us=scene.now_us) == [original]
    record = scene.get(original)
    assert (record.status, record.attempts, record.max_attempts) == (JobStatus.PENDING, 0, 1)
    assert (record.dead_letter_job_id, record.dead_lettered_at) == (None, None)
    assert len(record.error_history) == 1
    assert scene.last_event(original).metadata == {"from": "failed", "deadLetter": letter}
    assert scene.get(letter).status is JobStatus.CANCELLED
    assert scene.last_event(letter).metadata == {"reason": f"job {original} is replayed"}
    (job,) = scene.claim()
    assert (job.id, job.attempts) == (original, 1)


def test_a_replayed_job_that_fails_again_leaves_a_new_dead_letter(scene: Scene) -> None:
    """One for each time that it failed for good."""
    original, letter = dead_lettered(scene)
    scene.store.bulk.replay_dead_letters(ALL, now_us=scene.now_us)
    scene.end(scene.claim()[0])
    again = scene.get(original).dead_letter_job_id
    assert again not in {None, letter}


@pytest.mark.parametrize("state", ["running", "completed", "removed", "retrying", "interrupted"])
def test_a_dead_letter_that_was_started_stays_as_it_is(scene: Scene, state: str) -> None:
    """Somebody has seen to it, or does so now; the original is replayed all the same."""
    original, letter = dead_lettered(scene)
    if state == "removed":
        scene.store.bulk.remove(letter, now_us=scene.now_us)
    else:
        (job,) = scene.claim(types=["grave"])
        if state == "completed":
            scene.complete(job)
        elif state == "retrying":
            scene.end(job, Outcome.FAILED)
        elif state == "interrupted":
            scene.end(job, Outcome.INTERRUPTED)
    before = scene.store.get(letter)
    assert scene.store.bulk.replay_dead_letters(work(), now_us=scene.now_us) == [original]
    assert scene.store.get(letter) == before


def test_replay_leaves_jobs_without_a_dead_letter_alone(scene: Scene) -> None:
    """Failed for good is not enough; the filter is about the originals."""
    failed(scene)
    original, _ = dead_lettered(scene)
    other = scene.add("other", max_attempts=1, dead_letter_job_type="grave")
    scene.end(scene.claim(types=["other"])[0])
    assert scene.store.bulk.replay_dead_letters(work(), now_us=scene.now_us) == [original]
    assert scene.get(other).dead_letter_job_id is not None
    assert scene.store.bulk.replay_dead_letters(work(), now_us=scene.now_us) == []


def test_a_job_that_was_retried_keeps_the_link_to_its_dead_letter(scene: Scene) -> None:
    """While it has not failed for good again, there is nothing to replay."""
    original, letter = dead_lettered(scene)
    scene.store.bulk.retry_all(work(), now_us=scene.now_us)
    assert scene.store.bulk.replay_dead_letters(ALL, now_us=scene.now_us) == []
    scene.store.bulk.edit(original, JobChanges.parse(max_attempts=5), now_us=scene.now_us)
    scene.end(scene.claim()[0])
    assert scene.get(original).retrying
    assert scene.store.bulk.replay_dead_letters(ALL, now_us=scene.now_us) == []
    assert scene.get(original).dead_letter_job_id == letter
