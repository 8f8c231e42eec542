"""The nodes of a store as their rows show them: who is dead and not yet freed, and what each says of itself.

Judges nobody: only other nodes do (design section 7). Reads only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select, text

from jobwarden.clock import SECOND_US
from jobwarden.findings import counted, notice, ok, warning
from jobwarden.store.life import is_free, lock_path
from jobwarden.store.people.reading import all_nodes
from jobwarden.store.schema import job
from jobwarden.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from jobwarden.findings import Finding
    from jobwarden.store.dialects import Dialect
    from jobwarden.store.work import NodeView

_POLLING = "polling: "
"""How `Dialect.connection_mode` begins where no notification arrives."""
_LEASES = 2
"""So many without a beat, by wall clocks that may differ a little, and somebody should have freed the node."""


def nodes(connection: Connection, dialect: Dialect, *, now_us: int) -> Iterator[Finding]:
    """What the rows of `node` show."""
    found = all_nodes(connection)
    silent = [each for each in found if _is_silent(each, dialect, now_us=now_us)]
    live = [each for each in found if each not in silent]
    held: dict[str | None, int] = {row[0]: row[1] for row in connection.execute(_HELD)}
    if live:
        yield ok("nodes", f"{len(live)} alive: {', '.join(each.name for each in live)}")
    else:
        yield notice(
            "nodes",
            "no daemon runs on this store",
            why="added jobs wait until one does",
            do="start one with `jobwarden run`, or run what is ready once with `jobwarden run --burst`",
        )
    for each in silent:
        yield _dead(each, jobs=held.get(each.node_id, 0), somebody=bool(live), now_us=now_us)
    yield from _orphans(held, known={each.node_id for each in found})
    yield from _told(live)


_HELD = select(job.c.node_id, func.count()).where(text("status = 'processing'")).group_by(job.c.node_id)


def _is_silent(view: NodeView, dialect: Dialect, *, now_us: int) -> bool:
    folder = dialect.side_path("nodes") if dialect.shares_kernel else None
    if folder is not None and lock_path(folder, view.node_id).exists():
        return is_free(lock_path(folder, view.node_id))
    return now_us - view.beat_us > _LEASES * view.lease_seconds * SECOND_US


def _dead(view: NodeView, *, jobs: int, somebody: bool, now_us: int) -> Finding:
    seconds = (now_us - view.beat_us) / SECOND_US
    told = (
        f"{view.name} on {view.host} has not beaten for {seconds:,.0f} s and still holds {counted(jobs, 'running job')}"
    )
    if somebody:
        return warning(
            "nodes",
            told,
            why="another daemon frees the jobs of a dead one within its lease; that has not happened",
            do="look whether it hangs on its host, at the clocks of the hosts, and at the other daemons' logs",
        )
    return warning(
        "nodes",
        told,
        why="its jobs run again when another daemon sees that it is dead, and there is no other",
        do="start a daemon; it frees them within a lease, on the same host at once",
    )


def _orphans(held: dict[str | None, int], *, known: set[str]) -> Iterator[Finding]:
    number = sum(count for node_id, count in held.items() if node_id not in known)
    if number:
        yield warning(
            "orphans",
            f"{counted(number, 'running job')} of nodes that are not in the store",
            why="no node will end them: a row of `node` was deleted by hand, or a backup was restored",
            do="`jobwarden reclaim --older-than 0` gives them back",
        )


def _told(live: Sequence[NodeView]) -> Iterator[Finding]:
    """What living nodes say of themselves."""
    for view in live:
        if (view.report or {}).get("trusted") is False:
            yield warning(
                "lease",
                f"{view.name} has lost its lease and starts no jobs",
                why="it could not renew in time, so it has killed its workers; others take over its jobs",
                do="look at its log for why the database was out of reach; it joins again by itself",
            )
        mode = str((view.report or {}).get("connection") or "")
        if mode.startswith(_POLLING):
            yield notice(
                "connection",
                f"{view.name} looks for news once a second: {mode.removeprefix(_POLLING)}",
                why="a job waits up to a second before it starts, and an idle daemon asks more; nothing else changes",
                do="connect daemons straight to PostgreSQL, not by way of a pooler; MariaDB knows no other way",
            )
        if view.version != __version__:
            yield notice(
                "versions",
                f"{view.name} is version {view.version}, this is {__version__}",
                why="versions side by side are meant for the time of an upgrade",
                do="upgrade the older one",
            )
