"""Claiming: promote what is due, choose, take, record. Called by the writer, inside its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jobwarden.jobs.claim import ClaimedJob
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
        given = {
            "entries": entries.as_json([entries.claimed(job) for job in chosen]),
            "node_id": work.node_id,
            "node_name": work.node_name,
            "now": work.now_us,
        }
        connection.execute(sql.claim_jobs, {**given, "batch": claim.batch})
        connection.execute(sql.record_processing, given)
    return chosen


def _choose(connection: Connection, sql: Statements, claim: Claim, *, node_id: str) -> list[ClaimedJob]:
    given = {"terms": entries.terms(claim.types), "limit": claim.limit, "node_id": node_id}
    return _decode(connection.execute(sql.choose_ready(len(claim.types)), given).scalar_one())
