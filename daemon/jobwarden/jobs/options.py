"""`JobOptions`: everything that can be said when a job is added, checked before any store is touched."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from jobwarden.clock import to_us
from jobwarden.errors import InvalidJobError
from jobwarden.jobs.mistakes import NO_MOMENT, invalid_job
from jobwarden.jobs.outcome import OnParentFailure

LARGEST_PAYLOAD_BYTES = 1_048_576
DEEPEST_JSON = 200
"""Nesting levels; deeper values exhaust the recursion limits of JSON readers in other languages."""

DEFAULT_MAX_ATTEMPTS = 3
DEFAULT_RETRY_DELAY_SECONDS = 60.0
"""What holds where neither the job nor its handler says anything; the claim writes it into the job's row."""

FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(9998, 12, 31, tzinfo=UTC)
"""What a date holds in every time zone: one job beyond made all lists unreadable."""

LONGEST_SECONDS = 31_622_400
"""366 days: the longest delay, expiry and time to live."""

MOST_PREREQUISITES = 1_000

NUMBERS = (
    "priority",
    "timeout_ms",
    "heartbeat_timeout_ms",
    "max_attempts",
    "retry_delay",
    "retry_delay_max",
)
"""The options that are numbers, and that an edit may change."""

_Text = Annotated[str, Field(min_length=1, max_length=255)]


class Dependency(BaseModel):
    """One prerequisite of a job."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    id: int
    """A job's id; in a batch, -(i+1) is the i-th job of the same batch."""
    on_parent_failure: OnParentFailure = Field(default=OnParentFailure.CANCEL, alias="onParentFailure")

    @field_validator("id", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return refuse_flag(value)

    @field_validator("id")
    @classmethod
    def _some_job(cls, job_id: int) -> int:
        if not -(2**31) <= job_id < 2**63 or job_id == 0:
            message = f"{job_id} is no id of a job"
            raise ValueError(message)
        return job_id


class DependsOn(BaseModel):
    """What must have happened before a job may run. Plain ids may stand for dependencies."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    job_ids: list[Dependency] = Field(default_factory=list, max_length=MOST_PREREQUISITES, alias="jobIds")
    """All of these must be completed."""
    tags: list[_Text] = Field(default_factory=list, max_length=100)
    """No job that was added earlier, carries all these tags and has not ended may be left."""

    @field_validator("job_ids", mode="before")
    @classmethod
    def _from_ids(cls, given: object) -> object:
        if isinstance(given, list | tuple):
            return [{"id": each} if isinstance(each, int) and not isinstance(each, bool) else each for each in given]
        return given

    @field_validator("tags")
    @classmethod
    def _storable(cls, tags: list[str]) -> list[str]:
        for tag in tags:
            refuse_unstorable(tag)
        return tags


class JobOptions(BaseModel):
    """A job to be added. Attribute names are snake_case; camelCase names are accepted as well."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    job_type: _Text = Field(alias="jobType")
    payload: JsonValue = None
    priority: int = Field(default=0, gt=-(2**31), lt=2**31)
    """Higher first."""
    run_at: datetime | None = Field(default=None, alias="runAt")
    """Not before this moment (aware); None is now."""
    timeout_ms: int | None = Field(default=None, ge=1, le=2**40, alias="timeoutMs")
    """Milliseconds of run time; None takes the handler's default, else the daemon's."""
    force_kill_on_timeout: bool = Field(default=False, alias="forceKillOnTimeout")
    """Kill at the limit, without a grace."""
    max_attempts: int | None = Field(default=None, ge=1, le=10_000, alias="maxAttempts")
    """None takes 3."""
    retry_delay: float | None = Field(default=None, ge=0, le=LONGEST_SECONDS, alias="retryDelay")
    """Seconds; None takes 60."""
    retry_backoff: bool = Field(default=True, alias="retryBackoff")
    retry_delay_max: float | None = Field(default=None, ge=0, le=LONGEST_SECONDS, alias="retryDelayMax")
    tags: list[_Text] = Field(default_factory=list, max_length=100)
    idempotency_key: _Text | None = Field(default=None, alias="idempotencyKey")
    idempotency_ttl: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] | Literal["forever"] | None = Field(
        default=None, alias="idempotencyTtl"
    )
    """Seconds from now for which the key holds, or "forever"; None: until the job has ended, and 7 days more."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    expires_in: float | None = Field(default=None, gt=0, le=LONGEST_SECONDS, alias="expiresIn")
    """Seconds from now: a job that was not started by then is cancelled."""
    heartbeat_timeout_ms: int | None = Field(default=None, ge=1, le=2**40, alias="heartbeatTimeoutMs")
    """Milliseconds without progress or `ctx.heartbeat()` after which a running attempt is killed as stalled."""
    dead_letter_job_type: _Text | None = Field(default=None, alias="deadLetterJobType")
    """The type of the job that is added when this one has failed for good."""
    group_id: _Text | None = Field(default=None, alias="groupId")
    """Limits may be set for all jobs of a group."""
    depends_on: DependsOn = Field(default_factory=DependsOn, alias="dependsOn")

    @field_validator(*NUMBERS, "idempotency_ttl", "expires_in", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return refuse_flag(value)

    @field_validator("run_at", mode="before")
    @classmethod
    def _moment(cls, value: object) -> object:
        return refuse_timestamp(value)

    @field_validator("run_at")
    @classmethod
    def _aware(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and not to_us(FIRST_MOMENT) <= to_us(moment) <= to_us(LAST_MOMENT):
            message = f"is no moment from {FIRST_MOMENT:%Y} to {LAST_MOMENT:%Y}"
            raise ValueError(message)
        return moment

    @field_validator("job_type", "idempotency_key", "tags", "dead_letter_job_type", "group_id")
    @classmethod
    def _storable(cls, value: str | list[str] | None) -> str | list[str] | None:
        for text in [value] if isinstance(value, str) else value or []:
            refuse_unstorable(text)
        return value

    @classmethod
    def parse(cls, **fields: object) -> JobOptions:
        """Make options from keyword arguments; raises InvalidJobError with the first problem's field."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise invalid_job(error, known=cls.model_fields) from None


