"""The renewal of a lease: one connection of its own, never in a batch with anything else (design section 7).

Where the database is elsewhere, a node's right to its jobs is the beat in its row. `renew` raises it and observes, in
one round trip where the dialect can. Called by a daemon's renewal thread, and by clients that take jobs themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jobwarden.store import forks
from jobwarden.store.entries import storable_json
from jobwarden.store.failures import store_errors
from jobwarden.store.work import Seen, Wish

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobwarden.store.dialects import Dialect

_decode_nodes = msgspec.json.Decoder(list[tuple[str, int, float]]).decode
_decode_wishes = msgspec.json.Decoder(list[tuple[int, int, str, str | None]]).decode
_decode_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode


class Pulse:
    """Made by `Store.pulse()`, for stores with leases; to be used, and closed, by one thread."""

    def __init__(self, dialect: Dialect) -> None:
        """Connects at the first renewal."""
        self._dialect = dialect
        self._where = dialect.url_shown
        self._connection: Connection | None = None

    def renew(self, node_id: str, *, report: str | None, now_us: int) -> Seen:
        """Raise the node's beat and look around. Raises StoreError; whether the beat was raised is then unknown."""
        given: dict[str, object] = {"node_id": node_id, "report": storable_json(report), "now": now_us}
        forks.enter()
        try:
            with store_errors(self._where):
                return self._seen(given)
        except BaseException:
            self.close()
            raise
        finally:
            forks.leave()

    def close(self) -> None:
        """Let go of the connection; the next renewal makes a new one."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _seen(self, given: dict[str, object]) -> Seen:
        if self._connection is None:
            self._connection = forks.watch_lasting(self._dialect.lasting())
            self._connection = self._connection.execution_options(isolation_level="AUTOCOMMIT")
        *firsts, last = self._dialect.statements.renew
        for statement in firsts:
            self._connection.execute(statement, given)
        alive, nodes, wishes, processing, due, expires, version = self._connection.execute(last, given).one()
        self._connection.commit()  # for SQLAlchemy: what looks like a transaction would not be closed before a fork
        return Seen(
            alive=bool(alive),
            nodes=_decode_nodes(nodes),
            wishes=[Wish(*wish) for wish in _decode_wishes(wishes)],
            processing=_decode_pairs(processing),
            next_due_us=min((moment for moment in (due, expires) if moment is not None), default=None),
            version=version,
        )
