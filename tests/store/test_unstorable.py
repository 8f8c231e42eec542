"""Data that the database refuses costs its own job one attempt, and nobody else anything."""

from __future__ import annotations

from contextlib import suppress

import pytest

from jobwarden.errors import StoreError, UnknownJobError
from jobwarden.jobs import AttemptFacts, ClaimedJob, FailureReason, JobStatus, Outcome, TypeTerms, complete
from jobwarden.store import Claim, GiveBack, ProgressNote

from .scene import Scene

MALFORMED = '{"cut off'
NUL = '"a\0b"'
SURROGATE = '"\ud800"'
TOO_DEEP = "[" * 5000 + "]" * 5000
RATHER_DEEP = "[" * 400 + "]" * 400


def _claim_many(scene: Scene, number: int) -> list[ClaimedJob]:
    for _ in range(number):
        scene.add()
    return scene.claim(number)


@pytest.mark.parametrize("output", [MALFORMED, NUL, SURROGATE, TOO_DEEP, RATHER_DEEP])
def test_an_output_that_cannot_be_stored_is_a_failure_of_its_own_job(scene: Scene, output: str) -> None:
    """One failed job with a sentence that says why; its neighbours in the batch are completed."""
    jobs = _claim_many(scene, 9)
    outputs = ["1"] * 9
    outputs[4] = output
    endings = [complete(job, output=out, now_us=scene.now_us) for job, out in zip(jobs, outputs, strict=True)]
    receipts = scene.transact(endings=endings)
    assert receipts.refused == []
    ((job_id, fence, sentence),) = receipts.unstorable
    assert (job_id, fence) == (jobs[4].id, jobs[4].fence)
    assert sentence.startswith("output cannot be stored: ")
    for job in jobs:
        status = JobStatus.FAILED if job is jobs[4] else JobStatus.COMPLETED
        assert scene.get(job.id).status is status


def test_an_unstorable_output_goes_the_way_of_every_failure(scene: Scene) -> None:
    """It is retried while attempts are left, and keeps the numbers that were measured."""
    job = scene.add_and_claim(max_attempts=2)
    facts = AttemptFacts(worker_pid=7, generation=2, captured="words")
    scene.transact(endings=[complete(job, output=MALFORMED, now_us=scene.now_us, facts=facts)])
    record = scene.get(job.id)
    assert record.retrying
    assert record.failure_reason is FailureReason.HANDLER_ERROR
    assert record.error_history[0].message.startswith("output cannot be stored: ")
    (attempt,) = scene.store.attempts(job.id)
    assert (attempt.outcome, attempt.worker_pid, attempt.generation) == (Outcome.FAILED, 7, 2)
    assert scene.event_types(job.id) == ["added", "processing", "failed"]


def test_several_unstorable_outputs_in_one_batch_are_all_found(scene: Scene) -> None:
    """Halving goes on in both halves."""
    jobs = _claim_many(scene, 16)
    bad = {jobs[0].id, jobs[7].id, jobs[15].id}
    endings = [complete(job, output=MALFORMED if job.id in bad else "1", now_us=scene.now_us) for job in jobs]
    receipts = scene.transact(endings=endings)
    assert {job_id for job_id, _, _ in receipts.unstorable} == bad
    assert {job.id for job in jobs if scene.get(job.id).status is JobStatus.COMPLETED} == {j.id for j in jobs} - bad


def test_an_unstorable_output_of_a_superseded_owner_is_refused(scene: Scene) -> None:
    """What may not be written need not be storable."""
    late = scene.add_and_claim()
    scene.supersede(late)
    receipts = scene.complete(late, output=MALFORMED)
    assert [(refusal.job_id, refusal.settled) for refusal in receipts.refused] == [(late.id, False)]
    assert receipts.unstorable == []
    assert scene.get(late.id).status is JobStatus.PROCESSING


def test_the_rest_of_a_transaction_survives_an_unstorable_output(scene: Scene) -> None:
    """Everything else in it is done, once: progress, give-backs and claims."""
    bad, reporting, unstarted = _claim_many(scene, 3)
    waiting = scene.add()
    receipts = scene.transact(
        endings=[complete(bad, output=MALFORMED, now_us=scene.now_us)],
        progress=[ProgressNote(reporting.id, reporting.fence, 5)],
        give_backs=[GiveBack(unstarted.id, unstarted.fence)],
        claim=Claim(batch="b", limit=9, types=(TypeTerms(job_type="work"),)),
    )
    assert [job_id for job_id, _, _ in receipts.unstorable] == [bad.id]
    assert [job.id for job in receipts.claimed] == [unstarted.id, waiting]
    assert scene.event_types(reporting.id) == ["added", "processing", "progress"]
    assert scene.event_types(waiting) == ["added", "processing"]


def test_json_escapes_reach_the_reader_unchanged(scene: Scene) -> None:
    """Payload and output are text to the store: escapes are neither read nor cut."""
    job = scene.add_and_claim(payload={"text": 'tab\t, quote ", backslash \\, snow \u2603'})
    scene.complete(job, output='{"nul":"\\u0000", "big":12345678901234567890}')
    record = scene.get(job.id)
    assert record.output == {"nul": "\0", "big": 12345678901234567890}
    assert record.payload == {"text": 'tab\t, quote ", backslash \\, snow \u2603'}


def test_a_wide_output_is_stored(scene: Scene) -> None:
    """Many brackets beside each other are not depth."""
    job = scene.add_and_claim()
    scene.complete(job, output="[" + ",".join(["{}"] * 1000) + "]")
    assert scene.get(job.id).output == [{}] * 1000


@pytest.mark.parametrize("number", [2**63, 2**70])
def test_a_number_that_no_job_can_have_is_no_drivers_error(scene: Scene, number: int) -> None:
    """There is no such job, or the store says that the number is out of range: each driver has its own way."""
    for look in (scene.store.get, scene.store.events, scene.store.has_ended):
        with suppress(StoreError):
            assert not look(number)
    with pytest.raises((StoreError, UnknownJobError)):
        scene.store.cancel(number, now_us=scene.now_us)
