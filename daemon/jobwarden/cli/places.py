"""Which database a command talks to, and the options that all commands share.

The URL comes from `--database-url`, else JOBWARDEN_DATABASE_URL, else credential or config file, else the default.
Only for the last are all settings judged: adding a job must not fail over an option that only the daemon uses.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.errors import InvalidJobError, InvalidSettingsError

if TYPE_CHECKING:
    from jobwarden.client import Client
    from jobwarden.jobs import JobRecord

URL_VARIABLE = "JOBWARDEN_DATABASE_URL"
_MAY_HOLD_A_PASSWORD = (
    "JOBWARDEN_DATABASE_PASSWORD", "JOBWARDEN_DATABASE_PASSWORD_FILE", "JOBWARDEN_CONFIG", "CREDENTIALS_DIRECTORY",
)  # fmt: skip

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="Database; else JOBWARDEN_DATABASE_URL, else the config file, else sqlite:///jobwarden.db.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with options; else JOBWARDEN_CONFIG.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show secret payload fields too, which are else ***.")]
JobId = Annotated[int, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]


def refuse_without_wait(wait_timeout: float | None, *, wait: bool) -> None:
    """Raise InvalidJobError for a limit of waiting without waiting."""
    if wait_timeout is not None and not wait:
        raise InvalidJobError("wait-timeout", "is a limit for --wait, which is missing; add --wait")


def open_client(database_url: str | None, config: Path | None) -> Client:
    """A client of the database that the options name. Raises InvalidSettingsError."""
    from jobwarden.client import Client

    return Client(find_url(database_url, config))


def shown_job(client: Client, job: JobRecord) -> JobRecord:
    """The job as people see it."""
    from jobwarden.jobs.secrecy import masked_record

    return masked_record(job, client.store.secret_fields())


def find_url(database_url: str | None, config: Path | None) -> str:
    """The URL of the database. Raises InvalidSettingsError for a wrong flag, variable or file."""
    if database_url is not None:
        return _complete(_checked(database_url, place="--database-url", exposed=True), config)
    if url := os.environ.get(URL_VARIABLE):
        return _complete(_checked(url, place=f"environment variable {URL_VARIABLE}"), config)
    from jobwarden.settings import load_settings

    return load_settings(config=config, flags={}).connection_url


def _complete(url: str, config: Path | None) -> str:
    """With the password that is given elsewhere; settings are read only where there may be one."""
    if config is None and not any(name in os.environ for name in _MAY_HOLD_A_PASSWORD):
        return url
    from jobwarden.settings.load import complete_url

    return complete_url(url, config=config)


def _checked(url: str, *, place: str, exposed: bool = False) -> str:
    from jobwarden.settings.address import address_problem, exposed_password

    if problem := address_problem(url) or (exposed and exposed_password(url)):
        raise InvalidSettingsError([f"{place}: {problem}"])
    return url
