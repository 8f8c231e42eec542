"""Editing by people: each field, its clearing, what follows from it, and what may not be edited."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from jobwarden.clock import SECOND_US, to_datetime
from jobwarden.errors import InvalidJobError, JobStateError, UnknownJobError
from jobwarden.jobs import JobChanges, JobFilter, JobStatus, Outcome, TypeTerms

from .scene import Scene

DAY_SECONDS = 86_400


def edit(scene: Scene, job_id: int, **changes: Any) -> None:
    scene.store.bulk.edit(job_id, JobChanges.parse(**changes), now_us=scene.now_us)


def in_seconds(scene: Scene, seconds: float) -> datetime:
    return to_datetime(scene.now_us + int(seconds * SECOND_US))


FIELDS: dict[str, tuple[Any, Any]] = {
    "payload": ({"to": "b"}, None),
    "priority": (7, 7),
    "timeout_ms": (5_000, None),
    "heartbeat_timeout_ms": (900, None),
    "force_kill_on_timeout": (True, True),
    "max_attempts": (9, 3),
    "retry_delay": (2.5, 60.0),
    "retry_backoff": (False, False),
    "retry_delay_max": (99.0, None),
    "tags": (["x", "y"], []),
    "dead_letter_job_type": ("grave", None),
    "group_id": ("g", None),
}
"""Field: what it is set to, and what it is after it was cleared (the same where it cannot be)."""


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_can_be_set_and_cleared(scene: Scene, field: str) -> None:
    """Nothing else changes; None clears what may be empty, so that the default holds again."""
    job_id = scene.add(payload={"to": "a"}, tags=["old"])
    before = scene.get(job_id).model_dump()
    scene.pass_seconds(5)
    value, cleared = FIELDS[field]
    edit(scene, job_id, **{field: value})
    assert differences(before, scene.get(job_id).model_dump()) == {field: value}
    if cleared != value:
        edit(scene, job_id, **{field: None})
        assert getattr(scene.get(job_id), field) == cleared


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if before[name] != value and name != "updated_at"}


def test_all_fields_can_be_edited_at_once(scene: Scene) -> None:
    """One event names them, by their public names; values are not in it."""
    job_id = scene.add()
    edit(scene, job_id, run_at=in_seconds(scene, 60), **{field: value for field, (value, _) in FIELDS.items()})
    assert [getattr(scene.get(job_id), field) for field in FIELDS] == [value for value, _ in FIELDS.values()]
    event = scene.last_event(job_id)
    assert event.type == "edited"
    assert set(event.metadata["changes"]) == {
        JobChanges.model_fields[name].alias or name for name in (*FIELDS, "run_at")
    }
    assert set(event.metadata) == {"changes"}


def test_an_edit_is_no_attempt(scene: Scene) -> None:
    """The claim after it gets the next fence and the first attempt, with the values of the edit."""
    job_id = scene.add()
    edit(scene, job_id, payload=[1], timeout_ms=77, max_attempts=2)
    (job,) = scene.claim()
    assert (job.fence, job.attempts, job.payload, job.timeout_ms, job.max_attempts) == (1, 1, "[1]", 77, 2)


def test_a_higher_priority_is_claimed_first(scene: Scene) -> None:
    """The rank follows the priority, of ready jobs and of those whose time comes later."""
    first, second = scene.add(), scene.add()
    later = scene.add(run_at=in_seconds(scene, 5))
    edit(scene, second, priority=1)
    edit(scene, later, priority=2)
    scene.pass_seconds(10)
    assert [job.id for job in scene.claim()] == [later, second, first]


def test_a_ready_job_can_be_put_off(scene: Scene) -> None:
    """It leaves the claim until its new time has come, and the supervisor knows when that is."""
    job_id = scene.add()
    edit(scene, job_id, run_at=in_seconds(scene, 100))
    due_us = scene.now_us + 100 * SECOND_US
    assert scene.claim() == []
    assert scene.transact().next_due_us == due_us
    scene.pass_seconds(100)
    assert [job.id for job in scene.claim()] == [job_id]


def test_a_job_of_later_can_be_called_forward(scene: Scene) -> None:
    """None is now; a moment gone by is too."""
    first = scene.add(run_at=in_seconds(scene, DAY_SECONDS))
    second = scene.add(run_at=in_seconds(scene, DAY_SECONDS))
    edit(scene, first, run_at=None)
    assert scene.get(first).run_at == to_datetime(scene.now_us)
    edit(scene, second, run_at=in_seconds(scene, -60))
    assert [job.id for job in scene.claim()] == [second, first]


def test_a_new_run_at_leaves_the_wait_of_a_retrying_job_alone(scene: Scene) -> None:
    """Its next attempt was planned by the retry rule; `retry` is what shortens it."""
    job = scene.add_and_claim(retry_delay=1_000, retry_backoff=False)
    scene.end(job)
    planned = scene.get(job.id).next_attempt_at
    edit(scene, job.id, run_at=None, group_id="g")
    record = scene.get(job.id)
    assert (record.status, record.next_attempt_at) == (JobStatus.FAILED, planned)
    assert scene.claim() == []
    scene.pass_seconds(1_000)
    assert [each.id for each in scene.claim()] == [job.id]


def test_a_retrying_job_can_be_edited(scene: Scene) -> None:
    """It waits for its turn like a pending one."""
    job = scene.add_and_claim(retry_delay=10)
    scene.end(job)
    edit(scene, job.id, payload={"fixed": True}, max_attempts=2)
    scene.pass_seconds(100)
    (again,) = scene.claim()
    assert (again.payload, again.max_attempts) == ('{"fixed":true}', 2)


def test_an_edit_of_something_else_leaves_a_retry_by_hand_ready(scene: Scene) -> None:
    """`retry` made it due before its run_at; an edit of its group does not put it off again."""
    job_id = scene.add(run_at=in_seconds(scene, DAY_SECONDS))
    scene.store.cancel(job_id, now_us=scene.now_us)
    scene.store.retry(job_id, now_us=scene.now_us)
    edit(scene, job_id, group_id="g")
    assert [job.id for job in scene.claim()] == [job_id]


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_that_leaves_no_attempt_is_refused(scene: Scene, limit: int) -> None:
    """Attempts would pass their limit; the sentence names the job, and nothing was changed."""
    job = scene.add_and_claim(retry_delay=0)
    scene.end(job)
    (again,) = scene.claim()
    scene.end(again)
    before = scene.get(job.id), scene.store.events(job.id)
    with pytest.raises(InvalidJobError, match=f"max_attempts: {limit} leaves job {job.id} no attempt, it has used 2"):
        edit(scene, job.id, max_attempts=limit, priority=5)
    assert (scene.get(job.id), scene.store.events(job.id)) == before
    edit(scene, job.id, max_attempts=3)


@pytest.mark.parametrize(("used", "limit"), [(1, 3), (4, 5)])
def test_a_cleared_limit_never_falls_below_what_was_used(scene: Scene, used: int, limit: int) -> None:
    """The default of 3, or one attempt more: a handler's own default may be lower than what is used."""
    job_id = scene.add(max_attempts=10, retry_delay=0)
    for _ in range(used):
        scene.end(scene.claim()[0])
        scene.pass_seconds(1)
    edit(scene, job_id, max_attempts=None)
    assert scene.get(job_id).max_attempts == limit
    (job,) = scene.claim(types=[TypeTerms(job_type="work", max_attempts=1)])
    assert job.attempts <= job.max_attempts


