"""What follows from an end, in its own transaction: dependents run or end, and nothing follows from a mere failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from jobwarden.jobs import ClaimedJob, FailureReason, JobFilter, JobOptions, JobStatus, Outcome, complete, end_attempt
from jobwarden.store.gates.barriers import MOST_AT_ONCE

from .maintaining import maintain, rows
from .scene import NAME, NODE, Scene

GOOD = JobStatus.PENDING
GONE = JobStatus.CANCELLED


def _child(scene: Scene, *parents: int, on_failure: str = "cancel", **fields: Any) -> int:
    named = [{"id": each, "onParentFailure": on_failure} for each in parents]
    return scene.add(depends_on={"jobIds": named}, **fields)


def _free_node(scene: Scene) -> None:
    scene.pass_seconds(1)
    scene.writer.free_node(NODE, now_us=scene.now_us, jitter=lambda: 1.0)
    scene.register(NODE, NAME)


def _crash(scene: Scene, job: ClaimedJob) -> None:
    scene.end(job, Outcome.CRASHED, error="signal 9")


def _time_out(scene: Scene, job: ClaimedJob) -> None:
    scene.end(job, Outcome.TIMED_OUT, error="too slow")


def _fail(scene: Scene, job: ClaimedJob) -> None:
    scene.end(job)


def _cancel(scene: Scene, job: ClaimedJob) -> None:
    scene.store.cancel(job.id, now_us=scene.now_us)
    scene.end(job, Outcome.CANCELLED, error="not needed")


def _cancel_unseen(scene: Scene, job: ClaimedJob) -> None:
    """The owner had not seen the wish when the attempt failed, to be tried again."""
    scene.store.cancel(job.id, now_us=scene.now_us)
    scene.end(job, retry_after=60)


def _cancel_given_back(scene: Scene, job: ClaimedJob) -> None:
    scene.store.cancel(job.id, now_us=scene.now_us)
    scene.give_back(job)


def _cancel_lost(scene: Scene, job: ClaimedJob) -> None:
    scene.store.cancel(job.id, now_us=scene.now_us)
    _free_node(scene)


def _lose(scene: Scene, job: ClaimedJob) -> None:
    """Again and again, until it is quarantined."""
    for _ in range(5):
        _free_node(scene)
        scene.claim()
    assert scene.get(job.id).pending_reason == "quarantined"


def _unstorable(scene: Scene, job: ClaimedJob) -> None:
    scene.complete(job, output="{cut off")


ENDS: list[Callable[[Scene, ClaimedJob], None]] = [
    _fail,
    _crash,
    _time_out,
    _cancel,
    _cancel_unseen,
    _cancel_given_back,
    _cancel_lost,
    _lose,
    _unstorable,
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("on_failure", "status"), [("cancel", GONE), ("fail", JobStatus.FAILED), ("run", GOOD)])
def test_every_way_to_end_badly_reaches_the_dependents(
    scene: Scene, end: Callable[[Scene, ClaimedJob], None], on_failure: str, status: JobStatus
) -> None:
    """However the last attempt ended, and whoever wrote it: in that transaction the dependent goes its way."""
    once = end not in {_cancel_unseen, _lose}
    parent = scene.add_and_claim(max_attempts=1 if once else 3)
    child = _child(scene, parent.id, on_failure=on_failure, job_type="other")
    end(scene, parent)
    record = scene.get(child)
    assert record.status is status
    if status is GOOD:
        assert [job.id for job in scene.claim(types=["other"])] == [child]
    else:
        assert record.failure_reason is FailureReason.DEPENDENCY
        assert f"job {parent.id}" in str(scene.last_event(child).metadata)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.INTERRUPTED])
def test_a_failure_that_will_be_retried_settles_nothing(scene: Scene, outcome: Outcome) -> None:
    """The prerequisite has not ended: its dependent waits on, and runs when the next attempt completes."""
    parent = scene.add_and_claim(max_attempts=2, retry_delay=0)
    child = _child(scene, parent.id)
    scene.end(parent, outcome)
    assert scene.get(child).status is GOOD
    (again,) = scene.claim()
    assert again.id == parent.id
    scene.complete(again)
    assert [job.id for job in scene.claim()] == [child]


def test_a_dependent_waits_for_all_of_its_prerequisites(scene: Scene) -> None:
    """The last one lets it go, also when two end in one transaction."""
    parents = [scene.add() for _ in range(3)]
    jobs = scene.claim()
    child = _child(scene, *parents)
    scene.complete(jobs[0])
    assert scene.claim() == []
    scene.transact(endings=[complete(job, output=None, now_us=scene.now_us) for job in jobs[1:]])
    assert [job.id for job in scene.claim()] == [child]


def test_the_first_failure_decides_and_the_rest_changes_nothing(scene: Scene) -> None:
    """A dependent ends once."""
    parents = [scene.add(max_attempts=1) for _ in range(2)]
    jobs = scene.claim()
    child = _child(scene, *parents)
    for job in jobs:
        scene.end(job)
    assert scene.event_types(child) == ["added", "cancelled"]
    assert f"job {parents[0]}" in scene.last_event(child).metadata["reason"]


@pytest.mark.parametrize("first", ["add", "finish"])
@pytest.mark.parametrize("batch", [True, False])
def test_the_dependent_runs_whichever_of_add_and_finish_comes_first(scene: Scene, first: str, *, batch: bool) -> None:
    """The one that commits second sees what the first did."""
    parent = scene.add_and_claim()
    options = [JobOptions(job_type="work", depends_on={"jobIds": [parent.id]})] * (5 if batch else 1)  # type: ignore[arg-type]
    if first == "finish":
        scene.complete(parent)
    ids = scene.store.add(options, now_us=scene.now_us)
    if first == "add":
        scene.complete(parent)
    assert [job.id for job in scene.claim()] == ids


def test_an_add_in_an_open_transaction_keeps_a_finish_waiting_not_its_dependent(scene: Scene) -> None:
    """A client adds in a transaction of its own and commits late: the finish comes after it, and releases the job."""
    parent = scene.add_and_claim()
    dependent = JobOptions(job_type="work", depends_on={"jobIds": [parent.id]})  # type: ignore[arg-type]
    with scene.store._access.dialect.engine.connect() as connection, connection.begin():  # noqa: SLF001 - a client's
        (child,) = scene.store.add([dependent], now_us=scene.now_us, connection=connection)
    scene.complete(parent)
    assert [job.id for job in scene.claim()] == [child]


def test_a_refused_end_has_no_consequences(scene: Scene) -> None:
    """A late owner's failure settles nothing; the attempt that counts does."""
    late = scene.add_and_claim(max_attempts=1)
    child = _child(scene, late.id)
    newer = scene.supersede(late)
    assert scene.end(late).refused
    assert scene.get(child).status is GOOD
    scene.complete(newer)
    assert [job.id for job in scene.claim()] == [child]


