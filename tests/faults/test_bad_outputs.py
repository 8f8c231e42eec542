"""Must show 8 of issue 2, the first part: outputs that cannot be stored cost their own job and nothing else."""

from __future__ import annotations

import pytest

from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobStatus
from jobwarden.jobs.outcome import FailureReason
from tests.support.site import Site
from tests.support.waiting import eventually

SERVED_WITH = {"lease_seconds": 3}
"""The beat rises ten times in six seconds, so that a missed one can be seen."""


@pytest.mark.parametrize(
    ("job_type", "why"),
    [
        ("return_nul", "NUL"),
        ("return_nan", "nan"),
        ("return_surrogate", "surrogate"),
        ("return_gigabyte", "bytes"),
        ("return_nested", "nest"),
        ("return_object", "object"),
    ],
)
def test_an_output_that_cannot_be_stored_fails_its_job_with_a_sentence(served: Site, job_type: str, why: str) -> None:
    """One failed job that says why; its neighbours commit, and the node's beat goes on."""
    (daemon,) = served.daemons
    neighbours = [served.client.add_job("echo", {"n": number}) for number in range(5)]
    bad = served.client.add_job(job_type, {}, max_attempts=1)
    neighbours += [served.client.add_job("echo", {"n": number}) for number in range(5)]
    beat = beat_of(served)

    record = served.await_end(bad)

    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.HANDLER_ERROR)
    assert record.output is None
    message = record.error_history[-1].message
    assert why.lower() in message.lower()
    assert "\n" not in message
    assert {served.await_end(job_id).status for job_id in neighbours} == {JobStatus.COMPLETED}
    eventually(lambda: beat_of(served) > beat, what="the next beat")
    assert not [event for event in daemon.events("alerted") if "trust" in event["text"]]
    assert not daemon.events("store_away")


def beat_of(served: Site) -> int:
    """The counter in the node's row."""
    (node,) = served.client.store.nodes()
    return node.beat


def test_a_payload_that_cannot_be_stored_is_refused_at_once(served: Site) -> None:
    """What a job may not return it may not be given either, and nothing of it is stored."""
    before = len(served.client.get_jobs(limit=1000))
    for payload in ["\u0000", float("nan"), "\ud800", nested(10_000), "x" * 2_000_000]:
        with pytest.raises(InvalidJobError, match="payload"):
            served.client.add_job("echo", {"value": payload})
    assert len(served.client.get_jobs(limit=1000)) == before


def nested(depth: int) -> list[object]:
    """Lists in lists."""
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value