def test_a_cleared_limit_of_a_new_job_is_the_handlers(scene: Scene) -> None:
    """What was never tried takes the default of whoever claims it."""
    job_id = scene.add(max_attempts=9)
    edit(scene, job_id, max_attempts=None)
    (job,) = scene.claim(types=[TypeTerms(job_type="work", max_attempts=1)])
    assert job.max_attempts == 1


def test_tags_are_replaced(scene: Scene) -> None:
    """In the given order, each once; filters find the job by the new ones only."""
    job_id = scene.add(tags=["a", "b"])
    edit(scene, job_id, tags=["c", "b", "c"])
    assert scene.get(job_id).tags == ["c", "b"]
    assert [job.id for job in scene.store.find(tags=["c"])] == [job_id]
    assert scene.store.find(tags=["a"]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": float("nan")},
        {"payload": "a\0b"},
        {"payload": "x" * 1_100_000},
        {"payload": {1, 2}},
        {"tags": ["a\0"]},
        {"tags": [f"tag-{number}" for number in range(101)]},
        {"priority": None},
        {"max_attempts": 0},
        {"run_at": datetime(2030, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"status": "pending"},
        {},
    ],
)
def test_what_cannot_be_added_cannot_be_edited_in(scene: Scene, changes: dict[str, Any]) -> None:
    """One sentence, and the job stays as it was."""
    job_id = scene.add()
    before = scene.get(job_id)
    with pytest.raises(InvalidJobError):
        edit(scene, job_id, **changes)
    assert scene.get(job_id) == before