def test_two_ends_of_one_attempt_count_once(scene: Scene) -> None:
    """The first of them holds, for the job, its tally and its dependents."""
    parent = scene.add_and_claim(max_attempts=1)
    child = _child(scene, parent.id)
    good = complete(parent, output=None, now_us=scene.now_us)
    bad = end_attempt(parent, Outcome.FAILED, error="late", now_us=scene.now_us, jitter=1.0)
    scene.transact(endings=[good, bad])
    assert scene.get(parent.id).status is JobStatus.COMPLETED
    assert [job.id for job in scene.claim()] == [child]
    assert rows(scene, "SELECT status, sum(number) FROM tally GROUP BY status") == [("completed", 1)]


def test_an_end_that_is_repeated_counts_once(scene: Scene) -> None:
    """The answer to its commit was lost: the repetition is settled, and adds nothing."""
    job = scene.add_and_claim(tags=["t"])
    ending = complete(job, output=None, now_us=scene.now_us)
    scene.transact(endings=[ending])
    assert [refusal.settled for refusal in scene.transact(endings=[ending]).refused] == [True]
    assert rows(scene, "SELECT sum(number) FROM tally") == [(1,)]


def test_ends_that_are_written_one_by_one_have_their_consequences_once(scene: Scene) -> None:
    """One bad row sends the batch through savepoints: every neighbour is followed up exactly once."""
    for _ in range(6):
        scene.add(max_attempts=1, tags=["t"])
    jobs = scene.claim()
    children = [_child(scene, job.id, job_type="other") for job in jobs]
    outputs = ["1", "{cut off", "3", "4", "{cut off", "6"]
    endings = [complete(job, output=out, now_us=scene.now_us) for job, out in zip(jobs, outputs, strict=True)]
    assert len(scene.transact(endings=endings).unstorable) == 2
    expected = [JobStatus.CANCELLED if out == "{cut off" else GOOD for out in outputs]
    assert [scene.get(child).status for child in children] == expected
    found = rows(scene, "SELECT status, sum(number) FROM tally WHERE job_type = 'work' GROUP BY status ORDER BY status")
    assert found == [("completed", 4), ("failed", 2)]


