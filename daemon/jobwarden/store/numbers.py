"""Job numbers are reserved before anything is inserted: keys, edges and dead letters name them first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from jobwarden.store.statements import Statements

_decode = msgspec.json.Decoder(list[int]).decode


def reserve_numbers(connection: Connection, sql: Statements, count: int) -> tuple[Sequence[int], bool]:
    """`count` ids that nobody else gets, ascending, perhaps with gaps; and whether there are controls."""
    listed, last, controlled = connection.execute(sql.reserve_ids, {"count": count}).one()
    numbers = range(last - count + 1, last + 1) if listed is None else _decode(listed)
    return numbers, bool(controlled)