def test_a_running_or_ended_job_is_refused(scene: Scene) -> None:
    """What its attempt was given stands; the sentence says in which state it is."""
    job = scene.add_and_claim()
    with pytest.raises(JobStateError, match="is processing, so it cannot be edited"):
        edit(scene, job.id, priority=1)
    scene.complete(job)
    with pytest.raises(JobStateError, match="is completed, so it cannot be edited"):
        edit(scene, job.id, priority=1)
    gone = scene.add()
    scene.store.cancel(gone, now_us=scene.now_us)
    with pytest.raises(JobStateError, match="is cancelled"):
        edit(scene, gone, priority=1)
    assert scene.get(job.id).priority == 0
    assert "edited" not in scene.event_types(job.id) + scene.event_types(gone)
    with pytest.raises(UnknownJobError, match="4711"):
        edit(scene, 4711, priority=1)


def test_edit_all_changes_the_free_ones_and_counts_the_running(scene: Scene) -> None:
    """Ended ones are none of its business."""
    done = scene.add_and_claim()
    scene.complete(done)
    failed = scene.add_and_claim()
    scene.end(failed)
    running = scene.add_and_claim()
    other = scene.add("other")
    ready, later = scene.add(), scene.add(run_at=in_seconds(scene, 60))
    changes = JobChanges.parse(priority=4)
    changed = scene.store.bulk.edit_all(JobFilter.parse(job_type="work"), changes, now_us=scene.now_us)
    assert (changed.ids, changed.running) == ([failed.id, ready, later], 1)
    priorities = {job.id: job.priority for job in scene.store.find()}
    assert priorities == {done.id: 0, failed.id: 4, running.id: 0, other: 0, ready: 4, later: 4}


def test_edit_all_is_all_or_nothing(scene: Scene) -> None:
    """One job of many that cannot take it, in a later chunk, and none is changed."""
    spent = scene.add_and_claim(max_attempts=5)
    scene.end(spent)
    others = [scene.add() for _ in range(3)]
    with pytest.raises(InvalidJobError, match=f"job {spent.id} "):
        scene.store.bulk.edit_all(JobFilter(), JobChanges.parse(max_attempts=1, priority=1), now_us=scene.now_us)
    assert {scene.get(job_id).priority for job_id in (spent.id, *others)} == {0}


def test_an_edit_and_a_claim_never_both_win(scene: Scene) -> None:
    """The claim that came first runs what it was given; the edit is told."""
    job_id = scene.add(payload="old")
    (job,) = scene.claim()
    with pytest.raises(JobStateError):
        edit(scene, job_id, payload="new")
    assert job.payload == '"old"'
    scene.give_back(job)
    edit(scene, job_id, payload="new")
    assert scene.claim()[0].payload == '"new"'


def test_the_owner_of_an_attempt_keeps_it_when_its_neighbours_are_edited(scene: Scene) -> None:
    """An edit by filter touches no fence."""
    job = scene.add_and_claim()
    scene.store.bulk.edit_all(JobFilter(), JobChanges.parse(priority=1), now_us=scene.now_us)
    assert scene.complete(job).refused == []
    assert scene.end(scene.add_and_claim(), Outcome.FAILED).refused == []


