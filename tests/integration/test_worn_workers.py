"""Workers are replaced after so many jobs and when they have grown; no job notices it."""

from __future__ import annotations

from collections import Counter

from jobwarden.jobs import JobStatus
from tests.support.site import Site

MOST_JOBS = 20
JOBS = 160


def test_no_job_is_lost_or_tried_twice_when_workers_are_replaced(site: Site) -> None:
    """Tiny jobs, so that up to eight of them are in a worker's queue when it is worn."""
    site.start(worker_max_jobs=MOST_JOBS)
    jobs = [site.add("who_am_i") for _ in range(JOBS)]
    records = [site.await_end(job_id) for job_id in jobs]
    assert {(record.status, record.attempts) for record in records} == {(JobStatus.COMPLETED, 1)}
    served = Counter(record.output["pid"] for record in records if isinstance(record.output, dict))
    assert max(served.values()) <= MOST_JOBS * 1.1
    assert len(served) >= JOBS / (MOST_JOBS * 1.1)


def test_a_worker_that_leaks_is_replaced_before_it_hurts(site: Site) -> None:
    """8 MB stay with each job and 30 may: each worker serves four of them."""
    site.start(worker_max_growth_mb=30)
    jobs = [site.add("keep", extra={"mb": 8}) for _ in range(16)]
    records = [site.await_end(job_id) for job_id in jobs]
    assert {(record.status, record.attempts) for record in records} == {(JobStatus.COMPLETED, 1)}
    assert max(Counter(str(record.output) for record in records).values()) == 4
