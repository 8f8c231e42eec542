"""What `jobwarden doctor` asks a MariaDB server: settings, collations, transactions that stay open. Reads only.

A version or a packet size that cannot work is refused at the first connection already, with its own sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from jobwarden.findings import ok, problem, warning
from jobwarden.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from jobwarden.findings import Finding
    from jobwarden.store.checkup.check import Check

_OLD_SECONDS = 60
_MOST_NAMED = 5
_BYTEWISE = "_bin"
_MIB = 2**20


def checks() -> list[Check]:
    """In the order in which they are asked."""
    return [server, connections, collations, transactions]


def server(connection: Connection) -> Iterator[Finding]:
    """Version, and whether what was committed lasts."""
    row = connection.execute(_SERVER).one()
    yield ok(
        "server-version",
        f"MariaDB {row.version}; here sql_mode is {row.mode or 'empty'}, isolation {row.isolation}, "
        f"max_allowed_packet {row.packet / _MIB:,.0f} MiB",
    )
    if row.read_only:
        why = "nothing can be added, claimed or finished on it"
        yield problem("server", "the server is read-only", why=why, do="connect to the primary, or set read_only = 0")
    if row.flush != 1:
        yield warning(
            "settings",
            f"innodb_flush_log_at_trx_commit is {row.flush}",
            why="the commits of the last second may be gone after a crash: added jobs and outcomes are lost",
            do="SET GLOBAL innodb_flush_log_at_trx_commit = 1, and write it into the server's configuration",
        )
    else:
        yield ok("settings", "commits last")


_SERVER = text("""
SELECT version() AS version, @@sql_mode AS mode, @@tx_isolation AS isolation, @@max_allowed_packet AS packet,
    @@global.read_only AS read_only, @@global.innodb_flush_log_at_trx_commit AS flush
""")


def connections(connection: Connection) -> Iterator[Finding]:
    """How many the server has left."""
    values = connection.execute(text("SHOW GLOBAL STATUS LIKE 'Threads_connected'")).one()
    taken, most = int(values[1]), int(connection.execute(text("SELECT @@max_connections")).scalar_one())
    told = f"{taken} of {most} connections are taken"
    if taken > most * 0.9:
        why = "a daemon that cannot connect cannot renew its lease: it kills its workers and its jobs go to others"
        yield warning("connections", told, why=why, do="raise max_connections, or end idle sessions")
    else:
        yield ok("connections", told)


def collations(connection: Connection) -> Iterator[Finding]:
    """Identifiers must compare byte by byte, and rows be locked one by one."""
    odd = [f"{row.place} ({row.found})" for row in connection.execute(_ODD, {"tables": _tables()})]
    if odd:
        more = f" and {len(odd) - _MOST_NAMED} more" if len(odd) > _MOST_NAMED else ""
        yield problem(
            "collation",
            f"changed by somebody: {', '.join(odd[:_MOST_NAMED])}{more}",
            why="names that differ only in case or blanks are taken for the same, or rows cannot be locked one by one",
            do="ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin, or ENGINE = InnoDB",
        )
    else:
        yield ok("collation", "identifiers compare byte by byte")


def _tables() -> str:
    return ",".join(sorted(schema.metadata.tables))


# JSON is text with a check of its own; nothing is looked for in it, so its collation does not matter.
_ODD = text(f"""
SELECT concat(table_name, '.', column_name) AS place, collation_name AS found FROM information_schema.columns
WHERE table_schema = database() AND find_in_set(table_name, :tables) AND collation_name NOT LIKE '%{_BYTEWISE}'
UNION ALL
SELECT table_name, engine FROM information_schema.tables
WHERE table_schema = database() AND find_in_set(table_name, :tables) AND engine <> 'InnoDB'
ORDER BY place
""")


def transactions(connection: Connection) -> Iterator[Finding]:
    """Who keeps one open for long: old rows cannot be purged while he may read them."""
    old = connection.execute(_OPEN, {"seconds": _OLD_SECONDS}).all()
    for row in old[:_MOST_NAMED]:
        yield warning(
            "snapshot",
            f"connection {row.id} (user {row.who}) has had a transaction open for {row.seconds:,} s",
            why="what was deleted or changed since then cannot be purged, and everything gets slower",
            do=f"end that transaction, or its connection with KILL {row.id}",
        )
    if not old:
        yield ok("snapshot", "nobody keeps a transaction open")


_OPEN = text("""
SELECT t.trx_mysql_thread_id AS id, coalesce(p.user, 'unknown') AS who,
    timestampdiff(SECOND, t.trx_started, now()) AS seconds
FROM information_schema.innodb_trx AS t LEFT JOIN information_schema.processlist AS p ON p.id = t.trx_mysql_thread_id
WHERE t.trx_mysql_thread_id <> connection_id() AND timestampdiff(SECOND, t.trx_started, now()) >= :seconds
ORDER BY seconds DESC
""")
