"""Which fields of a payload its type declares secret: read off the JSON Schema of the type.

Secret is a property that is a pydantic `SecretStr` or the like, or whose schema says `"secret": true`, as
`Field(json_schema_extra={"secret": True})` makes it. Names alone are told, as a payload may spell them: by alias and
by the name in the code. Called in the template, once for each handler with a typed payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobwarden.worker.declaring import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

EVERYTHING = "*"
"""The name where the payload as a whole is secret; as in `jobs.secrecy`."""
MOST_TOLD = 200
_WITHIN = ("items", "additionalProperties", "contains", "not")
_ONE_OF = ("anyOf", "allOf", "oneOf", "prefixItems")


def secret_names(schema: Mapping[str, Any]) -> set[str]:
    """The names of secret properties of this schema, at any depth."""
    if _is_secret(schema, schema, set()):
        return {EVERYTHING}
    return {name for part in _parts(schema) for name, each in _properties(part) if _is_secret(each, schema, set())}


def told_names(names: Collection[str]) -> tuple[str, ...]:
    """What the supervisor is told; more or longer names than it takes make the whole payload secret."""
    fits = len(names) <= MOST_TOLD and all(1 <= len(each) <= LONGEST_NAME and "\0" not in each for each in names)
    return tuple(sorted(names)) if fits else (EVERYTHING,)


def may_be_secret(schema: str | None) -> bool:
    """False: a look at this JSON text tells already that nothing in it is declared secret."""
    return schema is None or any(each in schema for each in ('"secret"', '"writeOnly"', '"password"'))


def _is_secret(schema: object, root: Mapping[str, Any], seen: set[str]) -> bool:
    """Whether a value of this schema is secret as a whole, or one of what it may be, or what it holds in a list."""
    if not isinstance(schema, dict):
        return False
    if schema.get("secret") is True or schema.get("writeOnly") is True or schema.get("format") == "password":
        return True
    reference = schema.get("$ref")
    if (
        isinstance(reference, str)
        and reference not in seen
        and _is_secret(_resolved(reference, root), root, seen | {reference})
    ):
        return True
    inner = [schema.get(each) for each in _WITHIN] + [each for key in _ONE_OF for each in schema.get(key) or ()]
    inner += [*(schema.get("patternProperties") or {}).values()]
    return any(_is_secret(each, root, seen) for each in inner)


def _resolved(reference: str, root: Mapping[str, Any]) -> object:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _parts(schema: object) -> Iterator[dict[str, Any]]:
    """All schemas in this one, itself included."""
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _properties(schema: dict[str, Any]) -> Iterator[tuple[str, object]]:
    properties = schema.get("properties")
    if isinstance(properties, dict):
        yield from properties.items()
