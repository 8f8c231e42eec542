"""Adding jobs: ids are reserved first, keys decide who is new, then everything is inserted in sets.

Works inside a transaction that its caller began, also on a connection that is not ours. Its first statement writes,
so that a transaction begun as a reader takes the write lock before it has seen anything. Jobs with prerequisites are
inserted as if all of these were still to come; what has ended already is settled right after.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from jobwarden.clock import SECOND_US, to_us
from jobwarden.errors import InvalidJobError
from jobwarden.jobs.options import LAST_MOMENT, JobOptions
from jobwarden.jobs.outcome import JobStatus
from jobwarden.store import entries
from jobwarden.store.gates import barriers, edges, prerequisites
from jobwarden.store.gates.barriers import Waiting
from jobwarden.store.gates.follow_up import follow_up
from jobwarden.store.gates.lanes import Lanes, Place, adjust
from jobwarden.store.numbers import reserve_numbers
from jobwarden.store.readiness import NOT_READY, Gate, Readiness, readiness
from jobwarden.store.schema import key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, TextClause

    from jobwarden.store.entries import Row
    from jobwarden.store.gates.prerequisites import References
    from jobwarden.store.statements import Statements

IDEMPOTENCY_TTL_SECONDS = 7 * 86_400
"""How long a key holds after its job has ended, unless it has a time to live of its own."""

_RARE = {"group_id", "dead_letter_job_type", "expires_in", "heartbeat_timeout_ms", "depends_on"}
_PLAIN = frozenset(JobOptions.model_fields) - _RARE
"""What can be said of a job that `insert_jobs` writes; who says anything else needs `insert_jobs_in_full`."""

_KEYS_PER_QUERY = 500
_HELD_BY_PARENTS = Readiness(None, None, Gate.PARENTS)
_RUN_AT = entries.ADDED.index("run_at") - 1


def add_jobs(
    connection: Connection, sql: Statements, options: Sequence[JobOptions], *, now_us: int, own: bool = True
) -> list[int]:
    """The ids in the order of `options`; the holder's id where an idempotency key is already held.

    Not `own`: the transaction is somebody else's, who may leave it open for long while others write. Then limited jobs
    only come into their lanes, which nobody may hold locked for long; a round of maintenance admits them.

    A job that repeats a held key changes nothing about the job that holds it, neither its prerequisites nor its
    payload. Raises InvalidJobError, with nothing written, for a payload that cannot be stored and for prerequisites
    that do not exist or go in a circle.
    """
    if not options:
        return []
    known = _known(options, now_us=now_us)
    references = prerequisites.references_of(options)
    keys = _wanted_keys(options, now_us=now_us)
    numbers, controlled = reserve_numbers(connection, sql, len(options))
    # Whether prerequisites exist is asked of new jobs only, after the keys were written.
    undone: AbstractContextManager[object] = connection.begin_nested() if references and keys else nullcontext()
    with undone:
        holders = _hold_keys(connection, sql, keys, numbers=numbers, now_us=now_us)
        ids = [
            job_id if option.idempotency_key is None else holders[option.idempotency_key]
            for job_id, option in zip(numbers, options, strict=True)
        ]
        new = [place for place, job_id in enumerate(ids) if job_id == numbers[place]]
        parents = prerequisites.resolve(connection, references, ids, new) if references else {}
        if new:
            lanes = Lanes.load(connection) if controlled else None
            batch = _Batch(connection, sql, options, known, ids, new, parents, lanes, now_us, own)
            batch.insert()
            batch.settle()
    return ids


@dataclass(frozen=True)
class _Batch:
    """The new ones of the jobs of one call."""

    connection: Connection
    sql: Statements
    options: Sequence[JobOptions]
    known: list[Row]
    """Of all jobs, `entries.added`."""
    ids: list[int]
    """Of all jobs; the new ones' ascend."""
    new: list[int]
    """Places in the three above."""
    parents: dict[int, References]
    lanes: Lanes | None
    """None if there are no controls."""
    now_us: int
    own: bool
    in_lanes: set[Place] = field(default_factory=set)

    def insert(self) -> None:
        """Jobs, events, tags and open edges."""
        rare = [
            place for place in self.new if self.lanes is not None or not self.options[place].model_fields_set <= _PLAIN
        ]
        plain = self.new if not rare else sorted(set(self.new) - set(rare))
        self._insert(self.sql.insert_jobs, self._plain_rows(plain))
        self._insert(self.sql.insert_jobs_in_full, [self._full_row(place) for place in rare])
        added = {"ids": entries.as_json([self.ids[place] for place in self.new]), "now": self.now_us}
        self.connection.execute(self.sql.insert_added_events, added)
        self._insert_tags()
        edges.insert_edges(self.connection, {self.ids[place]: found for place, found in self.parents.items()})

    def settle(self) -> None:
        """Prerequisites that have ended already, barriers, lanes."""
        tagged = [place for place in self.new if self.options[place].depends_on.tags and place not in self.parents]
        ended: list[int] = []
        if self.parents or tagged:
            lanes = Lanes.load(self.connection) if self.lanes is None else self.lanes
            dependents = [self.ids[place] for place in self.parents]
            settled = edges.settle_of(self.connection, self.sql, dependents, lanes=lanes, now_us=self.now_us)
            waiting = [self._waiting(place) for place in tagged]
            more = barriers.admit(self.connection, self.sql, waiting, lanes=lanes, now_us=self.now_us)
            ended = settled.ended
            self.in_lanes.update(settled.touched | more)
        follow_up(self.connection, self.sql, ended=ended, touched=self.in_lanes, now_us=self.now_us)
        if self.own:
            adjust(self.connection, self.in_lanes, now_us=self.now_us)

    def _insert(self, statement: TextClause, rows: list[Row]) -> None:
        if rows:
            for _, some in entries.portions(rows, longest_bytes=self.sql.longest_set_bytes):
                self.connection.execute(statement, {"entries": some, "now": self.now_us})

    def _plain_rows(self, places: list[int]) -> list[Row]:
        at_once = readiness(JobStatus.PENDING, due_us=self.now_us, now_us=self.now_us)[:2]
        found = ((place, self.known[place]) for place in places)
        # Most of ten thousand jobs are due at once: that much is worked out once.
        return [
            (self.ids[place], *row, *(at_once if row[_RUN_AT] == self.now_us else self._readiness(place)[:2]))
            for place, row in found
        ]

    def _full_row(self, place: int) -> Row:
        ready, due_at, gate = self._readiness(place)
        rest = entries.rare_fields(self.options[place], now_us=self.now_us)
        return (self.ids[place], *self.known[place], ready, due_at, gate, *rest)

    def _readiness(self, place: int) -> Readiness:
        if place in self.parents:
            return _HELD_BY_PARENTS
        option = self.options[place]
        if option.depends_on.tags:
            # Its row comes first, then its barrier can be looked for.
            return NOT_READY
        limited = self.lanes is not None and self.lanes.limited(option.job_type, option.group_id)
        if limited:
            self.in_lanes.add((option.job_type, option.group_id))
        return readiness(JobStatus.PENDING, due_us=self._run_at(place), now_us=self.now_us, limited=limited)

    def _run_at(self, place: int) -> int:
        run_at: int = self.known[place][_RUN_AT]  # type: ignore[assignment]
        return run_at

    def _waiting(self, place: int) -> Waiting:
        option = self.options[place]
        tags = entries.as_json(option.depends_on.tags)
        return Waiting(self.ids[place], option.job_type, option.group_id, self._run_at(place), tags)

    def _insert_tags(self) -> None:
        rows: list[Row] = [
            (self.ids[place], name, position)
            for place in self.new
            if self.options[place].tags
            for position, name in enumerate(dict.fromkeys(self.options[place].tags))
        ]
        self._insert(self.sql.insert_tags, rows)


