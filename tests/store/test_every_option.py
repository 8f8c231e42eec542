"""Every option of an added job, and every change of an edit, is kept; a new field without a value here fails."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobwarden.jobs import FailureReason, JobChanges, JobOptions, JobRecord, JobStatus, Outcome

from .scene import Scene

LATER = datetime(2100, 1, 1, tzinfo=UTC)
CHANGES: dict[str, Any] = {
    "payload": {"text": "ü"},
    "priority": 7,
    "run_at": LATER,
    "timeout_ms": 5_000,
    "heartbeat_timeout_ms": 700,
    "force_kill_on_timeout": True,
    "max_attempts": 4,
    "retry_delay": 2.5,
    "retry_backoff": False,
    "retry_delay_max": 90.0,
    "tags": ["b", "a"],
    "dead_letter_job_type": "buried",
    "group_id": "g",
}
"""No value is that of a job that says nothing."""
OPTIONS: dict[str, Any] = {
    **CHANGES,
    "job_type": "work",
    "idempotency_key": "k",
    "idempotency_ttl": 60,
    "metadata": {"by": "me"},
    "expires_in": 3_600,
    "depends_on": {"tags": ["b"]},
}
ELSEWHERE = {"idempotency_ttl", "expires_in", "depends_on"}
"""Options that the record shows under other names, or that belong to the key."""


def shown(record: JobRecord, names: set[str]) -> dict[str, Any]:
    """These fields of the record."""
    return {name: getattr(record, name) for name in names}


def test_every_option_of_an_added_job_is_in_its_record(scene: Scene) -> None:
    """What was said when it was added is what everybody sees."""
    assert set(OPTIONS) == set(JobOptions.model_fields)
    other = scene.add("other")
    record = scene.get(scene.add(**OPTIONS | {"depends_on": {"jobIds": [other], "tags": ["b"]}}))
    names = set(OPTIONS) - ELSEWHERE
    assert shown(record, names) == {name: OPTIONS[name] for name in names}
    assert (record.depends_on_job_ids, record.depends_on_tags) == ([other], ["b"])
    assert record.expires_at is not None
    assert (record.expires_at - record.created_at).total_seconds() == 3_600


def test_every_change_of_an_edit_is_in_the_record(scene: Scene) -> None:
    """Each by itself changes that one field and no other."""
    assert set(CHANGES) == set(JobChanges.model_fields)
    for name, value in CHANGES.items():
        job_id = scene.add()
        before = scene.get(job_id).model_dump()
        scene.store.bulk.edit(job_id, JobChanges.parse(**{name: value}), now_us=scene.now_us)
        after = scene.get(job_id).model_dump()
        assert {field for field in after if after[field] != before[field]} - {"updated_at"} == {name}
        assert after[name] == value


def test_every_change_can_be_taken_back(scene: Scene) -> None:
    """None, or what a job has that says nothing, makes the job what it would have been."""
    plain = scene.get(scene.add())
    job_id = scene.add(**CHANGES)
    defaults = {"priority": 0, "force_kill_on_timeout": False, "retry_backoff": True}
    cleared = {name: defaults.get(name) for name in CHANGES}
    scene.store.bulk.edit(job_id, JobChanges.parse(**cleared), now_us=scene.now_us)
    assert shown(scene.get(job_id), set(CHANGES)) == shown(plain, set(CHANGES))
    assert [job.id for job in scene.claim()] == [plain.id, job_id]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.FAILED, FailureReason.HANDLER_ERROR),
        (Outcome.TIMED_OUT, FailureReason.TIMEOUT),
        (Outcome.CRASHED, FailureReason.CRASHED),
        (Outcome.MEMORY_EXCEEDED, FailureReason.MEMORY_LIMIT),
        (Outcome.CANCELLED, FailureReason.CANCELLED),
    ],
)
def test_every_outcome_has_its_reason(scene: Scene, outcome: Outcome, reason: FailureReason) -> None:
    """The record of a job that has ended says why, in one word of a closed list."""
    job = scene.add_and_claim(max_attempts=1)
    scene.end(job, outcome)
    record = scene.get(job.id)
    assert (record.failure_reason, record.ended) == (reason, True)
    assert (record.status is JobStatus.CANCELLED) == (outcome is Outcome.CANCELLED)
    assert scene.store.attempts(job.id)[-1].outcome is outcome
