"""`dependsOn.jobIds`: what is accepted, what a new job finds done already, and whom a retry takes along."""

from __future__ import annotations

from typing import Any

import pytest

from jobwarden.errors import InvalidJobError
from jobwarden.jobs import FailureReason, JobOptions, JobStatus, Outcome
from jobwarden.store import Store

from .maintaining import maintain, rows
from .scene import START_US, Scene
from .sql import engine_of_a_caller

UNKNOWN = 4711


def _after(*ids: int, on_failure: str = "cancel") -> dict[str, Any]:
    return {"jobIds": [{"id": each, "onParentFailure": on_failure} for each in ids]}


def _ended(scene: Scene, status: str) -> int:
    """A job that ended so."""
    if status == "cancelled":
        job_id = scene.add("other")
        scene.store.cancel(job_id, now_us=scene.now_us)
        return job_id
    job = scene.add_and_claim(max_attempts=1)
    scene.complete(job) if status == "completed" else scene.end(job)
    return job.id


def _batch(scene: Scene, *references: list[int], keys: list[str | None] | None = None) -> list[int]:
    """Jobs of which the i-th depends on `references[i]`."""
    named = keys or [None] * len(references)
    options = [
        JobOptions(job_type="work", payload=place, depends_on={"jobIds": found}, idempotency_key=name)  # type: ignore[arg-type]
        for place, (found, name) in enumerate(zip(references, named, strict=True))
    ]
    return scene.store.add(options, now_us=scene.now_us)


def _claimed(scene: Scene) -> list[int]:
    return [job.id for job in scene.claim()]


def test_a_dependent_waits_and_says_for_whom(scene: Scene) -> None:
    """It is pending, is not claimed, and its record names its prerequisites."""
    first, second = scene.add("other"), scene.add("other")
    child = scene.add(depends_on=_after(second, first))
    record = scene.get(child)
    assert (record.status, record.depends_on_job_ids) == (JobStatus.PENDING, [first, second])
    assert _claimed(scene) == []
    assert scene.event_types(child) == ["added"]


@pytest.mark.parametrize("on_failure", ["cancel", "run", "fail"])
def test_a_prerequisite_that_has_completed_already_is_no_obstacle(scene: Scene, on_failure: str) -> None:
    """Its edge is settled when it is written."""
    child = scene.add(depends_on=_after(_ended(scene, "completed"), on_failure=on_failure))
    assert _claimed(scene) == [child]


@pytest.mark.parametrize("parent", ["failed", "cancelled"])
@pytest.mark.parametrize(
    ("on_failure", "status"), [("cancel", JobStatus.CANCELLED), ("fail", JobStatus.FAILED), ("run", JobStatus.PENDING)]
)
def test_a_prerequisite_that_has_failed_already_decides_at_once(
    scene: Scene, parent: str, on_failure: str, status: JobStatus
) -> None:
    """The job is added, with its event, and ends as its edge says; the reason names the prerequisite."""
    parent_id = _ended(scene, parent)
    child = scene.add(depends_on=_after(parent_id, on_failure=on_failure))
    record = scene.get(child)
    assert record.status is status
    if status is JobStatus.PENDING:
        assert _claimed(scene) == [child]
        return
    assert (record.ended, record.failure_reason) == (True, FailureReason.DEPENDENCY)
    assert scene.event_types(child) == ["added", status]
    told = scene.last_event(child).metadata
    assert f"job {parent_id}" in told["error" if status is JobStatus.FAILED else "reason"]
    assert parent in str(told)
    assert [entry.message for entry in record.error_history] == ([told["error"]] if on_failure == "fail" else [])


def test_a_retrying_prerequisite_has_not_ended(scene: Scene) -> None:
    """Neither for a job that is added while it waits for its next attempt."""
    job = scene.add_and_claim(max_attempts=2, retry_delay=10, retry_backoff=False)
    scene.end(job)
    child = scene.add(depends_on=_after(job.id))
    assert (scene.get(child).status, _claimed(scene)) == (JobStatus.PENDING, [])
    scene.pass_seconds(60)
    scene.complete(scene.claim()[0])
    assert _claimed(scene) == [child]


def test_jobs_of_one_batch_may_depend_on_each_other(scene: Scene) -> None:
    """-(i+1) is the i-th of them, before or after the one that names it; the ids are in the order of the batch."""
    last, first, middle = _batch(scene, [-2, -3], [], [-2])
    assert scene.get(last).depends_on_job_ids == [first, middle]
    for expected in (first, middle, last):
        (job,) = scene.claim()
        assert job.id == expected
        scene.complete(job)


def test_a_batch_may_be_one_long_chain(scene: Scene) -> None:
    """What is looked for is circles, in time that grows with the batch and no faster."""
    ids = _batch(scene, [], *([-place] for place in range(1, 5_000)))
    assert _claimed(scene) == ids[:1]
    assert scene.get(ids[-1]).depends_on_job_ids == [ids[-2]]


