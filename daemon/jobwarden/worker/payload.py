"""From the raw JSON of a payload to what a handler's first parameter is annotated with.

A converter is built once, in the template, after the whole file was imported (an annotation may name a class that
stands below the handler). pydantic is imported only if some handler needs it. Sentences about a payload name the
field and the rule, never the value: it may be a secret.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import msgspec

from jobwarden.errors import JobwardenError
from jobwarden.worker.declaring import InvalidHandlerError
from jobwarden.worker.secret_fields import may_be_secret, secret_names

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

    from jobwarden.worker.handler import HandlerDefinition

MOST_PROBLEMS_NAMED = 5

_decode = msgspec.json.Decoder().decode
_OBJECTS = (dict, Mapping, MutableMapping)


class InvalidPayloadError(JobwardenError):
    """The payload is not what the handler's annotation asks for."""

    def __init__(self, *, problem: str) -> None:
        """`problem` names the fields and the rules, never a value."""
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Converter:
    """`convert` takes JSON text and raises InvalidPayloadError; `schema` is JSON Schema, where there is a type.

    `secret` has the names of fields that the type declares secret.
    """

    convert: Callable[[str], object]
    schema: str | None = None
    secret: frozenset[str] = frozenset()


def converter_of(definition: HandlerDefinition) -> Converter:
    """The converter for a handler's payload. Raises InvalidHandlerError if nothing can be made of its annotation."""
    annotation = _annotation_of(definition)
    if annotation in (Any, object, inspect.Parameter.empty):
        return Converter(_parse)
    if annotation in _OBJECTS or (get_origin(annotation) in _OBJECTS and get_args(annotation) == (str, Any)):
        return Converter(_parse_object)
    return _typed(definition, annotation)


def _annotation_of(definition: HandlerDefinition) -> Any:
    function = inspect.unwrap(definition.function)
    name = definition.payload_parameter
    annotations = getattr(function, "__annotations__", {})
    if name not in annotations:
        return inspect.Parameter.empty
    # Only this one is evaluated: the others may name what is imported for the type checker alone.
    only = SimpleNamespace(__annotations__={name: annotations[name]})
    try:
        hints = get_type_hints(only, globalns=getattr(function, "__globals__", {}), include_extras=True)
    except Exception as error:
        raise InvalidHandlerError(
            definition.job_type,
            problem=f"the payload is annotated with {annotations[name]!r}, which fails: {error}",
            way_out="name a type that the file defines or imports at run time",
        ) from error
    return hints[name]


def _parse(text: str) -> object:
    """What is not JSON was put into the database by somebody else: clients refuse it."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidPayloadError(problem=f"payload: cannot be read: {error}") from None


def _parse_object(text: str) -> object:
    value = _parse(text)
    if type(value) is not dict:
        raise InvalidPayloadError(problem="payload: must be an object")
    return value


def _typed(definition: HandlerDefinition, annotation: Any) -> Converter:
    import pydantic  # noqa: PLC0415 - half of a template's start; only generations with typed payloads pay it

    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.PydanticUserError as error:
        if error.code == "typed-dict-version":
            return _typed_dict(annotation)
        raise _unusable(definition, error) from error
    except Exception as error:
        raise _unusable(definition, error) from error
    schema = _schema_of(adapter)
    secret = _secret_fields_of(adapter) if may_be_secret(schema) else frozenset()
    return Converter(_validator(adapter, pydantic.ValidationError), schema, secret)


def _validator(adapter: TypeAdapter[Any], failed: type[ValidationError]) -> Callable[[str], object]:
    validate = adapter.validate_json

    def convert(text: str) -> object:
        try:
            return validate(text)
        except failed as error:
            raise InvalidPayloadError(problem=describe(error)) from None

    return convert


def _typed_dict(annotation: Any) -> Converter:
    """`typing.TypedDict`, which pydantic refuses before Python 3.12."""
    decode = msgspec.json.Decoder(annotation, strict=False).decode

    def convert(text: str) -> object:
        try:
            return decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            what, _, where = str(error).partition(" - at `$")
            place = f"payload{where.rstrip('`')}"
            raise InvalidPayloadError(problem=f"{place}: {what}") from None

    schema = msgspec.json.schema(annotation)
    return Converter(convert, msgspec.json.encode(schema).decode(), frozenset(secret_names(schema)))


def describe(error: ValidationError) -> str:
    """The first problems of a validation, each with its field, without any value of the payload."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    sentences = [f"{_place(problem['loc'])}: {problem['msg']}" for problem in problems[:MOST_PROBLEMS_NAMED]]
    more = len(problems) - len(sentences)
    return "; ".join(sentences) + (f"; and {more} more" if more else "")


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(["payload", *(str(part) for part in location)])


def _schema_of(adapter: TypeAdapter[Any]) -> str | None:
    from pydantic.errors import PydanticInvalidForJsonSchema  # noqa: PLC0415 - as above

    try:
        return msgspec.json.encode(adapter.json_schema()).decode()
    except (PydanticInvalidForJsonSchema, TypeError, ValueError):
        return None  # a type without a schema is still a type


def _secret_fields_of(adapter: TypeAdapter[Any]) -> frozenset[str]:
    """By alias and by name; a part that has no schema hides no other part."""
    from pydantic.json_schema import GenerateJsonSchema  # noqa: PLC0415 - as above

    class Lenient(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's own form

        def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:  # noqa: ARG002
            return {}

    schemas = (adapter.json_schema(by_alias=by_alias, schema_generator=Lenient) for by_alias in (True, False))
    return frozenset(name for schema in schemas for name in secret_names(schema))


def _unusable(definition: HandlerDefinition, error: Exception) -> InvalidHandlerError:
    first_line = str(error).partition("\n")[0]
    return InvalidHandlerError(
        definition.job_type,
        problem=f"its payload type cannot be checked: {first_line}",
        way_out="use a pydantic model, a dataclass, a TypedDict or a plain dict",
    )
