"""Large payloads and outputs, many at once: more than some databases take in one statement or give in one answer."""

from __future__ import annotations

import pytest

from jobwarden.jobs import ClaimedJob, JobOptions, JobStatus, complete

from .scene import Scene

NUMBER = 9
LARGE = '"\\' * 250_000
"""Half a million characters of which each is escaped: in JSON, and by some drivers once more."""


@pytest.mark.slow
def test_many_large_jobs_are_added_claimed_and_completed_at_once(scene: Scene) -> None:
    """A claim may give fewer than it could; none is lost, and none is cut off."""
    options = [JobOptions(job_type="work", payload=[number, LARGE]) for number in range(NUMBER)]
    ids = scene.store.add(options, now_us=scene.now_us)
    claimed: list[ClaimedJob] = []
    while some := scene.claim():
        claimed += some
    assert [job.id for job in claimed] == ids
    endings = [complete(job, output=job.payload, now_us=scene.now_us) for job in claimed]
    receipts = scene.transact(endings=endings)
    assert (receipts.refused, receipts.unstorable) == ([], [])
    assert [scene.get(job_id).output for job_id in ids] == [[number, LARGE] for number in range(NUMBER)]


def test_the_first_job_is_claimed_however_large_it_is(scene: Scene) -> None:
    """A job that is as large as a payload may be does not wait for ever behind its own size."""
    job_id = scene.add(payload="\\" * 524_000)
    assert [job.id for job in scene.claim()] == [job_id]


@pytest.mark.only("mariadb", reason="no statement may be longer than max_allowed_packet there")
def test_an_output_beyond_what_the_server_takes_is_a_failure_of_its_own_job(scene: Scene) -> None:
    """The connection is not lost over it, again and again, and its neighbours are completed."""
    jobs = [scene.add_and_claim() for _ in range(3)]
    outputs = ["1", f'"{"x" * 8_000_000}"', "1"]
    receipts = scene.transact(
        endings=[complete(job, output=output, now_us=scene.now_us) for job, output in zip(jobs, outputs, strict=True)]
    )
    ((job_id, _fence, sentence),) = receipts.unstorable
    assert job_id == jobs[1].id
    assert sentence.startswith("output cannot be stored: it is larger than one statement to this server may be")
    assert scene.get(jobs[0].id).status is JobStatus.COMPLETED
    assert scene.get(jobs[2].id).status is JobStatus.COMPLETED