def test_a_chain_within_a_batch_ends_with_what_ended_before(scene: Scene) -> None:
    """The first of the batch is cancelled at once, the second with it, the rest by the repair pass."""
    dead = _ended(scene, "failed")
    ids = _batch(scene, [dead], [-1], [-2], [-3])
    assert [scene.get(each).status for each in ids[:2]] == [JobStatus.CANCELLED] * 2
    maintain(scene)
    assert {scene.get(each).status for each in ids} == {JobStatus.CANCELLED}
    assert f"job {ids[2]}" in scene.last_event(ids[3]).metadata["reason"]


REFUSED: list[tuple[str, list[list[int]], str, str]] = [
    ("an unknown id", [[UNKNOWN]], "depends_on.job_ids", "no job 4711"),
    ("an unknown id in a batch", [[], [UNKNOWN]], "jobs[1].depends_on.job_ids", "no job 4711"),
    ("an id that this batch will get", [[], [1]], "jobs[1].depends_on.job_ids", "no job 1"),
    ("itself", [[-1]], "depends_on.job_ids", "depends on itself"),
    ("itself in a batch", [[], [-2]], "jobs[1].depends_on.job_ids", "depends on itself"),
    ("a circle", [[], [-4], [-2], [-3]], "jobs[1].depends_on.job_ids", "depends on itself"),
    ("a job behind a circle", [[-2], [-3], [-2]], "jobs[1].depends_on.job_ids", "through other jobs"),
    ("outside of the batch", [[], [-3]], "jobs[1].depends_on.job_ids", "which has 2"),
]


