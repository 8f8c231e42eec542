"""Dead rows: how many each table has, and whether autovacuum keeps up with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from jobwarden.clock import to_datetime
from jobwarden.findings import ok, warning
from jobwarden.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

    from jobwarden.findings import Finding

_LATE = 2
"""Times the number of dead rows at which autovacuum comes."""
_FEW = 10_000
_OFF = {"false", "off", "no", "0"}
_TABLES = sorted(schema.metadata.tables)


def dead_rows(connection: Connection) -> Iterator[Finding]:
    """One finding per table that has too many, else one for all."""
    rows = connection.execute(_STATISTICS, {"tables": _TABLES}).all()
    late = [row for row in rows if is_late(row.dead, due_at=row.due_at)]
    for row in late:
        yield warning(
            "dead-rows",
            f"{row.name} has {row.dead:,} dead rows beside {row.live:,} live ones; {_last(row)}",
            why="each claim and each update reads past them; autovacuum should have come at "
            f"{row.due_at:,.0f} and either does not keep up or may not remove them",
            do="look whether something holds an old snapshot (above); then VACUUM (VERBOSE) it, and give autovacuum "
            "more to do with (autovacuum_max_workers, autovacuum_vacuum_cost_limit)",
        )
    off = [row for row in rows if row.enabled in _OFF]
    for row in off:
        yield warning(
            "dead-rows",
            f"autovacuum is switched off for {row.name}",
            why="its dead rows are never removed: it gets slower with every job",
            do=f"ALTER TABLE {row.name} RESET (autovacuum_enabled)",
        )
    if rows and not late and not off:
        most = max(rows, key=lambda row: row.dead)
        yield ok("dead-rows", f"{most.dead:,} dead rows at most (in {most.name}); {_last(most)}")


def is_late(dead: int, *, due_at: float) -> bool:
    """Whether autovacuum should long have come. `due_at`: the number of dead rows at which it comes."""
    return dead > max(_FEW, _LATE * due_at)


def _last(row: Row[Any]) -> str:
    if row.vacuumed_us is None:
        return "it was never vacuumed"
    return f"last vacuumed {to_datetime(row.vacuumed_us):%Y-%m-%d %H:%M:%S} UTC"


_STATISTICS = text("""
WITH told AS (
    SELECT c.oid, c.relname AS name, greatest(c.reltuples, 0) AS rows,
        (SELECT option_value FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_vacuum_threshold')::float8 AS least,
        (SELECT option_value FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_vacuum_scale_factor')::float8 AS part,
        (SELECT lower(option_value) FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'autovacuum_enabled') AS enabled
    FROM pg_class AS c JOIN unnest(CAST(:tables AS text[])) AS name ON c.oid = to_regclass(quote_ident(name))
)
SELECT name, enabled, s.n_dead_tup AS dead, s.n_live_tup AS live,
    coalesce(least, current_setting('autovacuum_vacuum_threshold')::float8)
    + coalesce(part, current_setting('autovacuum_vacuum_scale_factor')::float8) * rows AS due_at,
    (extract(epoch FROM greatest(s.last_vacuum, s.last_autovacuum)) * 1000000)::bigint AS vacuumed_us
FROM told JOIN pg_stat_user_tables AS s ON s.relid = told.oid
ORDER BY dead DESC
""")
