"""What handlers declare secret: by name, by the type of the payload, and in a side file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr

from jobwarden import handler
from jobwarden.sources.side_file import SideFile
from jobwarden.worker.declaring import InvalidHandlerError
from jobwarden.worker.handler import definitions_of
from jobwarden.worker.loader import LoadedHandler
from jobwarden.worker.payload import converter_of
from jobwarden.worker.secret_fields import secret_names, told_names
from jobwarden.worker.side_options import side_options


class Card(BaseModel):
    number: SecretStr
    holder: str = ""


class Login(BaseModel):
    user: str
    password: SecretStr = SecretStr("x")
    key: str = Field(default="", alias="apiKey", json_schema_extra={"secret": True})
    maybe: SecretStr | None = None
    many: list[SecretStr] = []
    by_name: dict[str, SecretBytes] = {}
    cards: list[Card] = []


class WithoutSchema(BaseModel):
    function: Callable[[int], int] | None = None
    token: SecretStr


class Knot(BaseModel):
    below: Knot | None = None
    token: SecretStr


@dataclass
class Plain:
    token: SecretStr
    number: int = 0


class Dictionary(TypedDict):
    token: Annotated[str, msgspec.Meta(extra_json_schema={"secret": True})]
    user: str


def secret_of(annotation: object, **options: Any) -> tuple[str, ...]:
    """What a handler with this payload tells the supervisor."""

    def function(payload: object) -> None:
        """Nothing."""

    function.__annotations__ = {"payload": annotation}
    (definition,) = definitions_of(handler("login", **options)(function))
    return LoadedHandler(definition, converter_of(definition), "a.py").info().secret


@pytest.mark.parametrize(
    ("annotation", "names"),
    [
        (Login, {"password", "key", "apiKey", "maybe", "many", "by_name", "number"}),
        (WithoutSchema, {"token"}),
        (Knot, {"token"}),
        (Plain, {"token"}),
        (Dictionary, {"token"}),
        (SecretStr, {"*"}),
        (list[SecretStr], {"*"}),
        (dict, set()),
        (Card | None, {"number"}),
        (int, set()),
    ],
)
def test_the_type_of_a_payload_says_what_is_secret(annotation: object, names: set[str]) -> None:
    """By alias and by name, at any depth, in unions and lists, also where there is no schema for all of it."""
    assert set(secret_of(annotation)) == names


def test_a_handler_names_fields_itself() -> None:
    """One or several; they come on top of those of the type."""
    assert secret_of(dict, secret="token") == ("token",)
    assert secret_of(Plain, secret=["b", "a"]) == ("a", "b", "token")


@pytest.mark.parametrize("given", [[""], [1], 1, None, ["x" * 256], ["a\nb"], [f"n{each}" for each in range(101)]])
def test_what_is_no_name_of_a_field_is_refused(given: Any) -> None:
    """With the handler and the way out."""
    with pytest.raises(InvalidHandlerError, match="secret holds what is no name of a field; give names of payload"):
        handler("login", secret=given)


def test_more_names_than_can_be_told_make_the_whole_payload_secret() -> None:
    """Rather too much than too little."""
    assert told_names({f"n{each}" for each in range(201)}) == ("*",)
    assert told_names({"x" * 256}) == ("*",)
    assert told_names({"b", "a"}) == ("a", "b")


def test_a_schema_that_leads_nowhere_or_in_a_circle_is_read_all_the_same() -> None:
    """It may be anybody's."""
    schema = {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"format": "password"}]}},
        "properties": {"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/nowhere"}, "z": True},
    }
    assert secret_names(schema) == {"x"}


def test_a_side_file_names_fields_too() -> None:
    """As the decorator."""
    side = SideFile("a.toml", {"secret": ["token"]}, {"secret": 1})
    options, problems = side_options(side, job_type="a")
    assert (options.secret, problems) == (("token",), [])
    _, (problem,) = side_options(SideFile("a.toml", {"secret": 5}, {"secret": 1}), job_type="a")
    assert problem.line == 1
    assert "no name of a field" in problem.error
