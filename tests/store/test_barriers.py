"""`dependsOn.tags`: a job waits while an earlier job that has not ended carries all of these tags."""

from __future__ import annotations

import pytest

from jobwarden.jobs import JobOptions, JobStatus, Outcome
from jobwarden.store.gates.barriers import MOST_AT_ONCE

from .maintaining import maintain, rows
from .scene import Scene


def _claimed(scene: Scene, *types: str) -> list[int]:
    return [job.id for job in scene.claim(types=types or ["work"])]


def _blocker(scene: Scene, job_id: int) -> int | None:
    found = rows(scene, "SELECT waits_for FROM barrier WHERE job_id = :id", id=job_id)
    return found[0][0] if found else None


def test_a_job_waits_for_earlier_jobs_with_all_its_tags(scene: Scene) -> None:
    """One with some of them, and one that was added later, are no obstacle."""
    scene.add("other", tags=["a"])
    earlier = scene.add("other", tags=["b", "x", "a"])
    waiting = scene.add(depends_on={"tags": ["a", "b", "a"]})
    scene.add("other", tags=["a", "b"])
    assert scene.get(waiting).depends_on_tags == ["a", "b"]
    assert (_claimed(scene), _blocker(scene, waiting)) == ([], earlier)
    (job,) = [each for each in scene.claim(types=["other"]) if each.id == earlier]
    scene.complete(job)
    assert _claimed(scene) == [waiting]
    assert _blocker(scene, waiting) is None


def test_without_an_earlier_job_there_is_no_barrier(scene: Scene) -> None:
    """Also not one that has ended, or only tags of a removed one."""
    done = scene.add_and_claim(tags=["t"])
    scene.complete(done)
    cancelled = scene.add("other", tags=["t"])
    scene.store.cancel(cancelled, now_us=scene.now_us)
    removed = scene.add("other", tags=["t"])
    scene.store.bulk.remove(removed, now_us=scene.now_us)
    waiting = scene.add(depends_on={"tags": ["t"]})
    assert _claimed(scene) == [waiting]


def test_a_job_that_carries_its_own_tags_does_not_wait_for_itself(scene: Scene) -> None:
    """Jobs that carry what they wait for run one after the other, in the order in which they were added."""
    ids = [scene.add(tags=["t"], depends_on={"tags": ["t"]}) for _ in range(4)]
    for expected in ids:
        (job,) = scene.claim()
        assert job.id == expected
        scene.complete(job)


def test_jobs_of_one_batch_count_in_their_order(scene: Scene) -> None:
    """What stands before it in the batch is earlier."""
    options = [
        JobOptions(job_type="work", depends_on={"tags": ["t"]}),  # type: ignore[arg-type]
        JobOptions(job_type="work", tags=["t"]),
        JobOptions(job_type="work", depends_on={"tags": ["t"]}),  # type: ignore[arg-type]
    ]
    before, tagged, after = scene.store.add(options, now_us=scene.now_us)
    jobs = scene.claim()
    assert [job.id for job in jobs] == [before, tagged]
    scene.complete(jobs[1])
    assert _claimed(scene) == [after]


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "lost"])
def test_a_barrier_opens_however_the_tagged_job_ended(scene: Scene, end: str) -> None:
    """It waits for the end, not for success."""
    job = scene.add_and_claim(tags=["t"], max_attempts=1)
    waiting = scene.add("other", depends_on={"tags": ["t"]})
    match end:
        case "completed":
            scene.complete(job)
        case "failed":
            scene.end(job)
        case "cancelled":
            scene.end(job, Outcome.CANCELLED)
        case _:
            for _ in range(5):
                scene.writer.free_node("node-1", now_us=scene.now_us, jitter=lambda: 1.0)
                scene.register("node-1", "host:1")
                scene.claim()
    assert _claimed(scene, "other") == [waiting]


def test_a_job_between_two_attempts_holds_the_barrier(scene: Scene) -> None:
    """`failed` with a next attempt has not ended."""
    job = scene.add_and_claim(tags=["t"], max_attempts=2, retry_delay=10, retry_backoff=False)
    waiting = scene.add(depends_on={"tags": ["t"]})
    scene.end(job)
    assert _claimed(scene) == []
    scene.pass_seconds(60)
    (again,) = scene.claim()
    scene.complete(again)
    assert _claimed(scene) == [waiting]


