"""What may be a job's output, and the context that a handler is given."""

from __future__ import annotations

import enum
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from jobwarden import JobContext
from jobwarden.errors import InvalidJobError
from jobwarden.jobs.options import DEEPEST_JSON, LARGEST_PAYLOAD_BYTES, encode_json
from jobwarden.worker import asking
from jobwarden.worker.context import LARGEST_OUTPUT_BYTES
from jobwarden.worker.output import DEEPEST_OUTPUT, UnfitOutputError, encode_output

LIMIT = 1000


class Model(BaseModel):
    when: datetime


@dataclass
class Data:
    model: Model


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return value


def doubled(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value, value]
    return value


def endless() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, True, None, "ü\\u0000"]}, {"a": [1, 2.5, True, None, "ü\\u0000"]}),
        ((1, {2: 3}), [1, {"2": 3}]),
        (Data(Model(when=MOMENT)), {"model": {"when": "2026-01-02T00:00:00Z"}}),
        ([Number.ONE, Text("t")], [1, "t"]),
        (Path("a/b"), "a/b"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (MOMENT, "2026-01-02T00:00:00Z"),
        (2**70, 2**70),
    ],
)
def test_values_become_what_json_has_for_them(value: object, expected: object) -> None:
    """Models, dataclasses, dates, enums, subclasses and paths need no help from the handler."""
    assert json.loads(encode_output(value, limit=LIMIT)) == expected


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (float("nan"), "NaN"),
        ({"a": [float("inf")]}, "infinity"),
        (Data(model=float("nan")), "NaN"),  # type: ignore[arg-type]
        ({1: {float("nan")}}, "NaN"),
        ("a\0", "NUL"),
        ({"\0": 1}, "NUL"),
        ("\ud800", "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        (nested(DEEPEST_OUTPUT + 1), "deeper than 200"),
        (nested(10_000), "deeper than 200"),
        (endless(), "deeper than 200"),
        (doubled(100), "is more than 1000 bytes"),
        ("x" * LIMIT, "is more than 1000 bytes"),
        ("ü" * (LIMIT // 2), "is more than 1000 bytes"),
        (b"\xff" * LIMIT, "is more than 1000 bytes"),
        (object(), "objects of type object have no form in JSON"),
        (Model, "have no form in JSON"),
    ],
)
def test_values_that_no_store_can_keep_are_refused_with_the_reason(value: object, sentence: str) -> None:
    """The sentence begins with `output:` and says what is wrong."""
    with pytest.raises(UnfitOutputError, match=sentence) as caught:
        encode_output(value, limit=LIMIT)
    assert str(caught.value).startswith("output: ")


@pytest.mark.parametrize("levels", [1, DEEPEST_OUTPUT])
def test_depth_is_allowed_up_to_the_limit(levels: int) -> None:
    """The limit itself is allowed."""
    assert encode_output(nested(levels), limit=LIMIT).strip("[]") == "1"


def test_outputs_and_payloads_obey_the_same_limits() -> None:
    """The worker repeats the rules for payloads because it must not import pydantic; they must not drift apart."""
    assert (DEEPEST_OUTPUT, LARGEST_OUTPUT_BYTES) == (DEEPEST_JSON, LARGEST_PAYLOAD_BYTES)
    assert asking.LARGEST_PAYLOAD_BYTES == LARGEST_PAYLOAD_BYTES
    for value in (float("nan"), "\0", "\ud800", nested(DEEPEST_JSON + 1), "x" * LIMIT):
        with pytest.raises(InvalidJobError):
            encode_json(value, what="payload", limit=LIMIT)
        with pytest.raises(UnfitOutputError):
            encode_output(value, limit=LIMIT)


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), float("inf")])
def test_progress_outside_its_range_is_refused(percent: float) -> None:
    """Progress is a percentage."""
    with pytest.raises(ValueError, match="from 0 to 100"):
        JobContext().set_progress(percent)


def test_a_context_without_a_worker_remembers_what_it_was_told() -> None:
    """Handlers can be unit-tested with a context of their own."""
    context = JobContext(job_type="digest_file")
    context.set_progress(50)
    context.set_output({"a": 1})
    assert (context.progress, context.output) == (50, '{"a":1}')


def test_an_unfit_output_fails_where_it_is_set() -> None:
    """The traceback shows the handler's own line."""
    with pytest.raises(UnfitOutputError, match="NaN"):
        JobContext().set_output(float("nan"))


def test_a_log_line_shows_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, message first; values with spaces are quoted."""
    JobContext().log("sent", to="a b", count=3, empty="")
    assert capsys.readouterr().err == "sent to='a b' count=3 empty=''\n"
