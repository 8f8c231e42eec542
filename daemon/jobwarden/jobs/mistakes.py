"""From pydantic's errors to our sentences: the argument as its giver named it, what is wrong, the way out.

The only place that knows pydantic's vocabulary. Never repeats the offending value, which may be a secret. Pure.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from jobwarden.errors import InvalidJobError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import ValidationError

LONGEST_PLACE = 100
"""Characters of a path into a value that are shown; a deep one has thousands."""

NO_MOMENT = "is no moment; give a datetime with a time zone, or a text like 2030-01-31T08:00:00Z"
_OBJECT = "is no object with named fields"

_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "invalid-json-value": "is no value that JSON has; use texts, numbers, lists, dicts, True, False or None",
    "string_type": "is no text",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "string_unicode": "is no text that could be stored",
    "string_sub_type": "is no text",
    "int_type": "is no integer",
    "int_parsing": "is no integer",
    "int_parsing_size": "is too large",
    "int_from_float": "is no integer",
    "float_type": "is no number",
    "float_parsing": "is no number",
    "finite_number": "is no finite number",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "is no list",
    "too_long": "has more than {max_length} entries",
    "too_short": "has fewer than {min_length} entries",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "recursion_loop": "contains itself",
}
_WANTED = {
    "Dependency": "is no id of a job; give an integer",
    "DependsOn": "is no object with named fields; give {'job_ids': [...]} or {'tags': [...]}",
    "NumberRange": "is no number and no bounds; give for example 5 or {'gte': 5}",
    "MomentRange": "is no moment and no bounds; give for example {'gte': a datetime with a time zone}",
}
"""What stands where one of these models is expected."""
_JSON_KINDS = frozenset({"dict", "list", "str", "int", "float", "bool", "NoneType", "none"})
_UNSPOKEN = re.compile(r"constrained-\w+|literal\[.*\]|function-\w+\[.*\]|\[key\]|eq")
"""Steps of a path that its giver did not write; a plain value stands for `eq`."""


def invalid_job(error: ValidationError, *, known: Iterable[str] = ()) -> InvalidJobError:
    """The first problem of a validation error, named, without the offending value.

    `known` are the names that would have been accepted: an unknown one is answered with the nearest of them.
    """
    problems = error.errors(include_input=False, include_url=False)
    first = problems[0]
    field = place(_public(first["loc"]))
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return InvalidJobError(field, f"is not known here{_nearest(field, known)}")
    # The branches of a union each have their say: a number or a fixed word.
    sentences = [_sentence(each) for each in problems if place(_public(each["loc"])) == field]
    return InvalidJobError(field, ", or ".join(dict.fromkeys(sentences)))


def place(path: Sequence[object]) -> str:
    """A path into a value for people, as in `depends_on.job_ids[0]`; long ones are cut."""
    text = "".join(_step(part) for part in path).removeprefix(".") or "job"
    return text if len(text) <= LONGEST_PLACE else text[:LONGEST_PLACE] + "…"


def _public(path: Sequence[object]) -> list[object]:
    """Without the steps that only pydantic knows: branches of unions, the kinds of JSON values."""
    if path and path[0] == "payload":
        # Inside a payload each step is a pair: the kind of the value, then the key or the index.
        inside = [part for part in path[1:] if part != "[key]"]
        return ["payload", *(part for i, part in enumerate(inside) if i % 2 or part not in _JSON_KINDS)]
    return [part for part in path if not (isinstance(part, str) and _UNSPOKEN.fullmatch(part))]


def _step(part: object) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


def _sentence(problem: Any) -> str:
    kind = problem["type"]
    if kind.startswith(("datetime", "date_", "timezone")):
        return NO_MOMENT
    if problem["loc"][-1:] == ("[key]",):
        return "is a key that is no text, as JSON wants it"
    wanted = _WANTED.get(problem.get("ctx", {}).get("class_name"))
    if wanted is not None:
        return wanted
    pattern = _SENTENCES.get(kind)
    if pattern is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    return pattern.format(**{name: _number(value) for name, value in problem.get("ctx", {}).items()})


def _number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _nearest(name: str, known: Iterable[str]) -> str:
    found = get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else "; check how it is spelled"