def test_the_next_is_waited_for_when_one_has_ended(scene: Scene) -> None:
    """Whatever the order in which they end: only after the last of them it runs."""
    ids = [scene.add(tags=["t"]) for _ in range(4)]
    jobs = {job.id: job for job in scene.claim()}
    waiting = scene.add(depends_on={"tags": ["t"]})
    for job_id in (ids[3], ids[0], ids[2]):
        scene.complete(jobs[job_id])
        assert _claimed(scene) == []
    scene.complete(jobs[ids[1]])
    assert _claimed(scene) == [waiting]


def test_a_long_chain_of_tagged_jobs_costs_one_look_for_each_end(scene: Scene) -> None:
    """Each waits for its predecessor, not all of them for the first."""
    options = JobOptions(job_type="work", tags=["t"], depends_on={"tags": ["t"]})  # type: ignore[arg-type]
    ids = scene.store.add([options] * 50, now_us=scene.now_us)
    assert [_blocker(scene, each) for each in ids[1:]] == ids[:-1]


def test_tags_come_after_prerequisites(scene: Scene) -> None:
    """The barrier is looked for when the last edge is settled, and time counts after it."""
    parent, tagged = scene.add("parent"), scene.add("tagged", tags=["t"])
    child = scene.add(depends_on={"jobIds": [parent], "tags": ["t"]})
    assert _blocker(scene, child) is None
    (job,) = scene.claim(types=["parent"])
    scene.complete(job)
    assert (_claimed(scene), _blocker(scene, child)) == ([], tagged)
    (job,) = scene.claim(types=["tagged"])
    scene.complete(job)
    assert _claimed(scene) == [child]


def test_a_dependent_that_is_cancelled_with_its_parent_opens_barriers_too(scene: Scene) -> None:
    """It had the tags, and it has ended."""
    parent = scene.add_and_claim(max_attempts=1)
    scene.add("other", tags=["t"], depends_on={"jobIds": [parent.id]})
    waiting = scene.add(depends_on={"tags": ["t"]})
    scene.end(parent)
    assert _claimed(scene) == [waiting]


def test_a_job_that_is_cancelled_at_a_barrier_leaves_it(scene: Scene) -> None:
    """And stands before it again when it is retried."""
    tagged = scene.add_and_claim(tags=["t"])
    waiting = scene.add(depends_on={"tags": ["t"]})
    scene.store.cancel(waiting, now_us=scene.now_us)
    assert rows(scene, "SELECT * FROM barrier") == []
    scene.store.retry(waiting, now_us=scene.now_us)
    assert _claimed(scene) == []
    scene.complete(tagged)
    assert _claimed(scene) == [waiting]


def test_a_retried_job_holds_barriers_again(scene: Scene) -> None:
    """For those that are added from now on."""
    job = scene.add_and_claim(tags=["t"], max_attempts=1)
    scene.end(job)
    scene.store.retry(job.id, now_us=scene.now_us)
    waiting = scene.add("other", depends_on={"tags": ["t"]})
    assert _claimed(scene, "other") == []
    scene.complete(scene.claim()[0])
    assert _claimed(scene, "other") == [waiting]


def test_more_waiting_jobs_than_one_end_may_open_are_left_to_the_repair_pass(scene: Scene) -> None:
    """As with dependents."""
    tagged = scene.add_and_claim(tags=["t"])
    waiting = JobOptions(job_type="other", depends_on={"tags": ["t"]})  # type: ignore[arg-type]
    ids = scene.store.add([waiting] * (MOST_AT_ONCE + 3), now_us=scene.now_us)
    scene.complete(tagged)
    assert rows(scene, "SELECT count(*) FROM barrier") == [(3,)]
    scene.tampered = True  # what is left to do is no breach here
    maintain(scene)
    assert _count_claimed(scene, len(ids)) == len(ids)


def _count_claimed(scene: Scene, limit: int) -> int:
    return len(scene.claim(limit, types=["other"]))


def test_a_barrier_holds_a_job_of_a_lane_outside(scene: Scene) -> None:
    """It takes no place in its group while it waits for tags."""
    scene.store.controls.set_limit("group", "g", max_running=1, now_us=scene.now_us)
    tagged = scene.add_and_claim(tags=["t"])
    waiting = scene.add(group_id="g", depends_on={"tags": ["t"]})
    other = scene.add(group_id="g")
    (job,) = scene.claim()
    assert job.id == other
    scene.complete(tagged)
    assert _claimed(scene) == []
    scene.complete(job)
    assert _claimed(scene) == [waiting]
    assert scene.get(waiting).status is JobStatus.PROCESSING
