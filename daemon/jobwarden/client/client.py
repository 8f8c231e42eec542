"""`Client`: the verbs for applications, over the store, inside the caller's own transaction if wanted.

Blocking and safe to share between threads. The database is opened at the first call, and again after a fork.
The verbs stand in `adding`, `reading`, `changing`, `operating` and `following`, by what they do.
"""

from __future__ import annotations

from jobwarden.client.adding import Adding
from jobwarden.client.changing import Changing
from jobwarden.client.following import Following
from jobwarden.client.operating import Operating
from jobwarden.client.reading import Reading


class Client(Adding, Reading, Changing, Operating, Following):
    """Adds jobs to one database, follows and changes them. A context manager; a call opens a closed one again.

    All verbs raise InvalidJobError for arguments that cannot be right, StoreUnavailableError when the database
    cannot be used now, SchemaMismatchError when it is of another version; nothing was changed then.
    """

    def __init__(self, url: str | None = None, *, validate_payloads: bool = False) -> None:
        """`url` is an SQLAlchemy URL, by default that of JOBWARDEN_DATABASE_URL. Nothing is opened yet.

        `validate_payloads` checks each payload, before its job is added, against the schema that live nodes publish
        for its type; a type that no node knows, or whose handler takes any payload, is accepted. It takes the
        package jsonschema (`pip install jobwarden[validate]`); InvalidSettingsError without it.
        """
        super().__init__(url, validate_payloads=validate_payloads)
