"""Turning the words of a command line into values: payloads, metadata, moments. Touches no store.

Each raises InvalidJobError with the option's name and the way out.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobwarden.clock import SYSTEM_CLOCK, to_datetime
from jobwarden.errors import InvalidJobError

LARGEST_TEXT_CHARACTERS = 8 * 1024 * 1024
"""Where reading a payload stops: far above what is accepted, far below what would fill the memory."""

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])")
_FROM_NOW = re.compile(rf"([+-]){_LENGTH.pattern}")
_ID = re.compile(r"\d{1,18}")
_CONSEQUENCES = {"cancel", "run", "fail"}
_LONGEST_SHOWN = 60


def read_payload(argument: str | None) -> object:
    """The payload: JSON text, `@file` or `-` for standard input; None is null."""
    if argument is None:
        return None
    if argument == "-":
        return parse_json(_bounded(sys.stdin.buffer.read(LARGEST_TEXT_CHARACTERS + 1)), what="payload")
    if argument.startswith("@"):
        return parse_json(_read_file(Path(argument[1:])), what="payload")
    return parse_json(argument, what="payload")


def read_metadata(argument: str | None) -> dict[str, Any] | None:
    """The metadata: a JSON object."""
    if argument is None:
        return None
    value = parse_json(argument, what="metadata")
    if not isinstance(value, dict):
        raise InvalidJobError("metadata", 'is no JSON object; write for example {"team": "a"}')
    return value


def read_moment(argument: str | None, *, name: str = "run-at") -> datetime | None:
    """A moment: ISO 8601 with a time zone, or from now as in `+90s`, `+5m`, `+2h`, or ago as in `-7d`."""
    if argument is None:
        return None
    try:
        if match := _FROM_NOW.fullmatch(argument):
            distance = timedelta(seconds=_seconds(match[2], match[3]))
            now = to_datetime(SYSTEM_CLOCK.now_us())
            return now + distance if match[1] == "+" else now - distance
        when = datetime.fromisoformat(argument)
    except (ValueError, OverflowError):
        problem = f"{argument[:_LONGEST_SHOWN]!r} is no moment; write for example +5m, or 2030-01-31T08:00:00Z"
        raise InvalidJobError(name, problem) from None
    if when.tzinfo is None:
        raise InvalidJobError(name, f"{argument!r} has no time zone; add one, for example Z or +02:00")
    return when


def read_seconds(argument: str | None, *, name: str) -> float | None:
    """A length of time: seconds, or as in `90s`, `5m`, `2h`, `1d`."""
    if argument is None:
        return None
    try:
        if match := _LENGTH.fullmatch(argument):
            return _seconds(match[1], match[2])
        return float(argument)
    except ValueError:
        problem = f"{argument[:_LONGEST_SHOWN]!r} is no length of time; write for example 300, or 5m"
        raise InvalidJobError(name, problem) from None


def read_dependency(argument: str) -> dict[str, object]:
    """A prerequisite: a job's id, and after a colon what its failure means: `17`, `17:run`."""
    job_id, _, consequence = argument.partition(":")
    if not _ID.fullmatch(job_id) or (":" in argument and consequence not in _CONSEQUENCES):
        shown = argument[:_LONGEST_SHOWN]
        problem = f"{shown!r} is no prerequisite; write a job's id, or for example 17:run (cancel, run or fail)"
        raise InvalidJobError("depends-on", problem)
    return {"id": int(job_id), **({"on_parent_failure": consequence} if consequence else {})}


def parse_json(text: str, *, what: str) -> object:
    """One JSON value; what JSON does not have but Python reads (NaN) is refused with the job's other values."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        problem = f"is not JSON ({error.msg} at {place}); quote it for the shell as in '{{\"a\": 1}}'"
        raise InvalidJobError(what, problem) from None
    except (ValueError, RecursionError) as error:
        raise InvalidJobError(what, f"is not JSON that could be stored: {error}") from None


def _seconds(number: str, unit: str) -> float:
    return float(number) * _SECONDS[unit]


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _bounded(file.read(LARGEST_TEXT_CHARACTERS + 1))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidJobError("payload", f"the file {str(path)!r} cannot be read: {reason}") from None


def _bounded(raw: bytes) -> str:
    if len(raw) > LARGEST_TEXT_CHARACTERS:
        raise InvalidJobError("payload", "is too large; store a reference instead")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidJobError("payload", "is not UTF-8 text") from None
