"""`SecrecyOptions`: what must not be told, by the names of payload fields and by patterns in text.

Judges the values and masks nothing: that is for `supervisor.redaction` and `jobs.secrecy`. A base of `Settings`.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from jobwarden.settings.pool import refuse

LONGEST_PATTERN = 1_000
LONGEST_FIELD_NAME = 255


class SecrecyOptions(BaseModel):
    """What is masked where people look."""

    secret_fields: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Names of payload fields that are shown as `***` wherever people see jobs, at any depth and of all "
        "job types, besides those that handlers declare as secret; their values are also taken out of what such jobs "
        "print and of their error texts.",
        examples=[["password", "token"]],
    )
    redact: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Regular expressions (Python's); what they match in the captured output, the error texts and stack "
        "dumps of jobs and in the log is replaced by `***` before it is kept. One that takes too long on a text costs "
        "the whole text.",
        examples=[["sk_live_[0-9A-Za-z]+"]],
    )

    @field_validator("secret_fields", mode="before")
    @classmethod
    def _names_at_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("secret_fields")
    @classmethod
    def _names(cls, names: list[str]) -> list[str]:
        for name in names:
            if not 1 <= len(name) <= LONGEST_FIELD_NAME or not name.isprintable():
                refuse("holds what is no name of a field")
        return names

    @field_validator("redact", mode="before")
    @classmethod
    def _one_or_a_list(cls, value: Any) -> Any:
        """A pattern may hold commas, so a flag or a variable is one pattern, or a list as JSON writes it."""
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value)
        except ValueError:
            return [value]
        return found if isinstance(found, list) else [value]

    @field_validator("redact")
    @classmethod
    def _patterns(cls, patterns: list[str]) -> list[str]:
        for number, pattern in enumerate(patterns, start=1):
            if problem := _problem(pattern):
                refuse(f"pattern {number} {problem}")
        return patterns


def _problem(pattern: str) -> str | None:
    """What is wrong with it; never shows it: somebody may have written the secret itself."""
    if len(pattern) > LONGEST_PATTERN:
        return f"is longer than {LONGEST_PATTERN} characters; make several of it"
    try:
        empty = re.compile(pattern).match("")
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression ({getattr(error, 'msg', None) or 'too large'}); correct it"
    return "matches the empty text, and so everywhere; let it match what is secret" if empty else None
