"""The fence: a write about an attempt counts only while that attempt owns the job."""

from __future__ import annotations

from jobwarden.jobs import JobStatus, Outcome, complete, end_attempt
from jobwarden.store import GiveBack, ProgressNote, Refusal

from .scene import Scene


def test_a_late_completion_by_a_superseded_owner_is_refused(scene: Scene) -> None:
    """Completing by id alone would accept two results; the row keeps running and gets no event."""
    late = scene.add_and_claim()
    newer = scene.supersede(late)
    before = scene.store.events(late.id)
    receipts = scene.complete(late)
    assert receipts.refused == [Refusal(late.id, late.fence, settled=False)]
    assert scene.get(late.id).status is JobStatus.PROCESSING
    assert scene.get(late.id).output is None
    assert scene.store.events(late.id) == before
    assert scene.complete(newer).refused == []


def test_a_late_failure_by_a_superseded_owner_is_refused(scene: Scene) -> None:
    """A failure of an attempt that lost its job neither ends the newer attempt nor leaves an event."""
    late = scene.add_and_claim()
    newer = scene.supersede(late)
    before = scene.store.events(late.id)
    receipts = scene.end(late)
    assert receipts.refused == [Refusal(late.id, late.fence, settled=False)]
    assert scene.get(late.id).status is JobStatus.PROCESSING
    assert scene.get(late.id).error_history == []
    assert scene.store.events(late.id) == before
    assert scene.complete(newer).refused == []


def test_late_progress_by_a_superseded_owner_is_refused(scene: Scene) -> None:
    """It changes neither the newer attempt's progress nor its progress event."""
    late = scene.add_and_claim()
    newer = scene.supersede(late)
    scene.transact(progress=[ProgressNote(newer.id, newer.fence, 70)])
    before = scene.store.events(late.id)
    receipts = scene.transact(progress=[ProgressNote(late.id, late.fence, 10)])
    assert receipts.refused == [Refusal(late.id, late.fence, settled=False)]
    assert scene.get(late.id).progress == 70
    assert scene.store.events(late.id) == before


def test_a_late_give_back_by_a_superseded_owner_is_refused(scene: Scene) -> None:
    """Giving back what one no longer has would free a running job."""
    late = scene.add_and_claim()
    newer = scene.supersede(late)
    receipts = scene.give_back(late)
    assert receipts.refused == [Refusal(late.id, late.fence, settled=False)]
    assert scene.get(late.id).status is JobStatus.PROCESSING
    assert scene.complete(newer).refused == []


def test_an_end_from_before_a_newer_attempt_is_lost_not_settled(scene: Scene) -> None:
    """That somebody else has ended the job since is no answer to an end of ours."""
    late = scene.add_and_claim()
    scene.complete(scene.supersede(late))
    assert scene.complete(late).refused == [Refusal(late.id, late.fence, settled=False)]


def test_an_end_whose_answer_was_lost_is_settled_when_repeated(scene: Scene) -> None:
    """The row still has our fence and is no longer processing: only our own write can have done that."""
    done, failed = scene.add_and_claim(), scene.add_and_claim()
    ending = end_attempt(failed, Outcome.FAILED, error="it broke", now_us=scene.now_us, jitter=1.0)
    endings = [complete(done, output="1", now_us=scene.now_us), ending]
    assert scene.transact(endings=endings).refused == []
    before = scene.store.events(done.id), scene.store.events(failed.id)
    refused = scene.transact(endings=endings).refused
    assert {(refusal.job_id, refusal.settled) for refusal in refused} == {(done.id, True), (failed.id, True)}
    assert (scene.store.events(done.id), scene.store.events(failed.id)) == before


def test_one_refused_end_does_not_disturb_the_others(scene: Scene) -> None:
    """In a batch exactly the refused entry is reported; the others are written."""
    late, good, bad = scene.add_and_claim(), scene.add_and_claim(), scene.add_and_claim()
    scene.supersede(late)
    endings = [complete(job, output="1", now_us=scene.now_us) for job in (late, good)]
    endings.append(end_attempt(bad, Outcome.FAILED, error="it broke", now_us=scene.now_us, jitter=1.0))
    assert scene.transact(endings=endings).refused == [Refusal(late.id, late.fence, settled=False)]
    assert scene.get(good.id).status is JobStatus.COMPLETED
    assert scene.get(bad.id).status is JobStatus.FAILED


def test_another_node_cannot_write_about_an_attempt(scene: Scene) -> None:
    """Job and fence are not enough: a node writes only about its own attempts."""
    job = scene.add_and_claim()
    ending = complete(job, output="1", now_us=scene.now_us)
    notes, returns = [ProgressNote(job.id, job.fence, 5)], [GiveBack(job.id, job.fence)]
    failure = end_attempt(job, Outcome.FAILED, error="it broke", now_us=scene.now_us, jitter=1.0)
    for parts in ({"endings": [ending]}, {"endings": [failure]}, {"progress": notes}, {"give_backs": returns}):
        receipts = scene.transact(node="node-2", name="host:2", **parts)
        assert receipts.refused == [Refusal(job.id, job.fence, settled=False)]
    assert scene.event_types(job.id) == ["added", "processing"]
    assert scene.complete(job).refused == []


def test_the_attempts_own_end_is_refused_after_its_node_was_freed(scene: Scene) -> None:
    """Freeing raises the fence, so a node that was declared dead too early cannot end the job any more."""
    job = scene.add_and_claim()
    assert scene.writer.free_node("node-1", now_us=scene.now_us, jitter=lambda: 1.0) == 1
    assert scene.complete(job).refused == [Refusal(job.id, job.fence, settled=False)]
    assert scene.get(job.id).status is JobStatus.PENDING


def test_an_attempt_that_ends_twice_in_one_batch_has_one_outcome(scene: Scene) -> None:
    """At most one outcome is accepted per attempt, also from a confused caller."""
    job = scene.add_and_claim()
    ending = complete(job, output="1", now_us=scene.now_us)
    scene.transact(endings=[ending, ending])
    assert len(scene.store.attempts(job.id)) == 1


def test_a_late_end_beside_the_newer_one_is_told_apart(scene: Scene) -> None:
    """Two fences of one job in one batch: the current one counts, the other one is refused."""
    late = scene.add_and_claim()
    newer = scene.supersede(late)
    endings = [
        complete(late, output='"late"', now_us=scene.now_us),
        complete(newer, output='"new"', now_us=scene.now_us),
    ]
    assert scene.transact(endings=endings).refused == [Refusal(late.id, late.fence, settled=False)]
    assert scene.get(late.id).output == "new"
    assert [attempt.fence for attempt in scene.store.attempts(late.id)] == [newer.fence]


def test_a_give_back_whose_answer_was_lost_is_refused_when_repeated(scene: Scene) -> None:
    """It raised the fence: the second one finds nothing and takes off no second attempt."""
    job = scene.add_and_claim()
    assert scene.give_back(job).refused == []
    assert scene.give_back(job).refused == [Refusal(job.id, job.fence, settled=False)]
    assert scene.get(job.id).attempts == 0
