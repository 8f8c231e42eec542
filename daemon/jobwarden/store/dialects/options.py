"""How a store is to be opened, apart from where it is: what `open_store` hands to a dialect."""

from __future__ import annotations

import msgspec


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A dialect takes what concerns it."""

    synchronous: str = "full"
    """SQLite: "full" or "normal"."""
    file_mode: int = 0o600
    """SQLite: the mode of a database file that is made; 0o600 or 0o660."""
    lock_timeout_seconds: float = 5.0
    """How long a statement waits for a lock of somebody else."""
    statement_timeout_seconds: float = 30.0
    """How long a statement of ours may take on a server."""
    connections: int = 5
    """How many connections to a server may be kept open."""
    application: str = "jobwarden"
    """The name under which a server lists our connections."""