def encode_json(value: object, *, what: str, limit: int = LARGEST_PAYLOAD_BYTES) -> str:
    """One JSON value as text. Raises InvalidJobError naming `what` for NaN, NUL, surrogates, depth and size."""
    refuse_depth(value, what=what)
    try:
        raw = msgspec.json.encode(value)
        text = raw.decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidJobError(what, f"cannot be written as JSON: {error}") from None
    if len(raw) > limit:
        raise InvalidJobError(what, f"is {len(raw)} bytes of JSON, the limit is {limit}; store a reference instead")
    if "\\u0000" in text:
        # What will be stored is judged, not the value: msgspec also writes sets and dataclasses.
        refuse_nul(msgspec.json.decode(text), what=what)
    return text


def refuse_nul(value: object, *, what: str) -> None:
    """Raise InvalidJobError if a string inside holds a NUL character, which PostgreSQL cannot store."""
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidJobError(what, "contains a NUL character (\\u0000), which databases cannot store")
    elif isinstance(value, dict):
        for key, item in value.items():
            refuse_nul(key, what=what)
            refuse_nul(item, what=what)
    elif isinstance(value, (list, tuple)):
        for item in value:
            refuse_nul(item, what=what)


def refuse_depth(value: object, *, what: str) -> None:
    """Raise InvalidJobError if a value is nested deeper than `DEEPEST_JSON`, or holds NaN or infinity."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST_JSON:
            raise InvalidJobError(what, f"is nested deeper than {DEEPEST_JSON} levels")
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, (list, tuple, set, frozenset)):
                below.extend(item)
            elif isinstance(item, float) and (item != item or item in {float("inf"), float("-inf")}):  # noqa: PLR0124 - NaN
                raise InvalidJobError(what, "contains NaN or infinity, which JSON does not have")
        level = below


def refuse_flag(value: object) -> object:
    """Raise ValueError (for pydantic, which would take it for 1 or 0) for true and false where a number is wanted."""
    if isinstance(value, bool):
        message = "is true or false, and no number"
        raise ValueError(message)  # noqa: TRY004 - pydantic passes a TypeError on
    return value


def refuse_timestamp(value: object) -> object:
    """Raise ValueError for a number, also as text, where a moment is wanted: pydantic would guess its unit."""
    if isinstance(value, int | float | Decimal | bytes) or (isinstance(value, str) and _is_number(value)):
        raise ValueError(NO_MOMENT)
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def refuse_unstorable(text: str) -> None:
    """Raise ValueError (for pydantic) for text that not every database can keep."""
    if "\0" in text:
        message = "contains a NUL character"
        raise ValueError(message)
    try:
        text.encode()
    except UnicodeEncodeError:
        message = "contains a lone surrogate, which is no text"
        raise ValueError(message) from None
