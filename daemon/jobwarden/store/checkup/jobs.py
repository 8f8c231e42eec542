"""Jobs that will not move by themselves: of types that nobody serves, or running longer than anybody allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select, text

from jobwarden.clock import MILLISECOND_US, SECOND_US
from jobwarden.findings import counted, ok, warning
from jobwarden.store.keeping.reclaiming import GRACE_US, beyond_prolonged
from jobwarden.store.people.reading import all_nodes
from jobwarden.store.schema import job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from jobwarden.findings import Finding

_MOST_NAMED = 5
_MOST_RUNNING = 10_000
_DEAF_US = 300 * SECOND_US
"""A wish that was not obeyed for so long is not just waiting for a kill."""
_RUNNING = text("status = 'processing'")


def jobs(connection: Connection, *, now_us: int) -> Iterator[Finding]:
    """Findings about waiting and about running jobs."""
    yield from _unserved(connection, now_us=now_us)
    stuck, deaf = _stuck(connection, now_us=now_us), _deaf(connection, now_us=now_us)
    if stuck:
        yield warning(
            "running",
            f"{counted(len(stuck), 'running job')} beyond the timeout: {_names(stuck)}",
            why="their node should have killed them by now: it is gone, frozen, or a process does not die",
            do="see `jobwarden status`; `jobwarden reclaim --older-than 0` frees those of dead nodes, asks living ones",
        )
    if deaf:
        yield warning(
            "running",
            f"{counted(len(deaf), 'running job')} asked to stop minutes ago: {_names(deaf)}",
            why="their node has not seen the wish, or cannot carry it out",
            do="see `jobwarden status` and the node's log",
        )
    if not stuck and not deaf:
        yield ok("running", "no job runs beyond its timeout")


def _unserved(connection: Connection, *, now_us: int) -> Iterator[Finding]:
    """Only where a daemon that lives, by wall clocks, has said what it serves."""
    live = [each for each in all_nodes(connection) if now_us - each.beat_us <= 2 * each.lease_seconds * SECOND_US]
    views = [each for each in live if each.types is not None]
    if not views:
        return
    served = {each.job_type for view in views for each in view.types or ()}
    waiting = select(job.c.job_type, func.count()).where(text("ready = 1")).group_by(job.c.job_type)
    lost = {name: number for name, number in connection.execute(waiting) if name not in served}
    if lost:
        shown = ", ".join(f"{name} ({number:,})" for name, number in sorted(lost.items())[:_MOST_NAMED])
        more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
        yield warning(
            "handlers",
            f"ready jobs of types that no daemon serves: {shown}{more}",
            why="they wait for ever, and cost no attempt",
            do="add the handler, or end them with `jobwarden cancel --type TYPE`",
        )
    else:
        yield ok("handlers", "every type with ready jobs is served")


def _stuck(connection: Connection, *, now_us: int) -> Sequence[int]:
    timed = select(job.c.id, job.c.locked_at, job.c.timeout_ms).where(_RUNNING, job.c.timeout_ms.is_not(None))
    rows = connection.execute(timed.order_by(job.c.locked_at).limit(_MOST_RUNNING))
    over = [each.id for each in rows if each.locked_at + each.timeout_ms * MILLISECOND_US + GRACE_US < now_us]
    return beyond_prolonged(connection, over, now_us=now_us)


def _deaf(connection: Connection, *, now_us: int) -> Sequence[int]:
    asked = select(job.c.id).where(_RUNNING, text("wish IS NOT NULL"), job.c.wish_at < now_us - _DEAF_US)
    return connection.execute(asked.order_by(job.c.id)).scalars().all()


def _names(ids: Sequence[int]) -> str:
    more = ", …" if len(ids) > _MOST_NAMED else ""
    return ", ".join(map(str, ids[:_MOST_NAMED])) + more
