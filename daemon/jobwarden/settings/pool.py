"""`PoolOptions`: every option that each pool of workers may have for itself, once; `PoolSettings`: one pool's values.

`Settings` has the same options at its top level: they are what each `[[pool]]` that says nothing else takes over, or
the one pool `default` where no pool is named. Reads neither files nor the environment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

ENVIRONMENT_PREFIX = "JOBWARDEN_"
DEFAULT_POOL = "default"

HANDLER_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "USER", "LOGNAME", "VIRTUAL_ENV", "PYTHONPATH",
)  # fmt: skip
"""The environment variables that handlers always see; a trailing * stands for any ending."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_YES, _NO = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
_POOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class PoolOptions(BaseModel):
    """What a pool of workers is made of and what its jobs may use."""

    handlers: Path = Field(
        default=Path("handlers"),
        description="Folder with the handler files; what is saved there goes live at once, see `watch`.",
    )
    python: Path | None = Field(
        default=None,
        description="Python interpreter that loads the handlers, as in `.venv/bin/python`; it must have the same "
        "version of jobwarden installed, and does not see the daemon's PYTHONPATH. By default the daemon's own.",
        examples=[".venv/bin/python"],
    )
    watch: Literal["auto", "poll", "off"] = Field(
        default="auto",
        description="How saves under `handlers` are noticed: by the file system's events where it has them (`auto`), "
        "by looking every second (`poll`), or only when somebody asks with SIGHUP or `jobwarden reload` (`off`).",
    )
    strict_modes: bool = Field(
        default=True,
        description="Whether handler files, configuration and state folder must be safe from other users: owned by "
        "root or the daemon's user (handlers: or the pool's), and writable by nobody else, with all folders above "
        "them. `false` is for development, or where all users of the machine are trusted.",
    )
    load_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3_600,
        description="How long loading the handler files may take before that generation is given up.",
    )
    user: str | None = Field(
        default=None,
        description="Name or number of the user as whom handlers run, from the first line of their code on; needs a "
        "daemon that may change users: root's, or one with CAP_SETUID, CAP_SETGID and CAP_KILL. By default the "
        "daemon's own.",
        examples=["jobs"],
    )
    group: str | None = Field(
        default=None,
        description="Name or number of the group as which handlers run; by default that of `user`.",
        examples=["jobs"],
    )
    worker_environment: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Names of further environment variables that handlers may see; "
        f"they always see {', '.join(HANDLER_ENVIRONMENT)}.",
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
    nice: int | None = Field(
        default=None,
        ge=-20,
        le=19,
        description="Scheduling priority of the workers, 19 being the most modest; below the daemon's own it needs the "
        "right to.",
        examples=[10],
    )
    io_priority: Literal["idle", "0", "1", "2", "3", "4", "5", "6", "7"] | None = Field(
        default=None,
        description="Priority of the workers at the disk: a level from `0` (first) to `7` (last), or `idle` for what "
        "nobody else wants; for disk schedulers that know priorities.",
        examples=["7"],
    )
    worker_max_jobs: int | None = Field(
        default=None,
        ge=1,
        le=2**31,
        description="After about so many jobs a worker is replaced by a fresh one; a tenth less or more, so that not "
        "all go at once.",
        examples=[1_000],
    )
    worker_max_growth_mb: int | None = Field(
        default=None,
        ge=1,
        le=2**24,
        description="A worker whose memory after a job is so many MiB above what it was at its birth is replaced; "
        "under a `memory_limit_mb`, a quarter of that is enough.",
        examples=[200],
    )
    default_timeout_ms: int | None = Field(
        default=None,
        ge=1,
        le=2**40,
        examples=[60_000],
        description="Run time limit of jobs for which neither the job nor its handler sets one.",
    )
    max_timeout_ms: int | None = Field(
        default=None,
        ge=1,
        le=2**40,
        examples=[3_600_000],
        description="No attempt runs longer than this, whatever job or handler say and however often it is prolonged.",
    )
    kill_grace_seconds: float = Field(
        default=2.0,
        ge=0,
        le=3_600,
        description="How long a job may clean up after it was told to stop, before its processes are killed.",
    )
    memory_limit_mb: int | None = Field(
        default=None,
        ge=16,
        le=2**24,
        description="A job whose processes together take more than so many MiB of memory, on top of what its worker "
        "had before, fails with the reason `memory_limit`: an allocation far beyond is refused, else they are killed.",
        examples=[512],
    )
    cpu_limit_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31_622_400,
        description="CPU time that one attempt may use, with all its processes; then it is stopped like one that has "
        "passed its `timeoutMs`.",
        examples=[600],
    )
    max_open_files: int | None = Field(
        default=None,
        ge=64,
        le=2**20,
        description="Files and sockets that each process of a job may have open; the next one is refused.",
        examples=[1_024],
    )
    max_processes: int | None = Field(
        default=None,
        ge=1,
        le=2**22,
        description="Processes that one job may have at a time, its worker included; with more it is killed. With a "
        "`user` that no other pool has, the kernel refuses what is far beyond.",
        examples=[64],
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

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_blank_and_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        if cls._is_switch(info.field_name or ""):
            return _yes_or_no(value)
        if isinstance(value, bool):
            refuse("is true or false")
        if isinstance(value, str) and ("\0" in value or not value.strip()):
            refuse("is empty" if "\0" not in value else "contains a NUL character")
        if isinstance(value, str) and value.strip().lower() == "none" and cls._may_be_none(info.field_name or ""):
            return None
        return value

    @classmethod
    def _is_switch(cls, name: str) -> bool:
        return cls.model_fields[name].annotation is bool

    @classmethod
    def _may_be_none(cls, name: str) -> bool:
        return type(None) in get_args(cls.model_fields[name].annotation)

    @field_validator("io_priority", mode="before")
    @classmethod
    def _level_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @field_validator("worker_environment", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("worker_environment")
    @classmethod
    def _variable_names(cls, names: list[str]) -> list[str]:
        for name in names:
            if not _VARIABLE.fullmatch(name):
                refuse(f"{name!r} is no name of an environment variable")
            if name.startswith(ENVIRONMENT_PREFIX):
                refuse(f"{name} belongs to the daemon, which keeps its secrets from handlers")
        return names

    @model_validator(mode="after")
    def _below_its_ceiling(self) -> Self:
        default, ceiling = self.default_timeout_ms, self.max_timeout_ms
        if default is not None and ceiling is not None and default > ceiling:
            refuse(
                f"{default} is above `max_timeout_ms`, which is {ceiling} and the longest that any job may run; "
                "lower the one or raise the other",
                field="default_timeout_ms",
            )
        return self


class PoolSettings(PoolOptions):
    """One pool as it is: its name and a value for each option."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    name: str = DEFAULT_POOL

    @field_validator("name", mode="before")
    @classmethod
    def _plain_name(cls, name: Any) -> Any:
        if problem := naming_problem(name):
            refuse(problem)
        return name


def naming_problem(name: object) -> str | None:
    """Why this is no name of a pool, and the way out; None: it is one. A missing name is None."""
    if name is None:
        return "is missing; give the pool a name that no other pool has"
    if not isinstance(name, str) or not _POOL_NAME.fullmatch(name):
        return (
            "is no name of a pool; give one of letters, digits, `-`, `_` and `.`, beginning with a letter or digit, "
            "63 at most"
        )
    return None


def _yes_or_no(value: object) -> bool:
    """TOML has true and false; in the environment these are words."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _YES | _NO:
        refuse("is neither true nor false")
    return word in _YES


def refuse(sentence: str, *, field: str = "", pool: int | None = None) -> NoReturn:
    """Raise an error with our sentence; about several options it says which `field`, of the pool at which place."""
    raise PydanticCustomError("setting", "{sentence}", {"sentence": sentence, "field": field, "pool": pool})
