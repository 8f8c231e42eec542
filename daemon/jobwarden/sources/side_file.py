"""`NAME.toml` beside an executable: the options that `@handler` would give it. Here it becomes values with their lines.

Whether a value is possible is judged where decorators are judged too, in the worker's room; this module knows only
the format. Never raises for what stands in the file. Called by the loader.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field

from jobwarden.wire.messages import Problem

_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)$")
_AT_END = re.compile(r"\s*\(at end of document\)$")


@dataclass(frozen=True, slots=True)
class SideFile:
    """What the file says."""

    relative: str
    values: dict[str, object] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """On which line each key stands, counted from 1."""


def read_side_file(relative: str, data: bytes) -> SideFile | Problem:
    """The keys and values, or why it is no TOML."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _problem(relative, line, "it is not UTF-8", way_out="save it as UTF-8")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _problem(relative, *_place_of(str(error), text), way_out="write `name = value` on each line")
    except RecursionError:
        return _problem(relative, None, "it is nested too deeply", way_out="write `name = value` on each line")
    return SideFile(relative, values, {name: _line_of(name, text) for name in values})


def _problem(relative: str, line: int | None, error: str, *, way_out: str) -> Problem:
    return Problem(file=relative, line=line, error=error, way_out=way_out)


def _place_of(error: str, text: str) -> tuple[int | None, str]:
    found = _AT_LINE.search(error)
    if found is not None:
        return int(found.group(1)), f"it is no TOML: {error[: found.start()]}"
    at_end = _AT_END.search(error)
    if at_end is not None:
        return text.count("\n") + 1, f"it is no TOML: {error[: at_end.start()]}"
    return None, f"it is no TOML: {error}"


def _line_of(name: str, text: str) -> int:
    pattern = re.compile(rf"""^[ \t]*(?:\[[ \t]*)?["']?{re.escape(name)}["']?[ \t]*[=.\]]""", re.MULTILINE)
    found = pattern.search(text)
    return 1 if found is None else text.count("\n", 0, found.start()) + 1
