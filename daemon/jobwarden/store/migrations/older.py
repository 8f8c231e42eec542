"""Whether a migration may go ahead while programs of an older version work on the store.

Whoever writes a revision decides: what only adds can be done under daemons that run (they go on, and refuse the newer
schema at their next start), what changes the meaning of anything has to wait until they have stopped. Called by
`Store.migrate`, in its transaction; it must never judge a node dead, only whether one may still live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from jobwarden.clock import SECOND_US, SYSTEM_CLOCK
from jobwarden.errors import SchemaInUseError
from jobwarden.store.life import is_free, lock_path
from jobwarden.store.schema import node
from jobwarden.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sqlalchemy import Connection, Row

ADDING = frozenset({"0003", "0004"})
"""Revisions that only add tables, or columns that may be null: older daemons work on with them."""
CHANGING = frozenset({"0001", "0002"})
"""All others: no older daemon may be there."""
_LEASES_OF_DOUBT = 2
"""A beat younger than so many leases may be a living node's, whatever the clocks say."""


def refuse_over_older(connection: Connection, *, where: str, found: str, head: str, locks: Path | None) -> None:
    """Raise SchemaInUseError if what leads from `found` to `head` cannot be done under the nodes that are there.

    `locks` is the folder with their locks, where all nodes share a kernel.
    """
    if not any(found < revision <= head for revision in CHANGING):
        return
    living = [row for row in _nodes(connection) if _may_live(row, locks)]
    if living:
        raise SchemaInUseError(where, found, head, users=[f"{row.version} on {row.name}" for row in living])


def versions_there(connection: Connection) -> list[str]:
    """The versions of the nodes of a store, of whatever schema."""
    return sorted({str(row.version) for row in _nodes(connection)} - {__version__})


def _nodes(connection: Connection) -> Iterable[Any]:
    """Of columns that there were from the first revision on."""
    wanted = select(node.c.id, node.c.name, node.c.version, node.c.beat_at, node.c.lease_seconds)
    return connection.execute(wanted.order_by(node.c.name)).all()


def _may_live(row: Row[Any], locks: Path | None) -> bool:
    if locks is not None and (path := lock_path(locks, row.id)).exists():
        return not is_free(path)
    return bool(SYSTEM_CLOCK.now_us() - row.beat_at < _LEASES_OF_DOUBT * row.lease_seconds * SECOND_US)
