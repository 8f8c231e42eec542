"""Claiming: promote what is due, choose, take, record. Called by the writer, last in its transaction.

From `prepare` on nothing waits for a row of `job`: what somebody else is changing is passed over. Where nothing is
limited, paused or expiring, all of that costs one tiny read more than if it did not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import delete, func, select, text, update

from jobwarden.jobs.claim import ClaimedJob, TypeTerms
from jobwarden.jobs.control import EVERYTHING
from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS
from jobwarden.store import entries
from jobwarden.store.gates.lanes import NO_LANES, WAITER, Lanes, Place, Waiter, adjust_changed, admit, withdraw
from jobwarden.store.gates.limits import TYPE, Limits, read_limits, says_nothing
from jobwarden.store.gates.tokens import admit_by_time, next_token_us, take_for
from jobwarden.store.keeping.expiring import expire_all
from jobwarden.store.schema import control, job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, TextClause

    from jobwarden.store.statements import Statements
    from jobwarden.store.work import Claim, Work

_decode = msgspec.json.Decoder(list[ClaimedJob]).decode

MOST_PROMOTED = 500
_CANDIDATES = 8
"""Of so many claims at once the last one still finds jobs, if there are so many."""
# Literals, so that job_due and job_node are used.
_DUE = text("ready IS NULL AND due_at IS NOT NULL AND gate IS NULL")
_RUNNING = text("status = 'processing'")


class _Offer(NamedTuple):
    """A type of which jobs may be taken; `room` is None for as many as there are."""

    terms: TypeTerms
    room: int | None


class Taken(NamedTuple):
    """What a claim got."""

    jobs: list[ClaimedJob]
    """In the order of claiming."""
    held_back: bool
    """A limit per node may have kept jobs back: the end of one that this node runs makes room for the next."""


def claim_jobs(connection: Connection, sql: Statements, work: Work, claim: Claim, *, lanes: Lanes) -> Taken:
    """The jobs that now belong to this claim, of what is ready; none if the node's own row is gone.

    `lanes` are as `prepare` found them.
    """
    if lanes.limits.has_rates:
        lanes = Lanes.lock(connection)
        admit_by_time(connection, sql, lanes, now_us=work.now_us)
    offers = _offers(connection, lanes.limits, work, claim)
    if sql.take_ready is not None and not lanes.limits.has_rates:
        taken = _run(connection, sql.take_ready, offers, work, claim)
    else:
        taken = _choose_and_take(connection, sql, offers, work, claim, lanes=lanes)
    return Taken(taken, held_back=_held_back(offers, taken))


def _choose_and_take(
    connection: Connection, sql: Statements, offers: list[_Offer], work: Work, claim: Claim, *, lanes: Lanes
) -> list[ClaimedJob]:
    chosen = _run(connection, sql.choose_ready, offers, work, claim)
    if chosen and lanes.limits.has_rates:
        allowed = take_for(connection, lanes, [each.id for each in chosen], now_us=work.now_us)
        chosen = [each for each in chosen if each.id in allowed]
    if chosen:
        taken = {"node_id": work.node_id, "batch": claim.batch, "now": work.now_us}
        for terms, ids in _by_type(offers, chosen):
            values = {**taken, **terms, "node_name": work.node_name, "ids": entries.as_json(ids)}
            connection.execute(sql.claim_jobs, values)
        connection.execute(sql.record_processing, taken)
    return chosen


def next_due_us(connection: Connection, sql: Statements, seen: Sequence[Any], *, now_us: int) -> int | None:
    """When the store is worth a look again; `seen` is what the statement `look` saw."""
    due, expires, controlled, *_rest = seen
    moments = [moment for moment in (due, expires) if moment is not None]
    if controlled:
        limits = read_limits(connection)
        moments += [until for until in limits.paused.values() if until is not None and until > now_us]
        token = next_token_us(connection, sql, limits, now_us=now_us) if limits.has_rates else None
        moments += [] if token is None else [token]
    return min(moments, default=None)


def prepare(connection: Connection, sql: Statements, *, touched: set[Place], now_us: int) -> Lanes | None:
    """What time has brought: jobs have expired, pauses are over, jobs are due. The caller has the lanes adjusted.

    None if more jobs have expired than could be cancelled in one go: none of them must be chosen, so come again.
    """
    controlled, expires, due = connection.execute(sql.outlook).one()
    if expires is not None and expires <= now_us and not expire_all(connection, sql, touched=touched, now_us=now_us):
        return None
    lanes = Lanes.load(connection) if controlled else NO_LANES
    if _over(lanes.limits, now_us=now_us):
        lanes = _lift_pauses(connection, now_us=now_us)
    if due is not None and due <= now_us:
        _promote(connection, sql, lanes, touched=touched, now_us=now_us)
    return lanes


def _over(limits: Limits, *, now_us: int) -> list[str]:
    return [name for name, until in limits.paused.items() if until is not None and until <= now_us]


def _lift_pauses(connection: Connection, *, now_us: int) -> Lanes:
    """Pauses of which the end has come are taken off, so that lanes admit these types again."""
    over = _over(Lanes.lock(connection).limits, now_us=now_us)
    lifted = {"paused_at": None, "paused_until": None, "pause_reason": None, "updated_at": now_us}
    connection.execute(update(control).where(control.c.paused_until <= now_us).values(lifted))
    connection.execute(delete(control).where(says_nothing()))
    for name in over:
        adjust_changed(connection, TYPE, name, now_us=now_us)
    return Lanes.load(connection)


def _promote(connection: Connection, sql: Statements, lanes: Lanes, *, touched: set[Place], now_us: int) -> None:
    """Make jobs ready whose time has come; what is limited waits for its lanes to admit it."""
    if lanes.empty:
        connection.execute(sql.promote_due, {"now": now_us})
        return
    due = select(*WAITER).where(_DUE, job.c.due_at <= now_us).order_by(job.c.due_at).limit(MOST_PROMOTED)
    found = [Waiter(*row) for row in connection.execute(due)]
    limited = [waiter for waiter in found if lanes.limited(*waiter[1:])]
    held = {waiter.id for waiter in limited}
    admit(connection, [waiter.id for waiter in found if waiter.id not in held], _DUE)
    withdraw(connection, list(held), _DUE)
    touched |= {waiter[1:] for waiter in limited}


def _offers(connection: Connection, limits: Limits, work: Work, claim: Claim) -> list[_Offer]:
    """The types that are not paused, those with a limit on this node first."""
    if EVERYTHING in limits.paused:
        return []
    bounds = {terms.job_type: _bound(limits, terms) for terms in claim.types}
    running = _running_here(connection, work.node_id) if any(bound is not None for bound in bounds.values()) else {}
    offers = []
    for terms in claim.types:
        bound = bounds[terms.job_type]
        if terms.job_type not in limits.paused:
            offers.append(_Offer(terms, None if bound is None else max(0, bound - running.get(terms.job_type, 0))))
    return sorted(offers, key=lambda offer: offer.room is None)


def _held_back(offers: list[_Offer], chosen: list[ClaimedJob]) -> bool:
    """Whether a type has reached its limit on this node, so that there may be more jobs of it."""
    full = {offer.terms.job_type: offer.room for offer in offers if offer.room is not None}
    return any(sum(each.job_type == name for each in chosen) >= room for name, room in full.items())


def _bound(limits: Limits, terms: TypeTerms) -> int | None:
    """The smaller of what the handler and what an operator allows on one node."""
    known = [each for each in (terms.max_per_node, limits.per_node.get(terms.job_type)) if each is not None]
    return min(known, default=None)


def _running_here(connection: Connection, node_id: str) -> dict[str, int]:
    mine = select(job.c.job_type, func.count()).where(_RUNNING, job.c.node_id == node_id).group_by(job.c.job_type)
    return {row[0]: row[1] for row in connection.execute(mine)}


def _run(
    connection: Connection,
    statement: Callable[[int, int, bool], TextClause],
    offers: list[_Offer],
    work: Work,
    claim: Claim,
) -> list[ClaimedJob]:
    """What `choose_ready` or `take_ready` gives."""
    if not offers:
        return []
    terms = [(offer.terms.job_type, *_effective(offer.terms).values(), offer.room) for offer in offers]
    given = {"terms": entries.as_json(terms), "limit": claim.limit, "node_id": work.node_id}
    given["near"] = _CANDIDATES * claim.limit
    given |= {f"type_{place}": offer.terms.job_type for place, offer in enumerate(offers)}
    given |= {"node_name": work.node_name, "batch": claim.batch, "now": work.now_us}
    bounded = sum(offer.room is not None for offer in offers)
    heartbeats = any(offer.terms.heartbeat_timeout_ms is not None for offer in offers)
    return _decode(connection.execute(statement(len(terms), bounded, heartbeats), given).scalar_one())


def _by_type(offers: list[_Offer], chosen: list[ClaimedJob]) -> list[tuple[dict[str, Any], list[int]]]:
    """One UPDATE for each type: an id list with constants costs a third of an UPDATE that joins its values."""
    ids: dict[str, list[int]] = {}
    for each in chosen:
        ids.setdefault(each.job_type, []).append(each.id)
    all_terms = [offer.terms for offer in offers]
    return [(_effective(terms), ids[terms.job_type]) for terms in all_terms if terms.job_type in ids]


def _effective(terms: TypeTerms) -> dict[str, Any]:
    """What holds for a job of this type that says nothing itself; in the order of the statement's `terms`."""
    return {
        "max_attempts": DEFAULT_MAX_ATTEMPTS if terms.max_attempts is None else terms.max_attempts,
        "timeout_ms": terms.timeout_ms,
        "retry_delay": DEFAULT_RETRY_DELAY_SECONDS if terms.retry_delay is None else terms.retry_delay,
        "heartbeat_timeout_ms": terms.heartbeat_timeout_ms,
    }
