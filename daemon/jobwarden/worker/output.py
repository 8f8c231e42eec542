"""What a handler returned, as JSON text that every store can keep.

The rules are those of `jobs.options.encode_json` (a test compares); they stand here a second time because the worker
must not import pydantic where no handler does, and because an output may hold models, dataclasses and dates.
Called by the worker for every job, so the plain small value comes first.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from jobwarden.errors import FailPermanently

DEEPEST_OUTPUT = 200
"""Nesting levels, as for payloads."""

_SUBCLASSED: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (int, int),
    (float, float),
    (str, str),
    (Mapping, dict),
    (list, list),
    (tuple, list),
)
"""What JSON has for an instance of a subclass, which msgspec does not take for its parent."""


class UnfitOutputError(FailPermanently):
    """The handler's output cannot be stored; running it again would give the same."""

    def __init__(self, *, problem: str) -> None:
        """`problem` completes a sentence that begins with the word output."""
        self.problem = problem
        super().__init__(f"output: {problem}")


def encode_output(value: object, *, limit: int) -> str:
    """One value as JSON text of at most `limit` bytes.

    Models, dataclasses, dates, enums, UUIDs and paths become what JSON has for them. Raises UnfitOutputError for NaN,
    infinity, NUL characters, lone surrogates, nesting deeper than `DEEPEST_OUTPUT`, and size.
    """
    if not _is_plain(value, limit=limit):
        value = _to_plain(value)
        _is_plain(value, limit=limit)
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        raise UnfitOutputError(problem="contains a lone surrogate, which is no text") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UnfitOutputError(problem=f"cannot be written as JSON: {error}") from None
    if len(text) > limit or (not text.isascii() and len(text.encode()) > limit):
        raise _too_large(limit)
    if "\\u0000" in text:
        _refuse_nul(value)
    return text


def _is_plain(value: object, *, limit: int) -> bool:  # noqa: C901 - one flat walk, on the path of every job
    """Whether only JSON's own types are in it. Raises UnfitOutputError for what no conversion can mend."""
    level, depth, plain, bytes_at_least = [value], 0, True, 0
    while level:
        depth += 1
        if depth > DEEPEST_OUTPUT:
            raise UnfitOutputError(problem=f"is nested deeper than {DEEPEST_OUTPUT} levels")
        # An item takes two bytes or more, so the walk ends even where shared references multiply without end.
        bytes_at_least += 2 * len(level) - 2
        below: list[object] = []
        for item in level:
            kind = type(item)
            if kind is str:
                bytes_at_least += len(item)  # type: ignore[arg-type]
            elif kind is dict:
                below.extend(item.values())  # type: ignore[attr-defined]
                plain = plain and all(type(key) is str for key in item)  # type: ignore[attr-defined]
            elif kind is list or kind is tuple:
                below.extend(item)  # type: ignore[arg-type]
            elif kind is float:
                if not math.isfinite(item):  # type: ignore[arg-type]
                    raise UnfitOutputError(problem="contains NaN or infinity, which JSON does not have")
            elif kind is not int and kind is not bool and item is not None:
                plain = False
        if bytes_at_least + 2 * len(below) > limit + 2:
            raise _too_large(limit)
        level = below
    return plain


def _to_plain(value: object) -> object:
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_convert)
    except RecursionError:
        raise UnfitOutputError(problem=f"is nested deeper than {DEEPEST_OUTPUT} levels") from None
    except (TypeError, ValueError) as error:
        raise UnfitOutputError(problem=f"cannot be written as JSON: {error}") from None


def _convert(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for kind, plain in _SUBCLASSED:
        if isinstance(value, kind):
            return plain(value)
    message = f"objects of type {type(value).__name__} have no form in JSON"
    raise TypeError(message)


def _refuse_nul(value: object) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise UnfitOutputError(problem="contains a NUL character (\\u0000), which databases cannot store")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_nul(key)
            _refuse_nul(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_nul(item)


def _too_large(limit: int) -> UnfitOutputError:
    return UnfitOutputError(
        problem=f"is more than {limit} bytes of JSON, which is the limit; store a reference instead"
    )
