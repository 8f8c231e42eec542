"""What `jobwarden doctor` asks a PostgreSQL server: version, settings, connections, rights; the rest stands beside it.

Reads catalogs and settings only. Called through the dialect; each check has a transaction of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from jobwarden.findings import notice, ok, problem, warning
from jobwarden.store import schema
from jobwarden.store.dialects.postgresql.index_health import index_health
from jobwarden.store.dialects.postgresql.snapshots import snapshots
from jobwarden.store.dialects.postgresql.table_health import dead_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from jobwarden.findings import Finding
    from jobwarden.store.checkup.check import Check
    from jobwarden.store.dialects.postgresql.line import Line

OLDEST, OLDEST_NAME = 140_000, "14"
"""The oldest release that its makers still look after."""
_FEW_CONNECTIONS = 10
_TABLES = sorted(schema.metadata.tables)


def checks() -> list[Check]:
    """In the order in which they are asked."""
    return [server, settings, connections, rights, events, snapshots, dead_rows, index_health]


def server(connection: Connection) -> Iterator[Finding]:
    """Version, role and encoding."""
    row = connection.execute(_SERVER).one()
    if row.number < OLDEST:
        why = "it is older than what jobwarden is tried on, and no longer looked after by its makers"
        yield warning("server-version", f"PostgreSQL {row.version}", why=why, do=f"update to {OLDEST_NAME} or newer")
    else:
        yield ok("server-version", f"PostgreSQL {row.version}")
    driver: Line = connection.connection.driver_connection  # type: ignore[assignment]
    if driver.is_pooled:
        yield notice(
            "pooler",
            "a pooler shares the server's connections between transactions",
            why="no notification arrives through it, so daemons look for new jobs once a second",
            do="give daemons a straight connection, or sessions of their own (pool_mode = session)",
        )
    if row.standby or row.read_only:
        what = "the server is a standby" if row.standby else "transactions are read-only by default"
        why = "nothing can be added, claimed or finished on it"
        yield problem("server", what, why=why, do="connect to the primary, or set default_transaction_read_only = off")
    if row.encoding != "UTF8":
        yield problem(
            "encoding",
            f"the database's encoding is {row.encoding}",
            why="jobs whose payload or output has other characters than its own are refused",
            do="make a database with ENCODING 'UTF8' TEMPLATE template0 and `jobwarden migrate` it",
        )


_SERVER = text("""
SELECT current_setting('server_version_num')::int AS number, split_part(current_setting('server_version'), ' ', 1)
    AS version, current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby,
    (SELECT reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only') AS read_only
""")


def settings(connection: Connection) -> Iterator[Finding]:
    """Those that decide whether an accepted job survives, and whether dead rows are removed."""
    found: dict[str, str] = {row.name: row.reset_val for row in connection.execute(_SETTINGS)}
    odd = False
    for name, why in _MUST_BE_ON.items():
        if found.get(name) == "off":
            odd = True
            yield warning("settings", f"{name} is off", why=why, do=f"set {name} = on, and reload the server")
    if not odd:
        yield ok("settings", "commits last, and dead rows are removed")


_LASTING = "a commit that was acknowledged may be gone after a crash of the server: added jobs and outcomes are lost"
_VACUUM = "dead rows are never removed: claims get slower with every job"
_MUST_BE_ON = {
    "fsync": _LASTING,
    "full_page_writes": "a power cut may damage the database",
    "synchronous_commit": _LASTING,
    "autovacuum": _VACUUM,
    "track_counts": _VACUUM,
}
# reset_val: what a session begins with, whatever this one has set for itself.
_SETTINGS = text(f"""
SELECT name, reset_val FROM pg_settings WHERE name IN ({", ".join(f"'{name}'" for name in _MUST_BE_ON)})
""")


def connections(connection: Connection) -> Iterator[Finding]:
    """How many the server has left."""
    row = connection.execute(_CONNECTIONS).one()
    free = row.most - row.taken
    told = f"{row.taken} of {row.most} connections are taken, {row.ours} of them by jobwarden"
    if free < _FEW_CONNECTIONS:
        why = "a daemon that cannot connect cannot renew its lease: it kills its workers and its jobs go to others"
        do = "raise max_connections, end idle sessions, or put a pooler before the other applications"
        yield warning("connections", told, why=why, do=do)
    else:
        yield ok("connections", told)


_CONNECTIONS = text("""
SELECT count(*) AS taken, count(*) FILTER (WHERE application_name LIKE 'jobwarden%') AS ours,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most
FROM pg_stat_activity WHERE backend_type = 'client backend'
""")


def rights(connection: Connection) -> Iterator[Finding]:
    """Whether this role may do a daemon's work, and whether it may migrate."""
    row = connection.execute(_RIGHTS, {"tables": _TABLES}).one()
    user, place = row.user, row.place
    if row.barred:
        names = ", ".join(row.barred)
        yield problem(
            "rights",
            f"the role {user} may not read and write {names}",
            why="adding, claiming or finishing jobs fails",
            do=f"as their owner: GRANT SELECT, INSERT, UPDATE, DELETE ON {names} TO {user}; "
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {place} TO {user}",
        )
    else:
        yield ok("rights", f"the role {user} may read and write all tables")
    if not row.creates:
        yield notice(
            "rights",
            f"the role {user} may not make tables in the schema {place}",
            why="`jobwarden migrate` needs that, daemons do not",
            do=f"migrate as the owner of the tables, or GRANT CREATE ON SCHEMA {place} TO {user}",
        )


_RIGHTS = text("""
WITH ours AS (SELECT name, to_regclass(quote_ident(name)) AS id FROM unnest(CAST(:tables AS text[])) AS name)
SELECT current_user AS "user", coalesce(current_schema(), 'public') AS place,
    has_schema_privilege(coalesce(current_schema(), 'public'), 'CREATE') AS creates,
    (SELECT array_agg(name ORDER BY name) FROM ours WHERE id IS NOT NULL AND NOT (
        has_table_privilege(id, 'SELECT') AND has_table_privilege(id, 'INSERT')
        AND has_table_privilege(id, 'UPDATE') AND has_table_privilege(id, 'DELETE')
        AND NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_class AS s ON s.oid = d.objid WHERE d.refobjid = ours.id
            AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') END))) AS barred
""")


def events(connection: Connection) -> Iterator[Finding]:
    """Whether a dump of another server was restored here, whose transactions have numbers that are still to come."""
    is_there = connection.execute(text("SELECT to_regclass('event') IS NOT NULL")).scalar_one()
    if is_there and connection.execute(_FROM_ELSEWHERE).scalar_one():
        yield problem(
            "events",
            "events carry numbers of transactions that this server has not reached: they come from another one",
            why="who follows events is not told of these, and after a cursor of theirs of nothing that happens now",
            do="UPDATE event SET xid = 0 WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint; "
            "who follows begins without a cursor",
        )
    elif is_there:
        yield ok("events", "all events are of this server's transactions")


_FROM_ELSEWHERE = text("""
SELECT EXISTS (SELECT FROM event
               WHERE xid >= CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint))
""")
