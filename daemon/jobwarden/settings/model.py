"""`Settings`: every option once, with its type, default, unit, bounds and doc line.

Frozen data that judges itself; it reads neither files nor the environment (that is `load`). The page
`config/README.md`, the file `config/jobwarden.toml` and the flags of `jobwarden run` are made from it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from jobwarden.settings.address import address_problem, mask_password

ENVIRONMENT_PREFIX = "JOBWARDEN_"

HANDLER_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "USER", "LOGNAME", "VIRTUAL_ENV", "PYTHONPATH",
)  # fmt: skip
"""The environment variables that handlers always see; a trailing * stands for any ending."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Settings(BaseSettings):
    """All options of one daemon. `load_settings` makes it; tests may call it with keyword arguments."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    database_url: str = Field(
        default="sqlite:///jobwarden.db",
        repr=False,
        description="SQLAlchemy URL of the database that holds the jobs; an SQLite file serves one host, "
        "a PostgreSQL or MariaDB server many.",
    )
    synchronous: Literal["full", "normal"] = Field(
        default="full",
        description="SQLite only: `full` makes every commit survive a power cut; `normal` is faster and may "
        "lose the last commits at a power cut (added jobs and outcomes), but never corrupts the database.",
    )
    busy_timeout_seconds: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="How long a write waits for another program's lock on the database; "
        "a daemon never waits longer than a third of its lease.",
    )
    handlers: Path = Field(
        default=Path("handlers"),
        description="Folder with the handler files; SIGHUP (`systemctl reload`) loads what changed in it.",
    )
    worker_environment: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Names of further environment variables that handlers may see; "
        f"they always see {', '.join(HANDLER_ENVIRONMENT)}.",
    )
    load_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3_600,
        description="How long loading the handler files may take before that generation is given up.",
    )
    state_dir: Path = Field(
        default=Path("jobwarden-state"),
        description="Folder with the daemon's lock and snapshots; each daemon needs its own.",
    )
    lock_wait_seconds: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="How long a start waits for an ending daemon to free the state folder.",
    )
    workers: int = Field(
        default=4,
        ge=1,
        le=512,
        description="Number of worker processes, which is the number of jobs that run at once.",
    )
    spawn_seconds: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="How long a new worker process may take to say that it is ready.",
    )
    starvation_seconds: float | None = Field(
        default=300.0,
        gt=0,
        le=31_622_400,
        description="After how long a wait a job goes before higher priorities, one of each type at a time; "
        "`none` keeps priorities strict.",
    )
    default_timeout_ms: int | None = Field(
        default=None,
        ge=1,
        le=2**40,
        examples=[60_000],
        description="Run time limit of jobs for which neither the job nor its handler sets one.",
    )
    kill_grace_seconds: float = Field(
        default=2.0,
        ge=0,
        le=3_600,
        description="How long a job may clean up after it was told to stop, before its processes are killed.",
    )
    kill_stuck_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3_600,
        description="How long after a kill a process may still be there before `status` reports it as stuck.",
    )
    max_output_bytes: int = Field(
        default=1_048_576,
        ge=1_024,
        le=33_554_432,
        description="Largest output of a job, in bytes of JSON; a larger one fails the job.",
    )
    captured_output_bytes: int = Field(
        default=65_536,
        ge=0,
        le=16_777_216,
        description="How much of the end of what an attempt prints is kept with it.",
    )
    lease_seconds: float = Field(
        default=15.0,
        ge=3,
        le=3_600,
        description="How long other daemons wait for a silent one before they take over its jobs; "
        "it is renewed every fifth of this time. Cut off from a database server for three quarters of it, a daemon "
        "kills what it runs, so that nothing runs twice when the others begin. Longer than the server's restart, it "
        "spares running jobs; shorter, a dead host's jobs run again sooner.",
    )
    hung_seconds: float = Field(
        default=30.0,
        gt=1,
        le=3_600,
        description="How long the supervisor may be silent before its keeper kills it.",
    )
    drain_seconds: float = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="How long running jobs may go on after a request to stop; then they are killed and given back.",
    )
    retention_completed_days: float | None = Field(
        default=7.0,
        ge=0,
        le=36_500,
        description="How many days a completed job is kept, with its events; `none` keeps it for ever.",
    )
    retention_ended_days: float | None = Field(
        default=30.0,
        ge=0,
        le=36_500,
        description="How many days a failed or cancelled job is kept, with its events, once it will not run again; "
        "`none` keeps it for ever.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least important messages that are logged.",
    )
    log_format: Literal["auto", "human", "json"] = Field(
        default="auto",
        description="Form of the log on standard error; `auto` is `human` on a terminal, else `json`.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller hands over: `load_settings` brings file and environment."""
        return (init_settings,)

    @property
    def shown_url(self) -> str:
        """The database URL for people and logs: a password in it is replaced by `***`."""
        return mask_password(self.database_url)

    @property
    def lock_timeout_seconds(self) -> float:
        """How long the daemon's own writes wait for a lock: never more than a third of its lease."""
        return min(self.busy_timeout_seconds, self.lease_seconds / 3)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_blank_and_boolean(cls, value: object) -> object:
        if isinstance(value, bool):
            _refuse("is true or false")
        if isinstance(value, str) and ("\0" in value or not value.strip()):
            _refuse("is empty" if "\0" not in value else "contains a NUL character")
        return value

    @field_validator(
        "default_timeout_ms", "starvation_seconds", "retention_completed_days", "retention_ended_days", mode="before"
    )
    @classmethod
    def _none_in_words(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "none" else value

    @field_validator("worker_environment", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("worker_environment")
    @classmethod
    def _variable_names(cls, names: list[str]) -> list[str]:
        for name in names:
            if not _VARIABLE.fullmatch(name):
                _refuse(f"{name!r} is no name of an environment variable")
            if name.startswith(ENVIRONMENT_PREFIX):
                _refuse(f"{name} belongs to the daemon, which keeps its secrets from handlers")
        return names

    @field_validator("database_url")
    @classmethod
    def _known_address(cls, url: str) -> str:
        if problem := address_problem(url):
            _refuse(problem)
        return url

    @model_validator(mode="after")
    def _state_outside_handlers(self) -> Self:
        if self.state_dir.absolute().is_relative_to(self.handlers.absolute()):
            _refuse(
                "lies inside the folder `handlers`, where each write would look like new handler code; "
                "put it somewhere else",
                field="state_dir",
            )
        return self


def _refuse(sentence: str, *, field: str = "") -> NoReturn:
    """Raise an error whose text is ours; `field` names the option where the error is about several."""
    raise PydanticCustomError("setting", "{sentence}", {"sentence": sentence, "field": field})
