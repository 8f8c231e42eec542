"""Reading: rows become JobRecord, JobEvent, Attempt and NodeView. Never writes.

Works on a connection whose transaction its caller began. For people: nothing here is on the path of a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import RowMapping, Select, select, text

from jobwarden.clock import to_datetime
from jobwarden.jobs.history import Attempt, JobEvent
from jobwarden.jobs.options import DEFAULT_MAX_ATTEMPTS, DEFAULT_RETRY_DELAY_SECONDS
from jobwarden.jobs.record import JobRecord
from jobwarden.store.readiness import Gate
from jobwarden.store.schema import edge, event, job, node, tag
from jobwarden.store.work import NodeView, ServedType

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

_INSTANTS = frozenset(
    {
        "created_at",
        "updated_at",
        "locked_at",
        "next_attempt_at",
        "run_at",
        "completed_at",
        "started_at",
        "last_retried_at",
        "last_failed_at",
        "last_cancelled_at",
        "dead_lettered_at",
        "wait_until",
        "expires_at",
    }
)
_decode_types = msgspec.json.Decoder(list[ServedType]).decode

_JSON = frozenset({"payload", "output", "error_history", "depends_on_tags", "step_data", "metadata"})
_ELSEWHERE = frozenset({"tags", "depends_on_job_ids"})
_COLUMNS = [job.c[name] for name in JobRecord.model_fields if name not in _ELSEWHERE]
RECORDS = select(*_COLUMNS, job.c.gate)
"""To be narrowed by WHERE, and read with `records`."""
_WAITS_FOR = {
    Gate.PARENTS: "waits for other jobs",
    Gate.TAGS: "waits for tagged jobs",
    Gate.LANE: "waits for its limit",
}
_DEFAULTS: dict[str, Any] = {
    "max_attempts": DEFAULT_MAX_ATTEMPTS,
    "retry_delay": DEFAULT_RETRY_DELAY_SECONDS,
    "error_history": [],
    "depends_on_tags": [],
    "metadata": {},
}


class RunningJob(NamedTuple):
    """One row of `Store.running`."""

    id: int
    job_type: str
    node_id: str | None
    locked_by: str | None
    locked_at: datetime | None


def job_by_id(connection: Connection, job_id: int) -> JobRecord | None:
    """The record, or None."""
    found = records(connection, RECORDS.where(job.c.id == job_id))
    return found[0] if found else None


def records(connection: Connection, query: Select[Any]) -> list[JobRecord]:
    """The jobs of a query made of `RECORDS`, in its order, with their tags and prerequisites."""
    rows = connection.execute(query).mappings().all()
    ids = [row["id"] for row in rows]
    tags = _grouped(connection, select(tag.c.job_id, tag.c.name).order_by(tag.c.position), tag.c.job_id, ids)
    edges = _grouped(
        connection, select(edge.c.job_id, edge.c.depends_on).order_by(edge.c.depends_on), edge.c.job_id, ids
    )
    return [_record(row, tags=tags.get(row["id"], []), edges=edges.get(row["id"], [])) for row in rows]


def events_of(connection: Connection, job_id: int) -> list[JobEvent]:
    """Everything that happened to the job, oldest first."""
    query = select(event).where(event.c.job_id == job_id).order_by(event.c.id)
    return [event_of(row) for row in connection.execute(query).mappings()]


def attempts_of(connection: Connection, job_id: int) -> list[Attempt]:
    """The job's ended attempts, oldest first."""
    query = select(event).where(event.c.job_id == job_id, event.c.outcome.is_not(None)).order_by(event.c.id)
    return [_attempt(row) for row in connection.execute(query).mappings()]


def has_ended(connection: Connection, job_id: int) -> bool | None:
    """Whether the job has ended (design section 2); None if there is no such job."""
    row = connection.execute(select(job.c.ended_at).where(job.c.id == job_id)).first()
    return None if row is None else row.ended_at is not None


def running_jobs(connection: Connection) -> list[RunningJob]:
    """What is processing now, the longest-running first."""
    columns = (job.c.id, job.c.job_type, job.c.node_id, job.c.locked_by, job.c.locked_at)
    query = select(*columns).where(text("status = 'processing'")).order_by(job.c.locked_at, job.c.id)
    return [RunningJob(*row[:4], _moment(row.locked_at)) for row in connection.execute(query)]


def all_nodes(connection: Connection) -> list[NodeView]:
    """The nodes' rows, the oldest start first."""
    rows = connection.execute(select(node).order_by(node.c.started_at, node.c.id)).mappings()
    return [_node(row) for row in rows]


def _grouped(connection: Connection, query: Select[Any], column: Any, ids: list[int]) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = {}
    for start in range(0, len(ids), 500):
        for job_id, value in connection.execute(query.where(column.in_(ids[start : start + 500]))):
            groups.setdefault(job_id, []).append(value)
    return groups


def _record(row: RowMapping, *, tags: list[str], edges: list[int]) -> JobRecord:
    fields = {name: _value(name, value) for name, value in row.items()}
    gate = fields.pop("gate")
    if gate is not None and fields["pending_reason"] is None:
        fields["pending_reason"] = _WAITS_FOR[Gate(gate)]
    return JobRecord.model_validate({**fields, "tags": tags, "depends_on_job_ids": edges})


def _value(name: str, value: Any) -> Any:
    if value is None:
        return _DEFAULTS.get(name)
    if name in _INSTANTS:
        return to_datetime(value)
    return msgspec.json.decode(value) if name in _JSON else value


def event_of(row: RowMapping) -> JobEvent:
    """One row of `event`."""
    metadata = msgspec.json.decode(row["metadata"]) if row["metadata"] else {}
    if row["type"] == "processing":
        metadata = {"attempt": row["attempt"], "node": row["node_name"]}
    return JobEvent(id=row["id"], job_id=row["job_id"], type=row["type"], at=to_datetime(row["at"]), metadata=metadata)


_PLAIN = (
    "job_id",
    "fence",
    "outcome",
    "worker_pid",
    "generation",
    "signal",
    "exit_code",
    "peak_rss_kb",
    "cpu_ms",
    "error",
    "captured",
    "stack_dump",
)


def _attempt(row: RowMapping) -> Attempt:
    return Attempt.model_validate(
        {
            **{name: row[name] for name in _PLAIN},
            "node": row["node_name"],
            "started_at": _moment(row["started_at"]),
            "ended_at": _moment(row["ended_at"]),
            "left_behind": None if row["left_behind"] is None else msgspec.json.decode(row["left_behind"]),
        }
    )


def _node(row: RowMapping) -> NodeView:
    return NodeView(
        node_id=row["id"],
        name=row["name"],
        host=row["host"],
        boot_id=row["boot_id"],
        pid=row["pid"],
        state_dir=row["state_dir"],
        state_lock=row["state_lock"],
        started_us=row["started_at"],
        beat=row["beat"],
        beat_us=row["beat_at"],
        lease_seconds=row["lease_seconds"],
        doorbell=row["doorbell"],
        version=row["version"],
        types=None if row["types"] is None else _decode_types(row["types"]),
        report=None if row["report"] is None else msgspec.json.decode(row["report"]),
    )


def _moment(us: int | None) -> datetime | None:
    return None if us is None else to_datetime(us)
