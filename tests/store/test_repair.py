"""The repair pass: what a crash, or two transactions that met, left undone is done by the next round."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jobwarden.jobs import JobOptions, JobStatus
from jobwarden.store.keeping.rounds import LANES, Rounds

from .maintaining import KEEP_ALL, USUAL, maintain, rows, tamper
from .scene import Scene


def _end_without_a_word(scene: Scene, job_id: int, status: str) -> None:
    """The row says that it ended; nothing followed."""
    tamper(
        scene,
        "UPDATE job SET status = :status, ended_at = :now, ready = NULL, due_at = NULL, gate = NULL WHERE id = :id",
        "UPDATE tag SET live = NULL WHERE job_id = :id",
        id=job_id,
        status=status,
        now=scene.now_us,
    )


def _child_of(scene: Scene, parent: int, **fields: Any) -> int:
    return scene.add(depends_on={"jobIds": [parent]}, **fields)


def test_a_dependent_of_a_completed_job_runs(scene: Scene) -> None:
    """The crash between the finish and the settling of its edges costs a round, not the job."""
    parent = scene.add()
    child = _child_of(scene, parent)
    _end_without_a_word(scene, parent, "completed")
    assert scene.claim() == []
    assert maintain(scene) == {"settled": 1}
    assert [job.id for job in scene.claim()] == [child]
    assert maintain(scene) == {}


def test_a_dependent_of_a_cancelled_job_is_cancelled_down_to_the_last(scene: Scene) -> None:
    """One round follows a cascade through all levels, each with its event."""
    first = scene.add()
    chain = [first]
    for _ in range(5):
        chain.append(_child_of(scene, chain[-1]))
    _end_without_a_word(scene, first, "cancelled")
    assert maintain(scene) == {"settled": 5}
    assert {scene.get(each).status for each in chain[1:]} == {JobStatus.CANCELLED}
    assert scene.event_types(chain[-1]) == ["added", "cancelled"]
    assert rows(scene, "SELECT count(*) FROM edge WHERE settled IS NULL") == [(0,)]


def test_a_dependent_of_a_removed_job_does_not_wait_for_ever(scene: Scene) -> None:
    """Nobody can say any more that the prerequisite completed."""
    parent = scene.add()
    child = _child_of(scene, parent)
    tamper(scene, "DELETE FROM job WHERE id = :id", id=parent)
    assert maintain(scene) == {"settled": 1}
    assert scene.get(child).status is JobStatus.CANCELLED


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_barrier_opens_however_its_job_ended(scene: Scene, status: str) -> None:
    """The barrier names a job that has ended: the next is looked for, and there is none."""
    earlier = scene.add(tags=["nightly"])
    waiting = scene.add(depends_on={"tags": ["nightly"]})
    _end_without_a_word(scene, earlier, status)
    assert scene.claim() == []
    assert maintain(scene) == {"settled": 1}
    assert [job.id for job in scene.claim()] == [waiting]


def test_a_barrier_stays_while_another_job_carries_its_tags(scene: Scene) -> None:
    """Looking again is not opening."""
    first, second = (scene.add("unserved", tags=["nightly"]) for _ in range(2))
    scene.add(depends_on={"tags": ["nightly"]})
    _end_without_a_word(scene, second, "completed")
    maintain(scene)
    assert scene.claim() == []
    _end_without_a_word(scene, first, "completed")
    maintain(scene)
    assert len(scene.claim()) == 1


def test_what_still_waits_is_left_alone(scene: Scene) -> None:
    """A retrying prerequisite has not ended, whatever its status says."""
    parent = scene.add_and_claim(max_attempts=2, retry_delay=1000)
    child = _child_of(scene, parent.id)
    scene.end(parent)
    assert maintain(scene) == {}
    assert scene.get(child).status is JobStatus.PENDING
    assert rows(scene, "SELECT gate FROM job WHERE id = :id", id=child) == [("parents",)]


def test_a_thousand_dependents_are_settled_in_small_batches(scene: Scene) -> None:
    """One after the other, in one round."""
    parent = scene.add()
    children = scene.store.add(
        [JobOptions.model_validate({"jobType": "work", "payload": {}, "dependsOn": {"jobIds": [parent]}})] * 1000,
        now_us=scene.now_us,
    )
    _end_without_a_word(scene, parent, "completed")
    assert maintain(scene) == {"settled": 1000}
    assert [job.id for job in scene.claim(2000)] == children


def test_a_lane_with_room_is_filled(scene: Scene) -> None:
    """Two places of which one is free: the next is admitted, and no more."""
    scene.store.controls.set_limit("group", "g", max_running=2, now_us=scene.now_us)
    for _ in range(4):
        scene.add(group_id="g")
    first, _second = scene.claim()
    tamper(
        scene,
        "UPDATE job SET status = 'completed', ended_at = :now, node_id = NULL WHERE id = :id",
        id=first.id,
        now=1,
    )
    assert maintain(scene) == {"admitted": 1}
    assert len(scene.claim()) == 1
    assert maintain(scene) == {}


def test_a_job_in_a_lane_that_is_none_any_more_runs(scene: Scene) -> None:
    """The limit went away while the job was on its way into the lane."""
    scene.store.controls.set_limit("type", "work", max_running=0, now_us=scene.now_us)
    job_id = scene.add()
    assert scene.claim() == []
    tamper(scene, "DELETE FROM control")
    assert maintain(scene) == {"admitted": 1}
    assert [job.id for job in scene.claim()] == [job_id]


def test_groups_are_walked_through_in_turn(scene: Scene) -> None:
    """Each round looks at a bounded number of groups; the ones after them come next."""
    number = LANES + 3
    scene.store.controls.set_limit("group", "*", max_running=1, now_us=scene.now_us)
    for each in range(number):
        for _ in range(3):
            scene.add(group_id=f"g{each:03}")
    assert len(scene.claim(1000)) == number
    ended = "UPDATE job SET status = 'completed', ended_at = :now, node_id = NULL WHERE status = 'processing'"
    tamper(scene, ended, now=1)
    rounds = Rounds(msgspec.structs.replace(USUAL, retention=KEEP_ALL))
    assert maintain(scene, rounds=rounds) == {"admitted": LANES}
    assert maintain(scene, rounds=rounds) == {"admitted": 3}
    assert len(scene.claim(1000)) == number
