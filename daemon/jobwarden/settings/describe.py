"""Words about options: what an option takes, why a value is refused, which name was probably meant.

One wording serves the error sentences, the flags of `jobwarden run` and the generated pages.
"""

from __future__ import annotations

import json
import types
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union, get_args, get_origin

from jobwarden.settings.model import OPTIONS
from jobwarden.settings.storage import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

_NOUNS: dict[object, str] = {
    bool: "`true` or `false`",
    int: "a whole number",
    float: "a number",
    Path: "a path",
    str: "a text",
}
_LONGEST_VALUE = 60
_VERY_CLOSE = 0.9


def accepts(name: str) -> str:
    """What the option takes, in words: `a whole number from 1 to 512`."""
    field = OPTIONS[name]
    annotation = field.annotation
    if name in SECRETS:
        return "a database URL" if name == "database_url" else "a password, or none"
    if get_origin(annotation) is list:
        return "a list of regular expressions" if name == "redact" else "a list of names"
    if words := _words(annotation):
        return words
    bounds = {kind: value for each in field.metadata for kind, value in _bound(each)}
    if get_origin(annotation) in {Union, types.UnionType}:
        inner = get_args(annotation)[0]
        return f"{_words(inner) or _NOUNS[inner] + _range(bounds)}, or none"
    return f"{_NOUNS[annotation]}{_range(bounds)}"


def _words(annotation: object) -> str:
    """The words that it takes, if they are counted."""
    if get_origin(annotation) is not Literal:
        return ""
    return " or ".join(f"`{word}`" for word in get_args(annotation))


def default_text(name: str) -> str | None:
    """The default as TOML writes it; None where the option has no value by default."""
    value = OPTIONS[name].get_default(call_default_factory=True)
    return None if value is None else json.dumps(str(value) if isinstance(value, Path) else value)


def explain(name: str, detail: ErrorDetails) -> str:
    """Why the value of option `name` is refused, and what would be right; never repeats a database URL."""
    if detail["type"] == "setting":
        sentence = str(detail["ctx"]["sentence"])
        return sentence if ";" in sentence else _with_way_out(name, sentence)
    if name in SECRETS:
        return _with_way_out(name, "is not a text")
    return _with_way_out(name, f"{_shown(detail['input'])} is not possible")


def _shown(value: object) -> str:
    """The value, if that is short; a number of thousands of digits or tables in each other have no text at all."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | set | tuple):
        return "a list of this kind"
    if isinstance(value, int) and value.bit_length() > _LONGEST_VALUE:
        return "this number"
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_VALUE else "this value"


def did_you_mean(name: str, *, options: Iterable[str]) -> str:
    """The way out for an unknown name: the nearest one, else where all of them are listed."""
    meant, names = name.replace("-", "_"), list(options)
    near = (
        get_close_matches(meant, names, n=1, cutoff=_VERY_CLOSE)
        or [each for each in names if each.startswith(f"{meant}_")]
        or get_close_matches(meant, names, n=1)
    )
    return f"did you mean {near[0]}?" if near else "remove it (config/README.md lists all options)"


def _with_way_out(name: str, sentence: str) -> str:
    default = default_text(name)
    otherwise = f"the default {default}" if default else "none"
    return f"{sentence}; give {accepts(name)}, or leave it out for {otherwise}"


def _bound(constraint: object) -> Iterable[tuple[str, float]]:
    for kind in ("ge", "gt", "le"):
        if (value := getattr(constraint, kind, None)) is not None:
            yield kind, value


def _range(bounds: dict[str, float]) -> str:
    if not bounds:
        return ""
    low = f" from {_number(bounds['ge'])}" if "ge" in bounds else f" above {_number(bounds['gt'])}"
    return low + (f" to {_number(bounds['le'])}" if "le" in bounds else "")


def _number(value: float) -> str:
    return f"{value:_}" if isinstance(value, int) else f"{value:g}"
