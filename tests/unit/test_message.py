"""A job as users of a message queue see it: exactly these fields, and a status that speaks of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobwarden.client.message import MessageJob, message_of
from jobwarden.clock import to_us
from jobwarden.jobs import JobRecord
from jobwarden.jobs.record import HistoryEntry

ADDED = datetime(2030, 1, 1, tzinfo=UTC)
NOW = ADDED + timedelta(minutes=1)
LATER = NOW + timedelta(minutes=1)


def record(**given: Any) -> JobRecord:
    """A pending job that is due, with these fields."""
    fields: dict[str, Any] = {
        "id": 7,
        "job_type": "mail",
        "payload": {"to": "a"},
        "status": "pending",
        "created_at": ADDED,
        "updated_at": ADDED,
        "attempts": 0,
        "max_attempts": 3,
        "priority": 2,
        "run_at": ADDED,
        "metadata": {"m": 1},
    }
    return JobRecord.model_validate({**fields, **given})


def seen(**given: Any) -> MessageJob:
    """How it is seen now."""
    return message_of(record(**given), now_us=to_us(NOW))


def test_a_message_has_exactly_the_documented_fields() -> None:
    """By their JSON names, in this order (design section 6)."""
    dumped = seen(run_at=ADDED + timedelta(milliseconds=1_500)).model_dump(by_alias=True, mode="json")
    assert list(dumped.items()) == [
        ("id", "7"),
        ("type", "mail"),
        ("data", {"to": "a"}),
        ("status", "pending"),
        ("priority", 2),
        ("attempts", 0),
        ("maxAttempts", 3),
        ("delay", 1_500),
        ("createdAt", "2030-01-01T00:00:00Z"),
        ("processAt", "2030-01-01T00:00:01.500000Z"),
        ("completedAt", None),
        ("failedAt", None),
        ("error", None),
        ("metadata", {"m": 1}),
    ]


FAILED_ONCE = {
    "status": "failed",
    "last_failed_at": ADDED,
    "error_history": [HistoryEntry(message="no", timestamp=ADDED)],
}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, "pending"),
        ({"run_at": LATER}, "delayed"),
        ({"status": "processing", "run_at": LATER}, "processing"),
        ({"status": "completed", "completed_at": NOW}, "completed"),
        ({"status": "waiting", "wait_until": LATER}, "delayed"),
        ({"status": "waiting", "wait_token_id": "t"}, "pending"),
        ({**FAILED_ONCE}, "failed"),
        ({**FAILED_ONCE, "next_attempt_at": LATER}, "delayed"),
        ({**FAILED_ONCE, "next_attempt_at": NOW}, "pending"),
        ({"status": "cancelled", "last_cancelled_at": NOW}, "failed"),
    ],
)
def test_a_status_says_what_the_job_waits_for(given: dict[str, Any], status: str) -> None:
    """`delayed` waits for its time, a retrying job included; what waits for anything else, or nothing, is pending."""
    assert seen(**given).status == status


def test_a_retrying_job_shows_its_next_attempt_and_its_last_error() -> None:
    """Its `delay` is still the one with which it was added."""
    message = seen(**FAILED_ONCE, next_attempt_at=LATER)
    assert (message.process_at, message.error, message.failed_at, message.delay) == (LATER, "no", ADDED, 0)


def test_a_cancelled_job_has_failed_with_that_word() -> None:
    """A message queue knows no cancelling."""
    message = seen(status="cancelled", last_cancelled_at=NOW)
    assert (message.error, message.failed_at) == ("cancelled", NOW)


def test_a_completed_job_shows_no_old_error() -> None:
    """Errors of earlier attempts are history."""
    message = seen(**{**FAILED_ONCE, "status": "completed"}, completed_at=NOW)
    assert (message.error, message.failed_at, message.completed_at) == (None, None, NOW)
