"""What a caller reads of a mistake: the argument as he named it, what is wrong, the way out; never the value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import pytest

from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobChanges, JobFilter, JobOptions

JARGON = ("Input should", "dictionary", "constrained", "literal[", "valid ", "instance", "input_value", "pydantic")

ADDING: list[tuple[dict[str, object], str]] = [
    ({"payload": {"a": [object()]}}, "payload.a[0]: is no value that JSON has"),
    ({"payload": {1: 2}}, "payload[1]: is a key that is no text"),
    ({"payload": {"a": {"b": {1, 2}}}}, "payload.a.b: is no value that JSON has"),
    ({"priority": "high"}, "priority: is no integer"),
    ({"max_attempts": 1.5}, "max_attempts: is no integer"),
    ({"priority": 2**40}, "priority: must be less than 2147483648"),
    ({"run_at": "soon"}, "run_at: is no moment; give a datetime with a time zone"),
    ({"run_at": datetime(2030, 1, 1)}, "run_at: a date without a time zone"),  # noqa: DTZ001 - that is the mistake
    ({"priority": True}, "priority: is true or false, and no number"),
    ({"depends_on": {"job_ids": [{"id": True}]}}, "depends_on.job_ids[0].id: is true or false"),
    ({"timeout_ms": 0}, "timeout_ms: must be at least 1"),
    ({"timeoutMs": "x"}, "timeoutMs: is no integer"),
    ({"force_kill_on_timeout": "perhaps"}, "force_kill_on_timeout: is neither true nor false"),
    ({"retry_delay": []}, "retry_delay: is no number"),
    ({"tags": "urgent"}, "tags: is no list"),
    ({"tags": ["a", ""]}, "tags[1]: is empty"),
    ({"tags": ["x"] * 101}, "tags: has more than 100 entries"),
    ({"idempotency_ttl": "never"}, "idempotency_ttl: is no number, or must be 'forever'"),
    ({"metadata": 5}, "metadata: is no object with named fields"),
    ({"depends_on": [1]}, "depends_on: is no object with named fields; give {'job_ids'"),
    ({"depends_on": {"job_ids": ["x"]}}, "depends_on.job_ids[0]: is no id of a job; give an integer"),
    ({"depends_on": {"job_ids": [1, 0]}}, "depends_on.job_ids[1].id: 0 is no id of a job"),
    ({"dependsOn": {"tags": "x"}}, "dependsOn.tags: is no list"),
    ({"depends_on": {"job_ids": [{"id": 1, "on_parent_failure": "x"}]}}, "on_parent_failure: must be 'cancel', 'run'"),
    ({"time_out_ms": 5}, "time_out_ms: is not known here; did you mean timeout_ms?"),
    ({"zzz": 5}, "zzz: is not known here; check how it is spelled"),
]
FILTERING: list[tuple[dict[str, object], str]] = [
    ({"ids": [0]}, "ids[0]: must be at least 1"),
    ({"priority": "x"}, "priority: is no integer"),
    ({"priority": [1]}, "priority: is no number and no bounds; give for example 5 or {'gte': 5}"),
    ({"priority": {"ge": 1}}, "priority.ge: is not known here"),
    ({"run_at": "x"}, "run_at: is no moment"),
    ({"ids": [True]}, "ids: is true or false, and no number"),
    ({"created_at": {"gt": "x"}}, "created_at.gt: is no moment"),
    ({"tag_mode": "some"}, "tag_mode: must be 'all', 'any', 'none' or 'exact'"),
    ({"status": "done"}, "status: 'done' is no status; use pending"),
    ({"typo": 1}, "typo: is not known here"),
]
CHANGING: list[tuple[dict[str, object], str]] = [
    ({"priority": None}, "priority: is no integer"),
    ({"tags": ["a\0"]}, "tags: contains a NUL character"),
    ({"payload": {"a": object()}}, "payload.a: is no value that JSON has"),
    ({"max_attempt": 2}, "max_attempt: is not known here; did you mean max_attempts?"),
]


@pytest.mark.parametrize("number", [5, 5.5, True, Decimal(5), "5", "20300101", b"5", "nan"], ids=repr)
def test_a_number_is_no_moment(number: object) -> None:
    """Seconds, milliseconds or a date without dashes: it is not guessed which."""
    calls: list[Callable[[], object]] = [
        lambda: JobOptions.parse(job_type="t", run_at=number),
        lambda: JobChanges.parse(run_at=number),
        lambda: JobFilter.parse(created_at={"gt": number}),
    ]
    for call in calls:
        with pytest.raises(InvalidJobError) as caught:
            call()
        assert_plain(str(caught.value), "is no moment; give a datetime with a time zone")


@pytest.mark.parametrize(("fields", "sentence"), ADDING, ids=[each for _, each in ADDING])
def test_a_wrong_option_of_a_job_is_named_in_one_sentence(fields: dict[str, object], sentence: str) -> None:
    """Place and problem in our words, without those of the library that found it."""
    with pytest.raises(InvalidJobError) as caught:
        JobOptions.parse(job_type="t", **fields)
    assert_plain(str(caught.value), sentence)


@pytest.mark.parametrize(("fields", "sentence"), FILTERING, ids=[each for _, each in FILTERING])
def test_a_wrong_filter_is_named_in_one_sentence(fields: dict[str, object], sentence: str) -> None:
    """As an option; a plain value that stands for `eq` is not called that."""
    with pytest.raises(InvalidJobError) as caught:
        JobFilter.parse(**fields)
    assert_plain(str(caught.value), sentence)


@pytest.mark.parametrize(("fields", "sentence"), CHANGING, ids=[each for _, each in CHANGING])
def test_a_wrong_change_is_named_in_one_sentence(fields: dict[str, object], sentence: str) -> None:
    """As an option."""
    with pytest.raises(InvalidJobError) as caught:
        JobChanges.parse(**fields)
    assert_plain(str(caught.value), sentence)


def test_a_long_path_into_a_payload_is_cut() -> None:
    """A deep payload has a path of thousands of steps."""
    payload: object = object()
    for _ in range(60):
        payload = {"deeper": payload}
    with pytest.raises(InvalidJobError) as caught:
        JobOptions.parse(job_type="t", payload=payload)
    assert len(caught.value.field) == 101
    assert caught.value.field.startswith("payload.deeper.deeper")


def test_keys_that_look_like_kinds_stay_in_the_path() -> None:
    """A key of a payload may have the name of a type."""
    with pytest.raises(InvalidJobError) as caught:
        JobOptions.parse(job_type="t", payload={"dict": {"list": [object()]}})
    assert caught.value.field == "payload.dict.list[0]"


def assert_plain(text: str, sentence: str) -> None:
    """One line, beginning with the place, in our words."""
    assert sentence in text
    assert "\n" not in text
    assert not [each for each in JARGON if each in text]