def _known(options: Sequence[JobOptions], *, now_us: int) -> list[Row]:
    try:
        return [entries.added(option, now_us=now_us) for option in options]
    except InvalidJobError:
        for place, option in enumerate(options):
            _refuse(option, place, batch=len(options), now_us=now_us)
        raise


def _refuse(option: JobOptions, place: int, *, batch: int, now_us: int) -> None:
    try:
        entries.added(option, now_us=now_us)
    except InvalidJobError as error:
        raise InvalidJobError(prerequisites.field_of(place, error.field, batch=batch), error.problem) from None


def _wanted_keys(options: Sequence[JobOptions], *, now_us: int) -> dict[str, tuple[int, int | None]]:
    """Key -> (place, when it expires by itself); the first of equal keys in one call wins."""
    wanted: dict[str, tuple[int, int | None]] = {}
    for place, option in enumerate(options):
        if option.idempotency_key is not None:
            wanted.setdefault(option.idempotency_key, (place, _key_expires_us(option, now_us=now_us)))
        elif option.idempotency_ttl is not None:
            name = prerequisites.field_of(place, "idempotency_ttl", batch=len(options))
            raise InvalidJobError(name, "is the time to live of an idempotency_key; give one, or leave it out")
    return wanted


def _key_expires_us(option: JobOptions, *, now_us: int) -> int | None:
    match option.idempotency_ttl:
        case None:
            return None
        case "forever":
            return to_us(LAST_MOMENT)
        case seconds:
            return now_us + int(seconds * SECOND_US)


def _hold_keys(
    connection: Connection,
    sql: Statements,
    keys: dict[str, tuple[int, int | None]],
    *,
    numbers: Sequence[int],
    now_us: int,
) -> dict[str, int]:
    """Which job holds each of the keys now."""
    if not keys:
        return {}
    # Sorted, so that two bulk adds cannot wait for each other's keys crosswise.
    rows = [(name, numbers[place], expires_us) for name, (place, expires_us) in sorted(keys.items())]
    held_since = now_us - IDEMPOTENCY_TTL_SECONDS * SECOND_US
    for _, some in entries.portions(rows, longest_bytes=sql.longest_set_bytes):
        given = {"entries": some, "now": now_us, "held_since": held_since}
        if sql.lock_keys is not None:
            connection.execute(sql.lock_keys, given)
        connection.execute(sql.hold_keys, given)
    return _holders(connection, list(keys))


def _holders(connection: Connection, names: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(names), _KEYS_PER_QUERY):
        some = names[start : start + _KEYS_PER_QUERY]
        # A caller's transaction may have begun before the holder was there: what is locked is read as it is now.
        query = select(key.c.name, key.c.job_id).where(key.c.name.in_(some)).with_for_update(read=True)
        found.update((row.name, row.job_id) for row in connection.execute(query))
    return found
