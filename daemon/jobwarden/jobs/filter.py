"""`JobFilter`: which jobs are meant, the same for reading, editing, cancelling, retrying and removing.

Everything that is given must match. An empty filter matches all jobs. Pure; the store makes conditions of it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jobwarden.clock import to_us
from jobwarden.errors import InvalidJobError
from jobwarden.jobs.mistakes import invalid_job
from jobwarden.jobs.options import (
    FIRST_MOMENT,
    LAST_MOMENT,
    NUMBERS,
    JobOptions,
    refuse_flag,
    refuse_timestamp,
    refuse_unstorable,
)
from jobwarden.jobs.outcome import JobStatus

RETRYING = "retrying"
"""Not a status: `failed` with a next attempt (design section 2)."""
ENDED = "ended"
"""Not a status either: completed, cancelled, or failed with no next attempt."""
STATES = (*JobStatus, RETRYING, ENDED)

MOST_NAMED = 1_000
"""Ids, types or tags in one filter."""

_Text = Annotated[str, Field(min_length=1, max_length=255)]
_Number = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class TagMode(StrEnum):
    """How a filter's tags are compared with a job's.

    Of no tags at all, every job carries all and none, no job carries any, and those without tags have exactly these.
    """

    ALL = "all"
    ANY = "any"
    NONE = "none"
    EXACT = "exact"


class _Range(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @property
    def bounded(self) -> bool:
        """Whether any bound is given."""
        return any(getattr(self, name) is not None for name in type(self).model_fields)


class NumberRange(_Range):
    """Bounds of a number; each that is given must hold."""

    eq: _Number | None = None
    gt: _Number | None = None
    gte: _Number | None = None
    lt: _Number | None = None
    lte: _Number | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return refuse_flag(value)


class MomentRange(_Range):
    """Bounds of a moment (aware); each that is given must hold."""

    eq: datetime | None = None
    gt: datetime | None = None
    gte: datetime | None = None
    lt: datetime | None = None
    lte: datetime | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _moment(cls, value: object) -> object:
        return refuse_timestamp(value)

    @field_validator("*")
    @classmethod
    def _storable(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and not to_us(FIRST_MOMENT) <= to_us(moment) <= to_us(LAST_MOMENT):
            message = f"is no moment from {FIRST_MOMENT:%Y} to {LAST_MOMENT:%Y}"
            raise ValueError(message)
        return moment


class JobFilter(BaseModel):
    """Names are snake_case; camelCase is accepted as well. A plain value stands for a list of one, or for `eq`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    ids: list[Annotated[int, Field(ge=1, lt=2**63)]] | None = Field(default=None, max_length=MOST_NAMED)
    job_type: list[_Text] | None = Field(default=None, max_length=MOST_NAMED, alias="jobType")
    status: list[str] | None = None
    """Statuses, "retrying" or "ended"; "failed" finds both those that will be retried and those that have ended."""
    priority: NumberRange | None = None
    run_at: MomentRange | None = Field(default=None, alias="runAt")
    created_at: MomentRange | None = Field(default=None, alias="createdAt")
    tags: list[_Text] | None = Field(default=None, max_length=100)
    tag_mode: TagMode = Field(default=TagMode.ALL, alias="tagMode")
    group_id: _Text | None = Field(default=None, alias="groupId")

    @field_validator("ids", "job_type", "status", mode="before")
    @classmethod
    def _list_of_one(cls, given: object) -> object:
        return [given] if isinstance(given, str | int) and not isinstance(given, bool) else given

    @field_validator("priority", "run_at", "created_at", mode="before")
    @classmethod
    def _equal_to(cls, given: object) -> object:
        return {"eq": given} if isinstance(given, int | str | datetime) and not isinstance(given, bool) else given

    @field_validator("status")
    @classmethod
    def _known(cls, states: list[str] | None) -> list[str] | None:
        for state in states or ():
            if state not in STATES:
                message = f"{state[:60]!r} is no status; use {', '.join(STATES)}"
                raise ValueError(message)
        return states

    @field_validator("ids", mode="before")
    @classmethod
    def _numbers(cls, given: object) -> object:
        return [refuse_flag(each) for each in given] if isinstance(given, list | tuple | set | frozenset) else given

    @field_validator("job_type", "tags", "group_id")
    @classmethod
    def _storable(cls, given: str | list[str] | None) -> str | list[str] | None:
        for each in [given] if isinstance(given, str) else given or ():
            refuse_unstorable(each)
        return given

    @property
    def narrows(self) -> bool:
        """Whether anything is asked for that a job may lack; `tags=[]` or `{"lt": None}` asks for nothing."""
        plain = (self.ids, self.job_type, self.status, self.group_id)
        bounds = (self.priority, self.run_at, self.created_at)
        return (
            any(each is not None for each in plain)
            or any(each is not None and each.bounded for each in bounds)
            or (self.tags is not None and bool(self.tags or self.tag_mode in {TagMode.ANY, TagMode.EXACT}))
        )

    @classmethod
    def parse(cls, **fields: object) -> JobFilter:
        """Make a filter from keyword arguments; raises InvalidJobError with the first problem's field."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise invalid_job(error, known=cls.model_fields) from None


class JobChanges(BaseModel):
    """What an edit changes: only what is given. None clears what may be empty, so that the default holds again."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    payload: object = None
    priority: int = Field(default=0, gt=-(2**31), lt=2**31)
    run_at: datetime | None = Field(default=None, alias="runAt")
    """None is now."""
    timeout_ms: int | None = Field(default=None, ge=1, le=2**40, alias="timeoutMs")
    heartbeat_timeout_ms: int | None = Field(default=None, ge=1, le=2**40, alias="heartbeatTimeoutMs")
    force_kill_on_timeout: bool = Field(default=False, alias="forceKillOnTimeout")
    max_attempts: int | None = Field(default=None, ge=1, le=10_000, alias="maxAttempts")
    retry_delay: float | None = Field(default=None, ge=0, le=31_622_400, alias="retryDelay")
    retry_backoff: bool = Field(default=True, alias="retryBackoff")
    retry_delay_max: float | None = Field(default=None, ge=0, le=31_622_400, alias="retryDelayMax")
    tags: list[_Text] | None = Field(default=None, max_length=100)
    dead_letter_job_type: _Text | None = Field(default=None, alias="deadLetterJobType")
    group_id: _Text | None = Field(default=None, alias="groupId")

    @field_validator(*NUMBERS, mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return refuse_flag(value)

    @field_validator("run_at", mode="before")
    @classmethod
    def _moment(cls, value: object) -> object:
        return refuse_timestamp(value)

    @model_validator(mode="after")
    def _as_an_added_job(self) -> JobChanges:
        """What holds for a job that is added holds for an edited one."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        JobOptions.model_validate({"job_type": "edited", **{k: v for k, v in given.items() if v is not None}})
        return self

    @classmethod
    def parse(cls, **fields: object) -> JobChanges:
        """Make changes from keyword arguments; raises InvalidJobError, also if nothing is changed."""
        if not fields:
            raise InvalidJobError("changes", "name nothing; say what to change, for example priority=5")
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise invalid_job(error, known=cls.model_fields) from None

    def given(self) -> dict[str, object]:
        """The named changes, by their snake_case names."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
