"""From payload JSON to the handler's annotation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import pytest
from pydantic import BaseModel, Field, SecretStr

from jobwarden import handler
from jobwarden.worker.declaring import InvalidHandlerError
from jobwarden.worker.handler import collecting
from jobwarden.worker.payload import Converter, InvalidPayloadError, converter_of

if TYPE_CHECKING:
    from jobwarden import JobContext


class Model(BaseModel):
    to: str
    copies: int = Field(default=1, ge=1)
    key: SecretStr | None = None


@dataclass
class Data:
    to: str
    copies: int = 1


class Typed(TypedDict):
    to: str
    copies: NotRequired[int]


def takes_model(payload: Model) -> object:
    return payload


def takes_data(payload: Data) -> object:
    return payload


def takes_typed(payload: Typed) -> object:
    return payload


def takes_numbers(payload: list[int]) -> object:
    return payload


def takes_dict(payload: dict[str, Any]) -> object:
    return payload


def takes_bare_dict(payload: dict) -> object:  # type: ignore[type-arg]
    return payload


def takes_any(payload: Any) -> object:
    return payload


def takes_later(payload: DefinedBelow, ctx: JobContext) -> object:
    return payload, ctx


class DefinedBelow(BaseModel):
    number: int


def converter(function: Callable[..., object]) -> Converter:
    with collecting() as found:
        handler("job")(function)
    return converter_of(found[0])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (takes_model, Model(to="ann", copies=2)),
        (takes_data, Data("ann", 2)),
        (takes_typed, {"to": "ann", "copies": 2}),
        (takes_dict, {"to": "ann", "copies": 2}),
        (takes_bare_dict, {"to": "ann", "copies": 2}),
        (takes_any, {"to": "ann", "copies": 2}),
    ],
)
def test_each_kind_of_annotation_gives_its_kind_of_value(function: Callable[..., object], expected: object) -> None:
    """A model, a dataclass, a TypedDict and a dict all take the same JSON."""
    assert converter(function).convert('{"to": "ann", "copies": 2}') == expected


def test_an_annotation_may_name_a_class_that_stands_below() -> None:
    """Annotations are evaluated after the file was imported, and only the payload's."""
    assert converter(takes_later).convert('{"number": 3}') == DefinedBelow(number=3)


@pytest.mark.parametrize("function", [takes_model, takes_data, takes_typed])
@pytest.mark.parametrize(
    ("payload", "field"),
    [({"to": "hunter2", "copies": "hunter2"}, "payload.copies: "), ({"copies": 1}, "to"), (["hunter2"], "payload: ")],
)
def test_a_mismatch_names_the_field_and_no_value(function: Callable[..., object], payload: object, field: str) -> None:
    """The sentence goes into the error history, where a secret must not stand."""
    with pytest.raises(InvalidPayloadError) as caught:
        converter(function).convert(json.dumps(payload))
    assert str(caught.value).startswith("payload")
    assert field in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_place_inside_a_list_is_named_by_its_number() -> None:
    """The field is a path."""
    with pytest.raises(InvalidPayloadError, match=r"payload\.1: "):
        converter(takes_numbers).convert('[1, "x"]')


def test_many_problems_are_named_up_to_five() -> None:
    """A sentence stays a sentence."""
    with pytest.raises(InvalidPayloadError, match="and 2 more") as caught:
        converter(takes_numbers).convert(json.dumps(["x"] * 7))
    assert str(caught.value).count("payload.") == 5


@pytest.mark.parametrize("function", [takes_dict, takes_bare_dict])
def test_a_handler_of_a_dict_gets_no_list(function: Callable[..., object]) -> None:
    """A plain dict is checked to be one."""
    with pytest.raises(InvalidPayloadError, match="must be an object"):
        converter(function).convert("[1]")


@pytest.mark.parametrize("function", [takes_model, takes_data, takes_typed])
def test_a_typed_payload_has_a_schema(function: Callable[..., object]) -> None:
    """The supervisor may show what a job type takes."""
    schema = converter(function).schema
    assert schema is not None
    assert '"copies"' in schema


def test_an_annotation_that_means_nothing_at_run_time_is_a_problem_of_the_file() -> None:
    """The sentence says what failed and what to do, before any job comes."""

    def lost(payload: NotDefinedAnywhere) -> object:  # type: ignore[name-defined]  # noqa: F821 - what is tested
        return payload

    with pytest.raises(InvalidHandlerError, match="NotDefinedAnywhere") as caught:
        converter(lost)
    assert "at run time" in caught.value.way_out


def test_a_type_that_cannot_be_checked_is_a_problem_of_the_file() -> None:
    """A class without a schema is refused at load."""

    class Opaque: ...

    def opaque(payload: object) -> object:
        return payload

    opaque.__annotations__["payload"] = Opaque
    with pytest.raises(InvalidHandlerError, match="cannot be checked"):
        converter(opaque)