def test_more_dependents_than_one_end_may_settle_are_left_to_the_repair_pass(scene: Scene) -> None:
    """An end stays short; the next round of maintenance finishes its work."""
    parent = scene.add_and_claim()
    more = 7
    dependent = JobOptions(job_type="other", depends_on={"jobIds": [parent.id]})  # type: ignore[arg-type]
    ids = scene.store.add([dependent] * (MOST_AT_ONCE + more), now_us=scene.now_us)
    scene.complete(parent)
    open_edges = "SELECT count(*) FROM edge WHERE settled IS NULL"
    assert rows(scene, open_edges) == [(more,)]
    maintain(scene)
    assert rows(scene, open_edges) == [(0,)]
    assert [job.id for job in scene.claim(len(ids), types=["other"])] == ids


def test_a_cascade_is_settled_one_level_at_a_time(scene: Scene) -> None:
    """The first level ends with the prerequisite, the others by the repair pass; each job has its own event."""
    parent = scene.add_and_claim(max_attempts=1)
    chain = [parent.id]
    for _ in range(4):
        chain.append(_child(scene, chain[-1]))
    scene.end(parent)
    assert [scene.get(each).status for each in chain[1:3]] == [GONE, GOOD]
    maintain(scene)
    assert {scene.get(each).status for each in chain[1:]} == {GONE}
    assert scene.event_types(chain[-1]) == ["added", "cancelled"]


@pytest.mark.parametrize("many", [False, True])
def test_cancelling_a_free_prerequisite_reaches_its_dependents(scene: Scene, *, many: bool) -> None:
    """In the same call, by id or by filter; it holds no barrier and no place in a lane any more."""
    scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
    parent = scene.add(tags=["t"])
    child = _child(scene, parent, job_type="other")
    waiting = scene.add("other", depends_on={"tags": ["t"]})
    second = scene.add()
    if many:
        scene.store.bulk.cancel_all(JobFilter.parse(ids=[parent]), now_us=scene.now_us)
    else:
        scene.store.cancel(parent, now_us=scene.now_us)
    assert scene.get(child).status is GONE
    assert [job.id for job in scene.claim(types=["other"])] == [waiting]
    assert [job.id for job in scene.claim()] == [second]


def test_a_removed_prerequisite_will_never_complete(scene: Scene) -> None:
    """Its dependents are told that it was removed."""
    parent = scene.add("other")
    child = _child(scene, parent)
    scene.store.bulk.remove(parent, now_us=scene.now_us)
    assert scene.get(child).status is GONE
    assert f"job {parent}" in scene.last_event(child).metadata["reason"]


def test_a_dependent_of_a_limited_type_comes_through_its_lane(scene: Scene) -> None:
    """Released is not ready: at most as many run as the limit allows."""
    scene.store.controls.set_limit("type", "narrow", max_running=2, now_us=scene.now_us)
    parent = scene.add_and_claim()
    children = [_child(scene, parent.id, job_type="narrow") for _ in range(5)]
    scene.complete(parent)
    taken = scene.claim(types=["narrow"])
    assert [job.id for job in taken] == children[:2]
    scene.complete(taken[0])
    assert [job.id for job in scene.claim(types=["narrow"])] == children[2:3]


