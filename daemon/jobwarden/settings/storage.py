"""`StorageOptions`: where the jobs are, with which password, and how commits are made.

A base of `Settings`. Opens nothing: files with a password are read by `gather`. No text of it shows URL or password.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from jobwarden.settings.address import address_problem, is_text, mask_password, with_password
from jobwarden.settings.pool import refuse

PASSWORD, PASSWORD_FILE = "database_password", "database_password_file"

SECRETS = frozenset({"database_url", PASSWORD})
"""Options whose values no sentence repeats and `config show` masks."""


class StorageOptions(BaseModel):
    """Where the jobs are."""

    database_url: str = Field(
        default="sqlite:///jobwarden.db",
        repr=False,
        description="SQLAlchemy URL of the database that holds the jobs; an SQLite file serves one host, "
        "a PostgreSQL or MariaDB server many.",
    )
    database_password: str | None = Field(
        default=None,
        repr=False,
        description="Password for the user that `database_url` names, so that the URL holds none. It has no flag, as "
        "everybody can read a command line; a systemd credential of this name is the best place.",
    )
    database_password_file: Path | None = Field(
        default=None,
        description="File with that password in its only line; it wins over a `database_password` in a weaker place.",
        examples=["/etc/jobwarden/database_password"],
    )
    database_mode: Literal["0600", "0660"] = Field(
        default="0600",
        description="SQLite only: mode of a database file that the daemon makes: for its user alone, or for its group "
        "too, whose folder then needs that group and mode 3770. What lies beside the file follows it.",
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

    @property
    def file_mode(self) -> int:
        """`database_mode` as a number."""
        return int(self.database_mode, 8)

    @property
    def shown_url(self) -> str:
        """The database URL for people and logs: a password in it is replaced by `***`."""
        return mask_password(self.database_url)

    @property
    def connection_url(self) -> str:
        """The database URL with which a store is opened: with the password. Never to be shown."""
        return with_password(self.database_url, self.database_password)

    @field_validator("database_url")
    @classmethod
    def _known_address(cls, url: str) -> str:
        if problem := address_problem(url):
            refuse(problem)
        return url

    @field_validator("database_password")
    @classmethod
    def _text(cls, password: Any) -> Any:
        if isinstance(password, str) and not is_text(password):
            refuse("contains bytes that are no UTF-8 text; give a password that can be written down")
        return password
