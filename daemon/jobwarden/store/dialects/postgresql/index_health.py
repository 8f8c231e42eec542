"""Indexes that are not what they should be: invalid ones, leftovers of a rebuild, hot ones full of nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import text

from jobwarden.findings import notice, ok, warning
from jobwarden.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from jobwarden.findings import Finding

_LEFTOVER = re.compile(r"_cc(new|old)\d*$")
_LARGE_BYTES = 64 * 1024 * 1024
_SWOLLEN = 8
_OVERHEAD_BYTES = 24
"""Of an entry beside its columns."""
_TABLES = sorted(schema.metadata.tables)


def index_health(connection: Connection) -> Iterator[Finding]:
    """What `indexes` (which are missing) does not see."""
    rows = connection.execute(_INDEXES, {"tables": _TABLES}).all()
    invalid = [row for row in rows if not row.valid and not row.building]
    for row in invalid:
        yield _invalid(row.name)
    swollen = [row for row in rows if row.valid and is_swollen(row.bytes, entries=row.entries, width=row.width)]
    for row in swollen:
        yield notice(
            "index-bloat",
            f"the index {row.name} is {row.bytes / 2**20:,.0f} MiB large for about {row.entries:,.0f} entries",
            why="most of it is empty or dead: every look at it reads more pages than it should",
            do=f"once nothing holds an old snapshot: REINDEX INDEX CONCURRENTLY {row.name}",
        )
    if rows and not invalid and not swollen:
        yield ok("index-health", f"{len(rows)} indexes are valid, none of them swollen")


def is_swollen(size: int, *, entries: float, width: float) -> bool:
    """Whether an index of `size` bytes is far larger than its entries; `width`: bytes of an entry's columns."""
    return entries >= 0 and size > _LARGE_BYTES and size > _SWOLLEN * entries * (width + _OVERHEAD_BYTES)


def _invalid(name: str) -> Finding:
    if _LEFTOVER.search(name):
        return warning(
            "index-leftover",
            f"{name} is left over from a REINDEX CONCURRENTLY that did not finish",
            why="it is written with every change and serves no query",
            do=f"DROP INDEX CONCURRENTLY {name}",
        )
    return warning(
        "index-invalid",
        f"the index {name} is invalid",
        why="a CREATE or REINDEX CONCURRENTLY failed: it is written with every change, and no query uses it",
        do=f"REINDEX INDEX CONCURRENTLY {name}",
    )


_INDEXES = text("""
SELECT c.oid::regclass::text AS name, i.indisvalid AS valid, pg_relation_size(c.oid) AS bytes, c.reltuples AS entries,
    coalesce((SELECT sum(s.avg_width) FROM pg_attribute AS a JOIN pg_stats AS s ON s.attname = a.attname
        WHERE a.attrelid = c.oid AND s.tablename = t.relname AND s.schemaname = t.relnamespace::regnamespace::text), 32)
    AS width,
    EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid) AS building
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid
JOIN unnest(CAST(:tables AS text[])) AS ours ON t.oid = to_regclass(quote_ident(ours))
ORDER BY name
""")