@pytest.mark.parametrize("way", ["completed", "retrying", "given back", "interrupted", "lost", "cancelled"])
def test_a_lane_is_filled_again_however_its_job_left(scene: Scene, way: str) -> None:
    """Whatever takes a job out of a limited type lets the next one in, in the same transaction."""
    scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
    first, second = scene.add(retry_delay=500), scene.add()
    (job,) = scene.claim()
    assert job.id == first
    assert scene.claim() == []
    match way:
        case "completed":
            scene.complete(job)
        case "retrying":
            scene.end(job)
        case "given back":
            scene.give_back(job)
        case "interrupted":
            scene.end(job, Outcome.INTERRUPTED)
        case "lost":
            _free_node(scene)
        case _:
            _cancel(scene, job)
    back = way in {"given back", "interrupted", "lost"}
    assert [each.id for each in scene.claim()] == [first if back else second]


@pytest.mark.parametrize("way", ["given back", "interrupted", "retrying"])
def test_jobs_that_come_back_after_a_limit_was_lowered_wait_in_their_lane(scene: Scene, way: str) -> None:
    """They were not touched while they ran; now the limit holds for them too."""
    scene.store.controls.set_limit("type", "work", max_running=3, now_us=scene.now_us)
    for _ in range(3):
        scene.add(retry_delay=0)
    jobs = scene.claim()
    scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
    for job in jobs:
        if way == "given back":
            scene.give_back(job)
        else:
            scene.end(job, Outcome.INTERRUPTED if way == "interrupted" else Outcome.FAILED)
    assert len(scene.claim()) == 1


def test_added_jobs_of_a_limited_group_wait_in_their_lane(scene: Scene) -> None:
    """One add of many: no more than the limit become ready."""
    scene.store.controls.set_limit("group", "g", max_running=2, now_us=scene.now_us)
    ids = scene.store.add([JobOptions(job_type="work", group_id="g")] * 5, now_us=scene.now_us)
    assert rows(scene, "SELECT id FROM job WHERE ready = 1") == [(each,) for each in ids[:2]]
    assert rows(scene, "SELECT count(*) FROM job WHERE gate = 'lane'") == [(3,)]


@pytest.mark.parametrize("way", ["added", "released", "at a barrier"])
def test_who_comes_into_a_lane_does_not_push_out_who_is_ready(scene: Scene, way: str) -> None:
    """A higher priority overtakes in the queue of the lane (R14), not those that were let in already."""
    scene.store.controls.set_limit("type", "work", max_running=1, now_us=scene.now_us)
    parent = scene.add("parent", tags=["t"])
    waits = {"added": {}, "released": {"jobIds": [parent]}, "at a barrier": {"tags": ["t"]}}[way]
    urgent: list[int] = []
    if way != "added":
        urgent.append(scene.add(priority=9, depends_on=waits))
    ready = scene.add()
    if way == "added":
        urgent.append(scene.add(priority=9))
    scene.complete(scene.claim(types=["parent"])[0])
    (first,) = scene.claim()
    assert first.id == ready
    scene.complete(first)
    assert [job.id for job in scene.claim()] == urgent


def test_the_end_of_plain_jobs_asks_once_whether_anything_follows(scene: Scene) -> None:
    """One statement says that nothing does, one counts them: no more, however many jobs end."""
    written: list[list[str]] = []
    for number in (1, 50):
        for _ in range(number):
            scene.add()
        endings = [complete(job, output=None, now_us=scene.now_us) for job in scene.claim()]
        written.append(_statements(scene, lambda endings=endings: scene.transact(endings=endings)))  # type: ignore[misc]
    assert written[0] == written[1]
    assert len([each for each in written[0] if each.startswith("INSERT INTO tally")]) == 1
    assert not [each for each in written[0] if each.startswith(("UPDATE tag", "UPDATE edge", "DELETE FROM barrier"))]


def _statements(scene: Scene, act: Callable[[], object]) -> list[str]:
    """How each statement begins that the writer sends."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        sent.append(" ".join(sql.split())[:40])

    connection = scene.writer._connection  # noqa: SLF001 - what goes over the wire
    event.listen(connection, "before_cursor_execute", note)
    act()
    event.remove(connection, "before_cursor_execute", note)
    return sent
