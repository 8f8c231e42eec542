"""`Settings`: every option once, with its type, default, unit, bounds and doc line.

Frozen data that judges itself; it reads neither files nor the environment (that is `load`). The page
`config/README.md`, the file `config/jobwarden.toml` and the flags of `jobwarden run` are made from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from jobwarden.settings.address import password_problem
from jobwarden.settings.apart import contradictions
from jobwarden.settings.pool import ENVIRONMENT_PREFIX, HANDLER_ENVIRONMENT, PoolOptions, PoolSettings, refuse
from jobwarden.settings.secrecy import SecrecyOptions
from jobwarden.settings.storage import PASSWORD, StorageOptions

__all__ = ["ENVIRONMENT_PREFIX", "HANDLER_ENVIRONMENT", "OPTIONS", "Settings"]


class Settings(SecrecyOptions, PoolOptions, StorageOptions, BaseSettings):
    """All options of one daemon. `load_settings` makes it; tests may call it with keyword arguments."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
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
    starvation_seconds: float | None = Field(
        default=300.0,
        gt=0,
        le=31_622_400,
        description="After how long a wait a job goes before higher priorities, one of each type at a time; "
        "`none` keeps priorities strict.",
    )
    kill_stuck_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3_600,
        description="How long after a kill a process may still be there before `status` reports it as stuck.",
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
    log_format: Literal["auto", "human", "json", "journal"] = Field(
        default="auto",
        description="Form of the log on standard error; `journal` goes to journald with a field for each value "
        "(JOB_ID=, JOB_TYPE=, ...); `auto` is `journal` where systemd has connected standard error with it, `human` "
        "on a terminal, else `json`.",
    )
    log_job_output: bool = Field(
        default=False,
        description="Whether the log also gets what each attempt printed, once it has ended.",
    )
    log_lines_per_second: float | None = Field(
        default=250.0,
        gt=0,
        le=1_000_000,
        description="How many lines about jobs and workers are logged in a second, on average; further ones are left "
        "out and counted. Lines about the daemon itself are always logged. The default stays below what journald takes "
        "of a service; `none` sets no bound.",
    )
    pool: list[PoolSettings] = Field(
        default_factory=list,
        description="Pools of workers, each with options of its own; in the file only, as tables `[[pool]]`.",
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
    def pools(self) -> tuple[PoolSettings, ...]:
        """All pools, in their order; one named `default` where the file names none."""
        if self.pool:
            return tuple(self.pool)
        return (PoolSettings.model_validate({name: getattr(self, name) for name in PoolOptions.model_fields}),)

    @property
    def lock_timeout_seconds(self) -> float:
        """How long the daemon's own writes wait for a lock: never more than a third of its lease."""
        return min(self.busy_timeout_seconds, self.lease_seconds / 3)

    @classmethod
    def _may_be_none(cls, name: str) -> bool:
        return name != PASSWORD and super()._may_be_none(name)

    @field_validator("pool", mode="before")
    @classmethod
    def _taking_over(cls, tables: Any, info: ValidationInfo) -> Any:
        """What a pool leaves out is what stands at the top level."""
        if not isinstance(tables, list):
            return tables
        above = {name: info.data[name] for name in PoolOptions.model_fields if name in info.data}
        return [{**above, **table} if isinstance(table, dict) else table for table in tables]

    @model_validator(mode="after")
    def _without_contradictions(self) -> Self:
        if self.database_password is not None and (problem := password_problem(self.database_url)):
            refuse(problem, field=PASSWORD)
        for found in contradictions(self.state_dir, self.pools, named=bool(self.pool)):
            refuse(found.sentence, field=found.field, pool=found.pool)
        return self


OPTIONS = {name: field for name, field in Settings.model_fields.items() if name != "pool"}
"""What a line of the file, a variable or a flag can say, in the order of the pages; tables are no options."""
