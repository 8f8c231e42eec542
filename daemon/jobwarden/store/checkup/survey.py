"""The whole checkup of a store: what is seen from outside, what its database says, what stands in its tables.

Every check has a transaction of its own, so that one which fails (no permission, a lock) is one finding and the others
still appear. Never writes, never migrates. Called by `cli.doctor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.errors import SchemaMismatchError, StoreError
from jobwarden.findings import notice, ok, problem
from jobwarden.store import migrations
from jobwarden.store.checkup.check import NO_DATABASE
from jobwarden.store.checkup.clocks import clocks
from jobwarden.store.checkup.indexes import indexes
from jobwarden.store.checkup.jobs import jobs
from jobwarden.store.checkup.nodes import nodes
from jobwarden.store.checkup.rounds import rounds
from jobwarden.store.transactions import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from jobwarden.clock import Clock
    from jobwarden.findings import Finding
    from jobwarden.store.checkup.check import Check
    from jobwarden.store.dialects import Dialect


def examine(dialect: Dialect, *, clock: Clock, thorough: bool) -> Iterator[Finding]:
    """All findings about this store. `thorough` also reads the whole database."""
    for finding in _from_outside(dialect):
        yield finding
        if finding.subject == NO_DATABASE:
            return
    if away := _away(dialect):
        yield away
        return
    yield (revision := _revision(dialect))
    for check in dialect.checks(thorough=thorough):
        yield from _asked(dialect, check)
    if revision.severity == "ok":
        yield from _contents(dialect, clock=clock)


def _from_outside(dialect: Dialect) -> Iterator[Finding]:
    try:
        yield from dialect.examine_place()
    except OSError as error:
        why = "whoever cannot look there cannot open it either"
        yield problem("place", f"{error.filename}: {error.strerror}", why=why, do="check owners and modes on the way")


def _away(dialect: Dialect) -> Finding | None:
    """Why the database cannot be reached, if it cannot."""
    try:
        with connected(dialect, writing=False):
            return None
    except StoreError as error:
        why = "nothing can be added, claimed or finished; daemons keep their outcomes and try again"
        return problem(NO_DATABASE, _sentence(error), why=why, do="what the sentence says, then ask again")


def _revision(dialect: Dialect) -> Finding:
    """Whether the schema is this version's; if not, what stands in its tables is left alone."""
    why = "daemons and clients of this version cannot work on it"
    try:
        with connected(dialect, writing=False) as connection:
            found = migrations.revision_of(connection)
    except StoreError as error:
        return problem("schema", _sentence(error), why=why, do="let this database user read and write all tables")
    if found == migrations.HEAD:
        return ok("schema", f"the schema is {found}, as this version wants it")
    mismatch = SchemaMismatchError(dialect.url_shown, found, migrations.HEAD)
    told, _, do = str(mismatch).rpartition("; ")
    return problem("schema", told, why=why, do=do)


def _contents(dialect: Dialect, *, clock: Clock) -> Iterator[Finding]:
    now_us = clock.now_us()

    def of_nodes(connection: Connection) -> Iterator[Finding]:
        return nodes(connection, dialect, now_us=now_us)

    def of_jobs(connection: Connection) -> Iterator[Finding]:
        return jobs(connection, now_us=now_us)

    def of_clocks(connection: Connection) -> Iterator[Finding]:
        return clocks(connection, now_us=now_us)

    def of_rounds(connection: Connection) -> Iterator[Finding]:
        return rounds(connection, now_us=now_us)

    for check in (indexes, of_nodes, of_jobs, of_clocks, of_rounds):
        yield from _asked(dialect, check)


def _asked(dialect: Dialect, check: Check) -> list[Finding]:
    try:
        with connected(dialect, writing=False) as connection:
            return list(check(connection))
    except StoreError as error:
        name = check.__name__.strip("_").removeprefix("of_").replace("_", "-")
        why = "whatever is wrong there stays unseen"
        do = "run doctor as a database user who may read it, or again when the database is less busy"
        return [notice(name, f"{name}: could not be looked at: {_sentence(error)}", why=why, do=do)]


def _sentence(error: StoreError) -> str:
    """Its first line: drivers add the statement."""
    return str(error).splitlines()[0]
