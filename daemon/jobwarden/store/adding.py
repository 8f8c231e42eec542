"""Adding jobs: ids are reserved first, keys decide who is new, then everything is inserted in sets.

Works inside a transaction that its caller began, also on a connection that is not ours. Its first statement writes,
so that a transaction begun as a reader takes the write lock before it has seen anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from jobwarden.clock import SECOND_US
from jobwarden.store import entries
from jobwarden.store.schema import key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from jobwarden.jobs.options import JobOptions
    from jobwarden.store.entries import Row
    from jobwarden.store.statements import Statements

IDEMPOTENCY_TTL_SECONDS = 7 * 86_400
"""How long a key holds after its job has ended."""

_KEYS_PER_QUERY = 500


def add_jobs(connection: Connection, sql: Statements, options: Sequence[JobOptions], *, now_us: int) -> list[int]:
    """The ids in the order of `options`; the holder's id where an idempotency key is already held.

    Raises InvalidJobError, before anything is written, for a payload that cannot be stored.
    """
    if not options:
        return []
    rows = [entries.added(option, job_id=0, now_us=now_us) for option in options]
    last = connection.execute(sql.reserve_ids, {"count": len(options)}).scalar_one()
    first = last - len(options) + 1
    holders = _hold_keys(connection, sql, options, first=first, now_us=now_us)
    ids = [
        job_id if option.idempotency_key is None else holders[option.idempotency_key]
        for job_id, option in enumerate(options, first)
    ]
    new = [place for place, job_id in enumerate(ids) if job_id == first + place]
    if new:
        given = {"entries": entries.as_json([(ids[place], *rows[place][1:]) for place in new]), "now": now_us}
        connection.execute(sql.insert_jobs, given)
        connection.execute(sql.insert_added_events, {"first": first, "last": last, "now": now_us})
        _insert_tags(connection, sql, [(ids[place], options[place].tags) for place in new])
    return ids


def _hold_keys(
    connection: Connection, sql: Statements, options: Sequence[JobOptions], *, first: int, now_us: int
) -> dict[str, int]:
    """Which job holds each of the keys now; the first of equal keys in one call wins."""
    wanted: dict[str, int] = {}
    for job_id, option in enumerate(options, first):
        if option.idempotency_key is not None:
            wanted.setdefault(option.idempotency_key, job_id)
    if not wanted:
        return {}
    # Sorted, so that two bulk adds cannot wait for each other's keys crosswise.
    rows = sorted(wanted.items())
    held_since = now_us - IDEMPOTENCY_TTL_SECONDS * SECOND_US
    connection.execute(sql.hold_keys, {"entries": entries.as_json(rows), "now": now_us, "held_since": held_since})
    return _holders(connection, list(wanted))


def _holders(connection: Connection, names: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(names), _KEYS_PER_QUERY):
        some = names[start : start + _KEYS_PER_QUERY]
        query = select(key.c.name, key.c.job_id).where(key.c.name.in_(some))
        found.update((row.name, row.job_id) for row in connection.execute(query))
    return found


def _insert_tags(connection: Connection, sql: Statements, tagged: list[tuple[int, list[str]]]) -> None:
    rows: list[Row] = [
        (job_id, name, position) for job_id, tags in tagged for position, name in enumerate(dict.fromkeys(tags))
    ]
    if rows:
        connection.execute(sql.insert_tags, {"entries": entries.as_json(rows)})
