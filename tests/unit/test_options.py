"""What can be said when a job is added, and what is refused before any store is touched."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from jobwarden.errors import InvalidJobError
from jobwarden.jobs.options import DEEPEST_JSON, LARGEST_PAYLOAD_BYTES, JobOptions, encode_json


def nested(levels: int) -> object:
    """A list in a list in a list."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_both_spellings_of_an_option_are_accepted() -> None:
    """snake_case for Python, camelCase for JSON."""
    assert JobOptions.parse(job_type="t", max_attempts=2) == JobOptions.parse(jobType="t", maxAttempts=2)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"job_type": ""}, "job_type"),
        ({"job_type": "x" * 256}, "job_type"),
        ({"job_type": "a\0b"}, "job_type"),
        ({"job_type": "a\ud800"}, "job_type"),
        ({"job_type": "t", "maxAttempts": 0}, "maxAttempts"),
        ({"job_type": "t", "timeout_ms": 0}, "timeout_ms"),
        ({"job_type": "t", "retry_delay": -1}, "retry_delay"),
        ({"job_type": "t", "priority": 2**31}, "priority"),
        ({"job_type": "t", "run_at": "2026-01-01T00:00:00"}, "run_at"),
        ({"job_type": "t", "tags": ["a", ""]}, "tags[1]"),
        ({"job_type": "t", "priorty": 1}, "priorty"),
        ({}, "jobType"),
    ],
)
def test_a_refused_option_is_named(fields: dict[str, object], field: str) -> None:
    """The first wrong option, under the name by which it was given; nothing was stored."""
    with pytest.raises(InvalidJobError) as caught:
        JobOptions.parse(**fields)
    assert caught.value.field == field


def test_a_refusal_does_not_repeat_the_value() -> None:
    """It may be a secret (R23)."""
    with pytest.raises(InvalidJobError) as caught:
        JobOptions.parse(job_type="t", max_attempts="hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "NaN"),
        ([{"a": float("-inf")}], "infinity"),
        ("a\0b", "NUL"),
        ({"a\0": 1}, "NUL"),
        ([["\0"]], "NUL"),
        ({"\0"}, "NUL"),
        ({float("nan")}, "NaN"),
        ("\ud800", "cannot be written as JSON"),
        (nested(DEEPEST_JSON + 1), "deeper than 200"),
        (nested(100_000), "deeper than 200"),
        ("x" * LARGEST_PAYLOAD_BYTES, "the limit is"),
        (object(), "cannot be written as JSON"),
        ({1: {2}}, None),
    ],
    ids=[
        "nan",
        "infinity",
        "nul",
        "nul-key",
        "nul-inside",
        "nul-in-set",
        "nan-in-set",
        "surrogate",
        "deep",
        "very-deep",
        "large",
        "object",
        "set",
    ],
)
def test_what_no_store_could_keep_is_refused_with_a_reason(value: object, problem: str | None) -> None:
    """One sentence that says what is wrong and where; sets are written as lists."""
    if problem is None:
        assert encode_json(value, what="payload") == '{"1":[2]}'
        return
    with pytest.raises(InvalidJobError, match=re.escape(problem)) as caught:
        encode_json(value, what="payload")
    assert caught.value.field == "payload"


@pytest.mark.parametrize("value", [None, 0, "", [], {}, "\\u0000", nested(DEEPEST_JSON - 1), "ü€😀"])
def test_what_is_plain_json_passes(value: object) -> None:
    """Also text that only looks like an escaped NUL."""
    assert isinstance(encode_json(value, what="payload"), str)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "1969-12-31T23:59:59Z"])
def test_a_moment_that_cannot_be_shown_everywhere_is_refused(text: str) -> None:
    """One such job made every list of jobs fail, for ever."""
    with pytest.raises(InvalidJobError, match=r"run_at: is no moment from 1970 to 9998"):
        JobOptions.parse(job_type="t", run_at=datetime.fromisoformat(text))
