"""Who holds an old snapshot of the database: while one is held, no row that died since can be removed.

Names the session, the prepared transaction or the replication slot; never the text of a query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from jobwarden.clock import to_datetime
from jobwarden.findings import Finding, Severity, counted, notice, ok

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

OLD_SECONDS = 60
"""Longer than anything that jobwarden does in one transaction."""
OLD_TRANSACTIONS = 10_000
"""A younger one is worth a word when so many transactions were begun since: a busy server makes as many dead rows."""
_MOST_NAMED = 5
_WHY = "rows that died since then cannot be removed, so tables and indexes grow and claims get slower until it ends"


def snapshots(connection: Connection) -> Iterator[Finding]:
    """The oldest first."""
    old = [row for row in connection.execute(_HOLDERS) if is_old(row.seconds, row.transactions)]
    for row in old[:_MOST_NAMED]:
        yield Finding(
            severity=severity_of(row.seconds),
            subject="snapshot",
            what=_told(row),
            why=_WHY,
            do=_WAYS_OUT[row.kind].format(name=row.name),
        )
    blind = connection.execute(_BLIND).scalar()
    if not old and not blind:
        yield ok("snapshot", "nobody holds an old snapshot")
    if blind:
        yield notice(
            "snapshot",
            "this role cannot see the transactions of other roles",
            why="one of them may hold an old snapshot, and doctor would not know",
            do="GRANT pg_read_all_stats to it, or run doctor as an administrator",
        )


def is_old(seconds: float | None, transactions: int) -> bool:
    """Whether it is worth a word; `seconds` is None where nobody knows since when it is held."""
    return transactions >= OLD_TRANSACTIONS or (seconds is not None and seconds >= OLD_SECONDS)


def severity_of(seconds: float | None) -> Severity:
    """Of one that is old."""
    return Severity.WARNING if seconds is None or seconds >= OLD_SECONDS else Severity.NOTICE


def _told(row: Row[Any]) -> str:
    since = ""
    if row.since_us is not None:
        since = f" since {to_datetime(row.since_us):%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"{row.who} has held a snapshot{since}, {counted(row.transactions, 'transaction')} ago"
        f"{f' ({row.state})' if row.state else ''}"
    )


_WAYS_OUT = {
    "session": "end that transaction, or its session with SELECT pg_terminate_backend({name}); "
    "idle_in_transaction_session_timeout ends such ones by itself",
    "prepared": "COMMIT PREPARED or ROLLBACK PREPARED '{name}'",
    "slot": "let its consumer catch up, or drop it: SELECT pg_drop_replication_slot('{name}')",
}

# Snapshots of other databases keep no rows of ours, but those of walsenders (hot_standby_feedback) do.
_HOLDERS = text("""
SELECT kind, name, who, state, (extract(epoch FROM since) * 1000000)::bigint AS since_us,
    extract(epoch FROM clock_timestamp() - since)::float8 AS seconds, transactions
FROM (
    SELECT 'session' AS kind, pid::text AS name, state, xact_start AS since,
        greatest(age(backend_xmin), age(backend_xid)) AS transactions,
        format('session %s (application %s, role %s, from %s)', pid, coalesce(nullif(application_name, ''), 'unnamed'),
            usename, coalesce(host(client_addr), 'this host')) AS who
    FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
        AND (datname = current_database() OR backend_type = 'walsender') AND backend_type <> 'autovacuum worker'
    UNION ALL
    SELECT 'prepared', gid, 'prepared', prepared, age(transaction),
        format('prepared transaction %s (role %s)', gid, owner)
    FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'slot', slot_name, CASE WHEN active THEN 'active' ELSE 'nobody reads it' END, NULL, age(xmin),
        format('replication slot %s', slot_name)
    FROM pg_replication_slots WHERE xmin IS NOT NULL
) AS holder
ORDER BY transactions DESC
""")
_BLIND = text("""
SELECT NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AND EXISTS (
    SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename <> current_user)
""")
