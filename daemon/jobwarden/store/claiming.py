"""Claiming: promote what is due, choose, take, record. Called by the writer, inside its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from jobwarden.jobs.claim import ClaimedJob, TypeTerms
from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS
from jobwarden.store import entries

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobwarden.store.statements import Statements
    from jobwarden.store.work import Claim, Work

_decode = msgspec.json.Decoder(list[ClaimedJob]).decode


def claim_jobs(connection: Connection, sql: Statements, work: Work, claim: Claim) -> list[ClaimedJob]:
    """The jobs that now belong to this claim, in the order of claiming; none if the node's own row is gone."""
    connection.execute(sql.promote_due, {"now": work.now_us})
    chosen = _choose(connection, sql, claim, node_id=work.node_id)
    if chosen:
        taken = {"node_id": work.node_id, "batch": claim.batch, "now": work.now_us}
        for terms, ids in _by_type(claim, chosen):
            values = {**taken, **terms, "node_name": work.node_name, "ids": entries.as_json(ids)}
            connection.execute(sql.claim_jobs, values)
        connection.execute(sql.record_processing, taken)
    return chosen


def _choose(connection: Connection, sql: Statements, claim: Claim, *, node_id: str) -> list[ClaimedJob]:
    terms = [(offer.job_type, *_effective(offer).values()) for offer in claim.types]
    given = {"terms": entries.as_json(terms), "limit": claim.limit, "node_id": node_id}
    return _decode(connection.execute(sql.choose_ready(len(terms)), given).scalar_one())


def _by_type(claim: Claim, chosen: list[ClaimedJob]) -> list[tuple[dict[str, Any], list[int]]]:
    """One UPDATE for each type: an id list with constants costs a third of an UPDATE that joins its values."""
    ids: dict[str, list[int]] = {}
    for job in chosen:
        ids.setdefault(job.job_type, []).append(job.id)
    return [(_effective(offer), ids[offer.job_type]) for offer in claim.types if offer.job_type in ids]


def _effective(terms: TypeTerms) -> dict[str, Any]:
    """What holds for a job of this type that says nothing itself; in the order of the statement's `terms`."""
    return {
        "max_attempts": DEFAULT_MAX_ATTEMPTS if terms.max_attempts is None else terms.max_attempts,
        "timeout_ms": terms.timeout_ms,
        "retry_delay": DEFAULT_RETRY_DELAY_SECONDS if terms.retry_delay is None else terms.retry_delay,
    }
