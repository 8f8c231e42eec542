"""Filters and changes as they are given: what is accepted, and what is refused in one sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobChanges, JobFilter, TagMode
from jobwarden.jobs.filter import STATES

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_plain_value_stands_for_a_list_or_for_eq() -> None:
    """What people write most is the shortest."""
    wanted = JobFilter.parse(ids=3, job_type="a", status="failed", priority=5, run_at=MOMENT)
    assert (wanted.ids, wanted.job_type, wanted.status) == ([3], ["a"], ["failed"])
    assert wanted.priority is not None
    assert (wanted.priority.eq, wanted.priority.gt) == (5, None)
    assert wanted.run_at is not None
    assert wanted.run_at.eq == MOMENT
    assert wanted.created_at is None


def test_camel_case_names_are_accepted() -> None:
    """JSON of other languages comes as it is."""
    given = {"jobType": "a", "runAt": {"gte": "2030-01-01T00:00:00Z"}, "groupId": "g", "tags": ["t"], "tagMode": "any"}
    wanted = JobFilter.parse(**given)
    assert (wanted.job_type, wanted.group_id, wanted.tag_mode) == (["a"], "g", TagMode.ANY)
    assert wanted.run_at is not None
    assert wanted.run_at.gte == MOMENT
    assert JobChanges.parse(maxAttempts=4).given() == {"max_attempts": 4}


def test_every_state_is_accepted() -> None:
    """The statuses, and the two that are none."""
    assert JobFilter.parse(status=list(STATES)).status == list(STATES)
    assert {"retrying", "ended", "pending"} <= set(STATES)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"status": "done"}, "status: .*done.* use pending"),
        ({"status": ["failed", "Failed"]}, "status: .*Failed"),
        ({"unknown": 1}, "unknown"),
        ({"ids": 0}, "ids"),
        ({"ids": 2**63}, "ids"),
        ({"ids": True}, "ids"),
        ({"ids": list(range(1, 1_002))}, "ids"),
        ({"job_type": ""}, "job_type"),
        ({"job_type": "x" * 256}, "job_type"),
        ({"job_type": "a\0"}, "job_type.*NUL"),
        ({"priority": {"above": 1}}, "priority"),
        ({"priority": 10**30}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"run_at": datetime(2030, 1, 1)}, "run_at"),  # noqa: DTZ001 - naive on purpose
        ({"created_at": {"gt": datetime(9999, 12, 31, tzinfo=UTC)}}, "created_at"),
        ({"tags": "t"}, "tags"),
        ({"tags": ["t"] * 101}, "tags"),
        ({"tag_mode": "some"}, "tag"),
        ({"group_id": "\udcff"}, "group_id"),
    ],
)
def test_what_is_no_filter_is_refused(fields: dict[str, Any], sentence: str) -> None:
    """The sentence names the field, and is one line."""
    with pytest.raises(InvalidJobError, match=sentence) as refused:
        JobFilter.parse(**fields)
    assert "\n" not in str(refused.value)


def test_given_tells_what_was_named_from_what_is_none() -> None:
    """None clears; what was not named stays."""
    assert JobChanges.parse(timeout_ms=None, priority=2).given() == {"priority": 2, "timeout_ms": None}
    assert JobChanges.parse(run_at=None).given() == {"run_at": None}


@pytest.mark.parametrize(
    "fields",
    [{}, {"job_type": "a"}, {"max_attempts": 0}, {"max_attempts": True}, {"priority": None}, {"tags": ["a", 1]}],
)
def test_what_is_no_change_is_refused(fields: dict[str, Any]) -> None:
    """Also an edit that names nothing."""
    with pytest.raises(InvalidJobError) as refused:
        JobChanges.parse(**fields)
    assert "\n" not in str(refused.value)
