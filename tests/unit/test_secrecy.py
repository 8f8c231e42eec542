"""Which fields of a job are secret, and what people see in their place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobwarden.jobs import JobRecord, JobStatus
from jobwarden.jobs.secrecy import SecretFields, masked, masked_record, rows_of, secret_values, without

NAMES = frozenset({"password", "api_key"})


def record(**fields: Any) -> JobRecord:
    """A job."""
    now = datetime(2030, 1, 1, tzinfo=UTC)
    given = {"id": 1, "job_type": "login", "payload": None, "status": JobStatus.PENDING, "attempts": 0}
    return JobRecord.model_validate(
        {**given, "created_at": now, "updated_at": now, "run_at": now, "max_attempts": 3, "priority": 0, **fields}
    )


def test_a_name_is_secret_at_any_depth_whatever_its_case() -> None:
    """What stands beside it is shown; what has no value is not called a secret."""
    value = {"user": "me", "Password": "a", "deep": [{"API_KEY": {"x": 1}, "n": 1}], "api_key": None}
    assert masked(value, NAMES) == {
        "user": "me",
        "Password": "***",
        "deep": [{"API_KEY": "***", "n": 1}],
        "api_key": None,
    }


def test_a_star_makes_the_whole_value_secret() -> None:
    """For a payload that is a secret itself."""
    assert masked("hunter22", frozenset({"*"})) == "***"
    assert masked(None, frozenset({"*"})) is None


def test_a_job_is_masked_in_payload_output_metadata_and_steps() -> None:
    """The names of its type and those of all types; the job of another type is shown as it is."""
    fields = SecretFields([("login", "password"), ("*", "pin")])
    job = record(
        payload={"password": "a", "user": "me"},
        output={"pin": 1},
        metadata={"pin": 2, "team": "x"},
        step_data={"one": {"password": "b"}},
    )
    shown = masked_record(job, fields)
    assert shown.payload == {"password": "***", "user": "me"}
    assert shown.output == {"pin": "***"}
    assert shown.metadata == {"pin": "***", "team": "x"}
    assert shown.step_data == {"one": {"password": "***"}}
    other = record(job_type="other", payload={"password": "a"})
    assert masked_record(other, fields) == other


def test_a_dead_letter_hides_what_the_job_that_failed_hides() -> None:
    """Its payload is another job's, whose type says what is secret; a dead letter of a dead letter as well."""
    fields = SecretFields([("login", "password")])
    letter = {"originalJob": {"id": 1, "jobType": "login"}, "originalPayload": {"password": "a"}}
    assert masked_record(record(job_type="dead", payload=letter), fields).payload == {
        **letter,
        "originalPayload": {"password": "***"},
    }
    again = {"originalJob": {"id": 2, "jobType": "dead"}, "originalPayload": letter}
    assert '"a"' not in masked_record(record(job_type="deader", payload=again), fields).model_dump_json()
    forged = {"originalJob": "?", "originalPayload": {"password": "a"}}
    assert '"a"' not in masked_record(record(job_type="dead", payload=forged), fields).model_dump_json()


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("hunter22", "it said hunter22!"),
        ('qu"o\\te', "it said " + repr('qu"o\\te')),
        ('qu"o\\te', 'it said "qu\\"o\\\\te"'),
        ("grün-geheim", '{"a": "gr\\u00fcn-geheim"}'),
        ("-----BEGIN-----\nabcdef\n", "line abcdef of it"),
        (123456, "code 123456"),
        ({"deep": ["hunter22"]}, "it said hunter22"),
    ],
)
def test_the_value_of_a_secret_field_is_taken_out_of_texts(secret: object, text: str) -> None:
    """As it is, as Python and as JSON quote it, and line by line."""
    values = secret_values({"password": secret, "user": "said"}, NAMES)
    clean = without(text, values)
    assert "***" in clean
    assert not any(each in clean for each in values)
    assert "said" not in text or "said" in clean


def test_short_values_are_left_in_texts() -> None:
    """A secret of one letter would take half of every text with it."""
    assert secret_values({"password": "abc", "api_key": True}, NAMES) == []


def test_the_longest_value_goes_first() -> None:
    """One that holds another one is not left half."""
    values = secret_values({"password": "abcd", "api_key": "abcdefgh"}, NAMES)
    assert without("abcdefgh abcd", values) == "*** ***"


def test_the_rows_of_the_store_say_all_of_it_once() -> None:
    """(job type, name), in order; a star for all types."""
    assert rows_of({"b": ["y", "x", "x"], "a": []}, ["pin"]) == (("*", "pin"), ("b", "x"), ("b", "y"))
    assert not SecretFields()
    assert SecretFields(rows_of({"b": ["X"]}, [])).of("b") == {"x"}
    assert SecretFields([("a", "x"), ("b", "y")]).of(None) == {"x", "y"}