@pytest.mark.parametrize(
    ("references", "field", "problem"), [each[1:] for each in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_batch_that_could_never_run_is_refused_as_a_whole(
    scene: Scene, references: list[list[int]], field: str, problem: str
) -> None:
    """Nothing is written, not even the keys of its good jobs; the error names the job and the option."""
    keys: list[str | None] = [f"k{place}" for place in range(len(references))]
    with pytest.raises(InvalidJobError, match=problem) as raised:
        _batch(scene, *references, keys=keys)
    assert raised.value.field == field
    for table in ("job", "event", "edge", "tag", '"key"'):
        assert rows(scene, f"SELECT * FROM {table}") == []  # noqa: S608 - our own names
    assert len(_batch(scene, *[[] for _ in references], keys=keys)) == len(references)


def test_a_refused_job_writes_nothing_in_the_callers_transaction(scene: Scene, url: str) -> None:
    """Who catches the error and commits has added nothing, and holds no key."""
    engine = engine_of_a_caller(url)
    wrong = JobOptions(job_type="work", idempotency_key="k", depends_on=_after(UNKNOWN))  # type: ignore[arg-type]
    with engine.begin() as connection:
        with pytest.raises(InvalidJobError):
            scene.store.add([wrong], now_us=scene.now_us, connection=connection)
        (added,) = scene.store.add([JobOptions(job_type="work")], now_us=scene.now_us, connection=connection)
    engine.dispose()
    assert [record.id for record in scene.store.find()] == [added]
    assert rows(scene, 'SELECT * FROM "key"') == []


def test_the_same_prerequisite_twice_is_one(scene: Scene) -> None:
    """In one list, or through a key that an earlier job holds."""
    parent = scene.add("other", idempotency_key="k")
    child = scene.add(depends_on={"jobIds": [parent, parent]})
    assert scene.get(child).depends_on_job_ids == [parent]
    _, grandchild = _batch(scene, [], [-1, parent], keys=["k", None])
    assert scene.get(grandchild).depends_on_job_ids == [parent]


def test_one_prerequisite_cannot_have_two_rules(scene: Scene) -> None:
    """Nobody could say which holds."""
    parent = scene.add("other")
    both = [{"id": parent, "onParentFailure": "run"}, {"id": parent, "onParentFailure": "fail"}]
    with pytest.raises(InvalidJobError, match="twice"):
        scene.add(depends_on={"jobIds": both})


def test_a_reference_to_a_repeated_key_means_the_holder(scene: Scene) -> None:
    """The batch is added again after a lost answer: its references lead to the jobs of the first time."""
    first = _batch(scene, [], [-1], keys=["a", "b"])
    second = _batch(scene, [], [-1], [-2], keys=["a", "b", "c"])
    assert second[:2] == first
    assert scene.get(second[2]).depends_on_job_ids == [first[1]]


def test_a_repeated_key_changes_no_prerequisites(scene: Scene) -> None:
    """The holder waits for what it was added with; what the repetition names is not even looked up."""
    one, other = scene.add("other"), scene.add("other")
    child = scene.add(idempotency_key="k", depends_on=_after(one))
    assert scene.add(idempotency_key="k", depends_on=_after(other, UNKNOWN)) == child
    assert scene.get(child).depends_on_job_ids == [one]


def test_equal_keys_in_a_batch_are_one_job_in_a_circle_too(store: Store) -> None:
    """Two entries with one key would be one job that waits for itself."""
    wrong = [
        JobOptions(job_type="a", idempotency_key="k", depends_on={"jobIds": [-2]}),  # type: ignore[arg-type]
        JobOptions(job_type="a", depends_on={"jobIds": [-3]}),  # type: ignore[arg-type]
        JobOptions(job_type="a", idempotency_key="k"),
    ]
    with pytest.raises(InvalidJobError, match="depends on itself"):
        store.add(wrong, now_us=START_US)


def test_the_time_of_a_dependent_holds_after_its_prerequisites(scene: Scene) -> None:
    """First parents, then time."""
    parent = scene.add_and_claim()
    child = scene.add(depends_on=_after(parent.id), run_at=scene.get(parent.id).created_at.replace(year=2030))
    scene.complete(parent)
    assert _claimed(scene) == []
    assert scene.transact().next_due_us is not None
    scene.pass_seconds(10 * 366 * 86_400)
    assert _claimed(scene) == [child]


def test_retrying_a_prerequisite_revives_no_dependents(scene: Scene) -> None:
    """They were told that it is over; whoever wants them back says so."""
    parent = scene.add_and_claim(max_attempts=1)
    child = scene.add(depends_on=_after(parent.id))
    scene.end(parent)
    scene.store.retry(parent.id, now_us=scene.now_us)
    scene.complete(scene.claim()[0])
    assert (scene.get(child).status, _claimed(scene)) == (JobStatus.CANCELLED, [])


@pytest.mark.parametrize("on_failure", ["cancel", "fail"])
def test_retry_with_dependents_takes_along_what_ended_because_of_it(scene: Scene, on_failure: str) -> None:
    """Down to the last level, and each waits again; what ended for reasons of its own stays."""
    parent = scene.add_and_claim(max_attempts=1)
    child = scene.add(depends_on=_after(parent.id, on_failure=on_failure), tags=["t"])
    grandchild = scene.add(depends_on=_after(child, on_failure=on_failure))
    by_hand = scene.add(depends_on=_after(parent.id))
    scene.store.cancel(by_hand, now_us=scene.now_us)
    scene.end(parent)
    maintain(scene)
    assert scene.store.has_ended(grandchild)
    scene.store.retry(parent.id, now_us=scene.now_us, with_dependents=True)
    assert {scene.get(each).status for each in (parent.id, child, grandchild)} == {JobStatus.PENDING}
    assert scene.get(child).failure_reason is None
    for expected in (parent.id, child, grandchild):
        (job,) = scene.claim()
        assert job.id == expected
        scene.complete(job)
    assert scene.get(by_hand).status is JobStatus.CANCELLED


def test_a_dependent_that_is_taken_along_ends_again_if_another_prerequisite_has_failed(scene: Scene) -> None:
    """It needs all of them."""
    one, other = scene.add(max_attempts=1), scene.add(max_attempts=1)
    jobs = {job.id: job for job in scene.claim()}
    child = scene.add(depends_on=_after(one, other))
    scene.end(jobs[one])
    scene.end(jobs[other])
    scene.store.retry(one, now_us=scene.now_us, with_dependents=True)
    assert scene.get(child).status is JobStatus.CANCELLED
    assert f"job {other}" in scene.last_event(child).metadata["reason"]
    assert scene.event_types(child) == ["added", "cancelled", "retried", "cancelled"]


def test_a_dependent_that_is_retried_alone_runs(scene: Scene) -> None:
    """Whoever retries it has seen which prerequisite failed, and wants it all the same."""
    child = scene.add(depends_on=_after(_ended(scene, "failed")))
    scene.store.retry(child, now_us=scene.now_us)
    assert _claimed(scene) == [child]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SUCCEEDED, None])
def test_a_cancelled_dependent_that_is_retried_still_depends(scene: Scene, outcome: Outcome | None) -> None:
    """What happened to its prerequisite while it was cancelled happened to it: completed, failed, or not over yet."""
    parent = scene.add_and_claim(max_attempts=1)
    child = scene.add(depends_on=_after(parent.id))
    scene.store.cancel(child, now_us=scene.now_us)
    if outcome is Outcome.FAILED:
        scene.end(parent)
    elif outcome is Outcome.SUCCEEDED:
        scene.complete(parent)
    scene.store.retry(child, now_us=scene.now_us)
    status = JobStatus.CANCELLED if outcome is Outcome.FAILED else JobStatus.PENDING
    assert scene.get(child).status is status
    assert _claimed(scene) == ([child] if outcome is Outcome.SUCCEEDED else [])
    if outcome is None:
        scene.complete(parent)
        assert _claimed(scene) == [child]
