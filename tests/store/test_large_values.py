"""Large payloads and outputs, many at once: more than some databases take in one statement or give in one answer."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event

from jobwarden.jobs import ClaimedJob, JobChanges, JobFilter, JobOptions, JobStatus, complete

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


MOST_ESCAPED = 250
"""Of a character that is escaped twice, as many as make a kilobyte on the way to some servers."""


@pytest.mark.slow
def test_any_number_of_keys_is_held_in_one_add(scene: Scene) -> None:
    """Together they may be longer than one statement; added again, they give the same jobs."""
    keys = [f"{number:05}".ljust(MOST_ESCAPED, "\\") for number in range(17_000)]
    options = [JobOptions(job_type="work", idempotency_key=name) for name in keys]
    ids = scene.store.add(options, now_us=scene.now_us)
    assert len(set(ids)) == len(keys)
    assert scene.store.add(options, now_us=scene.now_us) == ids


@pytest.mark.slow
def test_any_number_of_tags_is_written_in_one_add(scene: Scene) -> None:
    """Together they may be longer than one statement; so may those of an edit."""
    tags = [f"{number:03}".ljust(MOST_ESCAPED, "\\") for number in range(100)]
    options = [JobOptions(job_type="work", tags=tags) for _ in range(180)]
    ids = scene.store.add(options, now_us=scene.now_us)
    assert scene.get(ids[0]).tags == scene.get(ids[-1]).tags == tags
    changed = scene.store.bulk.edit_all(
        JobFilter.parse(job_type=["work"]), JobChanges.parse(tags=tags[::-1]), now_us=scene.now_us
    )
    assert scene.get(changed.ids[-1]).tags == tags[::-1]


@pytest.mark.slow
@pytest.mark.only("postgresql", reason="a jsonb array holds 256 MB; short numbers take more of it than in text")
def test_payloads_of_any_sum_are_added_at_once(scene: Scene) -> None:
    """No statement brings more than a quarter of what the server takes."""
    longest = 0

    def note(*called: Any) -> None:
        nonlocal longest
        longest = max(longest, *(len(each) for each in called[3].values() if isinstance(each, str)), 0)

    event.listen(Engine, "before_cursor_execute", note)
    options = [JobOptions(job_type="work", payload="x" * 1_000_000) for _ in range(68)]
    ids = scene.store.add(options, now_us=scene.now_us)
    event.remove(Engine, "before_cursor_execute", note)
    assert 2**20 < longest <= 2**26
    assert scene.get(ids[-1]).payload == "x" * 1_000_000