# limits


def limit(scene: Scene, scope: str, name: str, most: int) -> None:
    scene.store.controls.set_limit(scope, name, max_running=most, now_us=scene.now_us)


def test_a_job_edited_into_a_full_group_waits_for_room(scene: Scene) -> None:
    """And one that is edited out of it leaves its place to the next."""
    limit(scene, "group", "g", 1)
    first = scene.add(group_id="g")
    free = scene.add()
    edit(scene, free, group_id="g")
    assert scene.get(free).pending_reason == "waits for its limit"
    edit(scene, first, group_id=None)
    assert {job.id for job in scene.claim()} == {first, free}


def test_a_job_edited_into_a_group_with_room_is_ready_at_once(scene: Scene) -> None:
    """In the same transaction; nobody comes by later to admit it."""
    limit(scene, "group", "g", 1)
    job_id = scene.add()
    edit(scene, job_id, group_id="g")
    assert scene.get(job_id).pending_reason is None
    assert [job.id for job in scene.claim()] == [job_id]


def test_a_job_of_a_limited_type_that_is_put_off_leaves_its_place(scene: Scene) -> None:
    """The next one becomes ready in the same transaction."""
    limit(scene, "type", "work", 1)
    first, second = scene.add(), scene.add()
    edit(scene, first, run_at=in_seconds(scene, 1_000))
    assert [job.id for job in scene.claim()] == [second]


def test_a_higher_priority_overtakes_those_that_wait_in_its_group(scene: Scene) -> None:
    """But not the one that is ready already (R14)."""
    limit(scene, "group", "g", 1)
    ready, waiting, urgent = (scene.add(group_id="g") for _ in range(3))
    edit(scene, urgent, priority=9)
    order = []
    for _ in range(3):
        (job,) = scene.claim()
        order.append(job.id)
        scene.complete(job)
    assert order == [ready, urgent, waiting]


# dependencies


def test_an_edit_does_not_open_a_gate(scene: Scene) -> None:
    """A job that waits for another goes on waiting, whatever its run_at; then it runs at its new time."""
    parent = scene.add("other")
    child = scene.add(depends_on={"jobIds": [parent]})
    edit(scene, child, run_at=in_seconds(scene, 500), priority=3, group_id="g")
    assert scene.get(child).pending_reason == "waits for other jobs"
    scene.pass_seconds(1_000)
    assert scene.claim() == []
    scene.complete(scene.claim(types=["other"])[0])
    assert [job.id for job in scene.claim()] == [child]


def test_a_job_that_loses_its_tags_lets_those_that_waited_for_them_go(scene: Scene) -> None:
    """They are looked at again in the same transaction, and wait for another one if there is one."""
    first, second = scene.add("other", tags=["a", "b"]), scene.add("other", tags=["a"])
    waiting = scene.add(depends_on={"tags": ["a"]})
    edit(scene, first, tags=["b"])
    assert scene.claim() == []
    edit(scene, second, tags=None)
    assert [job.id for job in scene.claim()] == [waiting]


def test_new_tags_hold_up_jobs_that_are_added_later(scene: Scene) -> None:
    """A job without tags that gets some is as good as one that was added with them."""
    tagged = scene.add("other")
    edit(scene, tagged, tags=["a"])
    waiting = scene.add(depends_on={"tags": ["a"]})
    assert scene.get(waiting).pending_reason == "waits for tagged jobs"
    scene.complete(scene.claim(types=["other"])[0])
    assert [job.id for job in scene.claim()] == [waiting]


def test_a_dead_letter_type_that_was_edited_in_takes_effect(scene: Scene) -> None:
    """And one that was cleared leaves none."""
    first, second = (scene.add(max_attempts=1, dead_letter_job_type="grave") for _ in range(2))
    edit(scene, first, dead_letter_job_type=None)
    edit(scene, second, dead_letter_job_type="other grave")
    for job in scene.claim():
        scene.end(job)
    assert [job.job_type for job in scene.store.find() if job.job_type != "work"] == ["other grave"]
