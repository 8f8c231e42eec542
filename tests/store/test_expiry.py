"""`expiresIn`: a job that was not started in time ends cancelled, with a reason; one that was started never does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobwarden.clock import to_datetime
from jobwarden.jobs import FailureReason, JobOptions, JobStatus, Outcome, TypeTerms
from jobwarden.store import Claim
from jobwarden.store.keeping import expiring
from jobwarden.store.keeping.expiring import expire

from .maintaining import access_of, maintain
from .scene import Scene


def _claimed(scene: Scene) -> list[int]:
    return [job.id for job in scene.claim()]


def test_a_job_that_was_not_started_in_time_is_cancelled_with_a_reason(scene: Scene) -> None:
    """Before the claim chooses: it is never handed out, not even as the only one."""
    job_id = scene.add(expires_in=60)
    assert scene.get(job_id).expires_at == to_datetime(scene.now_us) + timedelta(seconds=60)
    scene.pass_seconds(60)
    assert _claimed(scene) == []
    record = scene.get(job_id)
    assert (record.status, record.failure_reason) == (JobStatus.CANCELLED, FailureReason.EXPIRED)
    assert record.last_cancelled_at is not None
    assert scene.event_types(job_id) == ["added", "cancelled"]
    assert "expired" in scene.last_event(job_id).metadata["reason"]


def test_until_then_it_runs_like_any_other(scene: Scene) -> None:
    """And what runs, or has run, does not expire."""
    job_id = scene.add(expires_in=60, max_attempts=2, retry_delay=0)
    (job,) = scene.claim()
    scene.pass_seconds(600)
    assert _claimed(scene) == []
    maintain(scene)
    scene.end(job)
    maintain(scene)
    (again,) = scene.claim()
    assert again.id == job_id
    scene.complete(again)
    assert scene.get(job_id).status is JobStatus.COMPLETED


def test_an_interrupted_job_was_started(scene: Scene) -> None:
    """Its attempt was given back, but its handler had begun: it does not expire, not even after another give-back."""
    job = scene.add_and_claim(expires_in=60)
    scene.end(job, Outcome.INTERRUPTED)
    scene.give_back(scene.claim()[0])
    scene.pass_seconds(600)
    assert _claimed(scene) == [job.id]


def test_a_job_that_was_given_back_unstarted_can_expire(scene: Scene) -> None:
    """No handler has seen it."""
    job = scene.add_and_claim(expires_in=60)
    scene.give_back(job)
    assert scene.get(job.id).started_at is None
    scene.pass_seconds(600)
    assert _claimed(scene) == []
    assert scene.get(job.id).failure_reason is FailureReason.EXPIRED


@pytest.mark.parametrize("wait", ["time", "parents", "tags", "lane", "pause"])
def test_whatever_it_waits_for_it_expires(scene: Scene, wait: str) -> None:
    """By the claim, or by maintenance where nobody claims."""
    fields: dict[str, Any] = {}
    other = scene.add("other", tags=["t"])
    match wait:
        case "time":
            fields = {"run_at": to_datetime(scene.now_us) + timedelta(days=1)}
        case "parents":
            fields = {"depends_on": {"jobIds": [other]}}
        case "tags":
            fields = {"depends_on": {"tags": ["t"]}}
        case "lane":
            scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
            scene.add_and_claim()
        case _:
            scene.store.controls.pause("work", reason="maintenance", now_us=scene.now_us)
    job_id = scene.add(expires_in=60, **fields)
    scene.pass_seconds(59)
    maintain(scene)
    assert not scene.get(job_id).ended
    scene.pass_seconds(1)
    maintain(scene)
    assert scene.get(job_id).failure_reason is FailureReason.EXPIRED


def test_what_depends_on_an_expired_job_ends_with_it(scene: Scene) -> None:
    """It was cancelled, like any other cancelled prerequisite; and it holds no barrier any more."""
    parent = scene.add(expires_in=60, tags=["t"])
    child = scene.add(depends_on={"jobIds": [parent]})
    waiting = scene.add(depends_on={"tags": ["t"]})
    scene.pass_seconds(60)
    assert _claimed(scene) == [waiting]
    assert scene.get(child).status is JobStatus.CANCELLED


def test_a_lane_is_freed_by_an_expired_job(scene: Scene) -> None:
    """It had its place there."""
    scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
    scene.add(expires_in=60)
    second = scene.add()
    scene.pass_seconds(60)
    assert _claimed(scene) == [second]


def test_the_next_look_comes_when_a_job_expires(scene: Scene) -> None:
    """So that its end is written in time, and those who wait for it hear of it."""
    scene.add(expires_in=60, run_at=to_datetime(scene.now_us) + timedelta(days=1))
    expires_us = scene.now_us + 60_000_000
    assert scene.transact().next_due_us == expires_us


def test_retrying_an_expired_job_gives_it_all_the_time_there_is(scene: Scene) -> None:
    """It would expire again at once otherwise."""
    job_id = scene.add(expires_in=60)
    scene.pass_seconds(60)
    assert _claimed(scene) == []
    scene.store.retry(job_id, now_us=scene.now_us)
    assert scene.get(job_id).expires_at is None
    scene.pass_seconds(600)
    assert _claimed(scene) == [job_id]


def test_each_job_expires_at_its_own_time(scene: Scene) -> None:
    """Those whose time is not over are handed out."""
    ids = [scene.add(expires_in=60 + n) for n in range(20)]
    scene.pass_seconds(70)
    claimed = _claimed(scene)
    assert claimed == ids[12:]
    assert [scene.get(each).ended for each in ids] == [True] * 12 + [False] * 8


def test_many_expire_in_several_rounds(scene: Scene) -> None:
    """No transaction is long; those whose time was over first go first."""
    ids = [scene.add("other", expires_in=60 - n) for n in range(5)]
    scene.pass_seconds(60)
    access = access_of(scene)
    ended: list[list[int]] = []
    for _ in range(4):
        with access.writing() as connection:
            ended.append(expire(connection, access.sql, touched=set(), now_us=scene.now_us, limit=2))
    assert [sorted(some) for some in ended] == [ids[3:], ids[1:3], ids[:1], []]


def test_more_expired_jobs_than_one_claim_can_cancel_are_not_handed_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That claim takes nothing, the next one goes on; the store says that it is worth a look at once."""
    monkeypatch.setattr(expiring, "MOST_ROUNDS", 1)
    options = JobOptions(job_type="work", expires_in=60)
    scene.store.add([options] * (expiring.MOST_AT_ONCE + 1), now_us=scene.now_us)
    fresh = scene.add()
    scene.pass_seconds(60)
    claim = Claim(batch="b", limit=10, types=(TypeTerms(job_type="work"),))
    receipts = scene.transact(claim=claim)
    assert receipts.claimed == []
    assert receipts.next_due_us is not None
    assert receipts.next_due_us <= scene.now_us
    assert _claimed(scene) == [fresh]
