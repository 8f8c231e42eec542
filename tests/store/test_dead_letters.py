"""Dead letters: in the transaction in which a job fails for good, a job of its dead letter type takes its story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobwarden.jobs import ClaimedJob, FailureReason, JobOptions, JobRecord, JobStatus, Outcome
from jobwarden.jobs.options import DEEPEST_JSON, LARGEST_PAYLOAD_BYTES

from .maintaining import maintain
from .scene import NAME, NODE, Scene


def _letter_of(scene: Scene, job_id: int) -> JobRecord:
    letter = scene.get(job_id).dead_letter_job_id
    assert letter is not None
    return scene.get(letter)


def _lettered(scene: Scene, **fields: Any) -> ClaimedJob:
    return scene.add_and_claim(**{"dead_letter_job_type": "dead", "max_attempts": 1, **fields})


def test_a_final_failure_leaves_a_dead_letter_with_the_whole_story(scene: Scene) -> None:
    """A pending job of that type, ready now, with a payload of fixed shape; both jobs name each other."""
    job = _lettered(scene, payload={"to": "ü"}, tags=["t"], metadata={"a": 1}, priority=5, group_id="g")
    scene.end(job, error="no such file")
    original, letter = scene.get(job.id), _letter_of(scene, job.id)
    assert original.dead_lettered_at == letter.created_at == original.updated_at
    assert original.model_dump(by_alias=True, mode="json")["deadLetterJobId"] == letter.id
    assert letter.payload == {
        "originalJob": {"id": job.id, "jobType": "work", "attempts": 1, "maxAttempts": 1},
        "originalPayload": {"to": "ü"},
        "failure": {
            "message": "no such file",
            "reason": "handler_error",
            "failedAt": original.model_dump(mode="json")["last_failed_at"],
        },
    }
    assert (letter.status, letter.job_type, letter.attempts) == (JobStatus.PENDING, "dead", 0)
    assert (letter.tags, letter.metadata, letter.priority, letter.group_id) == ([], {}, 0, None)
    assert (letter.dead_letter_job_type, letter.idempotency_key) == (None, None)
    assert [each.id for each in scene.claim(types=["dead"])] == [letter.id]


def test_both_jobs_have_an_event(scene: Scene) -> None:
    """`dead_lettered` after `failed`, and `added` with the number of the original."""
    job = _lettered(scene)
    scene.end(job)
    letter = _letter_of(scene, job.id)
    assert scene.event_types(job.id) == ["added", "processing", "failed", "dead_lettered"]
    assert scene.last_event(job.id).metadata == {"deadLetterJobId": letter.id, "deadLetterJobType": "dead"}
    (added,) = scene.store.events(letter.id)
    assert (added.type, added.metadata) == ("added", {"deadLetterOf": job.id})


def _lose(scene: Scene, _job: ClaimedJob) -> None:
    for _ in range(5):
        scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0)
        scene.register(NODE, NAME)
        scene.claim()


WAYS: list[tuple[Callable[[Scene, ClaimedJob], Any], FailureReason]] = [
    (lambda scene, job: scene.end(job), FailureReason.HANDLER_ERROR),
    (lambda scene, job: scene.end(job, Outcome.TIMED_OUT), FailureReason.TIMEOUT),
    (lambda scene, job: scene.end(job, Outcome.CRASHED), FailureReason.CRASHED),
    (lambda scene, job: scene.end(job, Outcome.MEMORY_EXCEEDED), FailureReason.MEMORY_LIMIT),
    (lambda scene, job: scene.end(job, reason=FailureReason.NO_HANDLER, permanent=True), FailureReason.NO_HANDLER),
    (lambda scene, job: scene.complete(job, output="{cut off"), FailureReason.HANDLER_ERROR),
    (_lose, FailureReason.LOST),
]


@pytest.mark.parametrize(("end", "reason"), WAYS, ids=range(len(WAYS)))
def test_every_final_failure_is_dead_lettered(
    scene: Scene, end: Callable[[Scene, ClaimedJob], Any], reason: FailureReason
) -> None:
    """Whoever wrote it, and by which statement."""
    job = _lettered(scene)
    end(scene, job)
    letter = _letter_of(scene, job.id)
    assert isinstance(letter.payload, dict)
    failure = letter.payload["failure"]
    assert isinstance(failure, dict)
    assert failure["reason"] == reason
    assert failure["message"] == scene.get(job.id).error_history[-1].message


def test_a_job_that_fails_with_its_prerequisite_is_dead_lettered(scene: Scene) -> None:
    """It failed for good, though it never ran."""
    parent = scene.add_and_claim(max_attempts=1)
    child = scene.add(
        dead_letter_job_type="dead", depends_on={"jobIds": [{"id": parent.id, "onParentFailure": "fail"}]}
    )
    scene.end(parent)
    payload = _letter_of(scene, child).payload
    assert isinstance(payload, dict)
    assert payload["originalJob"] == {"id": child, "jobType": "work", "attempts": 0, "maxAttempts": 3}
    assert f"job {parent.id}" in str(payload["failure"])


def test_a_quarantined_job_is_dead_lettered(scene: Scene) -> None:
    """Whatever attempts are left."""
    job = _lettered(scene, max_attempts=50, retry_delay=0)
    for _ in range(3):
        scene.end(job, Outcome.CRASHED)
        claimed = scene.claim()
        job = claimed[0] if claimed else job
    assert _letter_of(scene, job.id).status is JobStatus.PENDING


@pytest.mark.parametrize("way", ["retried", "completed", "cancelled", "interrupted"])
def test_anything_else_leaves_none(scene: Scene, way: str) -> None:
    """A failure that will be retried, success, a cancel."""
    job = _lettered(scene, max_attempts=2)
    match way:
        case "retried":
            scene.end(job)
        case "completed":
            scene.complete(job)
        case "cancelled":
            scene.end(job, Outcome.CANCELLED)
        case _:
            scene.end(job, Outcome.INTERRUPTED)
    assert scene.get(job.id).dead_letter_job_id is None
    assert scene.claim(types=["dead"]) == []


def test_there_are_no_loops(scene: Scene) -> None:
    """A dead letter that fails leaves nothing, also where it is of its original's own type."""
    job = _lettered(scene, dead_letter_job_type="work")
    scene.end(job)
    letter = _letter_of(scene, job.id)
    (claimed,) = scene.claim()
    assert claimed.id == letter.id
    scene.end(claimed, permanent=True)
    assert scene.get(letter.id).dead_letter_job_id is None
    assert len(scene.store.find()) == 2


def test_a_retried_job_keeps_its_link_and_gets_no_second_letter(scene: Scene) -> None:
    """One job, at most one dead letter."""
    job = _lettered(scene)
    scene.end(job)
    letter = _letter_of(scene, job.id)
    scene.store.retry(job.id, now_us=scene.now_us)
    assert scene.get(job.id).dead_letter_job_id == letter.id
    (again,) = scene.claim()
    scene.end(again)
    assert _letter_of(scene, job.id) == letter
    assert len(scene.store.find()) == 2


def test_many_that_fail_at_once_get_a_letter_each(scene: Scene) -> None:
    """In one transaction; those without a dead letter type among them get none."""
    options = [
        JobOptions(job_type="work", payload=n, max_attempts=1, dead_letter_job_type="dead" if n % 2 else None)
        for n in range(20)
    ]
    scene.store.add(options, now_us=scene.now_us)
    parent = scene.add(max_attempts=1)
    for job in scene.claim():
        if job.id != parent:
            scene.end(job)
    letters = scene.store.find(job_type="dead")
    assert sorted(each.payload["originalPayload"] for each in letters) == list(range(1, 20, 2))  # type: ignore[index, call-overload, type-var]
    maintain(scene)


def test_the_largest_and_deepest_payload_has_room_in_a_letter(scene: Scene) -> None:
    """The limits are for those who add jobs: a failure can always be told."""
    deep: Any = None
    for _ in range(DEEPEST_JSON - 1):
        deep = [deep]
    large = "x" * (LARGEST_PAYLOAD_BYTES - 2)
    jobs = [_lettered(scene, payload=payload) for payload in (deep, large)]
    for job, payload in zip(jobs, (deep, large), strict=True):
        scene.end(job)
        found = _letter_of(scene, job.id).payload
        assert isinstance(found, dict)
        assert found["originalPayload"] == payload


def test_dead_letters_of_a_limited_type_wait_in_its_lane(scene: Scene) -> None:
    """They are jobs like others."""
    scene.store.controls.set_limit("type", "dead", max_running=1, now_us=scene.now_us)
    for job in [_lettered(scene) for _ in range(3)]:
        scene.end(job)
    assert len(scene.claim(types=["dead"])) == 1
