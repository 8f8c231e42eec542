"""How MariaDB reads a set and tells a moment: the pieces that its statements are made of.

One JSON array parameter becomes a table of entries by JSON_TABLE, its columns named by a layout. Texts are LONGTEXT of
the tables' own collation: any other would make a comparison with a column ambiguous. Moments come and go as integers of
wall microseconds.
"""

from __future__ import annotations

from jobwarden.store import entries

TEXT = "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"

_TEXTS = {
    *("job_type", "payload", "idempotency_key", "metadata", "gate", "dead_letter_job_type", "group_id"),
    *("depends_on_tags", "name", "output", "captured", "left_behind", "outcome", "status", "event_type", "error"),
    *("stack_dump", "failure_reason", "pending_reason", "history_item"),
}
_FRACTIONS = {"percent", "retry_delay", "retry_delay_max"}
_MOMENTS = {"run_at", "due_at", "expires_at", "at", "started_at", "ended_at", "next_attempt_at", "job_ended_at"}

_EPOCH = "TIMESTAMP'1970-01-01 00:00:00'"


def _type(name: str) -> str:
    if name in _TEXTS:
        return TEXT
    return "DOUBLE" if name in _FRACTIONS else "BIGINT"


def table_of_entries(layout: tuple[str, ...]) -> str:
    """A table of the entries, its columns named by the layout; it needs an alias."""
    fields = ", ".join(f"`{name}` {_type(name)} PATH '$[{place}]'" for place, name in enumerate(layout))
    return f"JSON_TABLE(:entries, '$[*]' COLUMNS ({fields}))"


def values_of(layout: tuple[str, ...]) -> str:
    """The fields of an entry `e` as the columns of a table hold them."""
    return ", ".join(moment(f"e.{name}") if name in _MOMENTS else f"e.{name}" for name in layout)


def moment(microseconds: str) -> str:
    """The `datetime(6)` of wall microseconds; null of null."""
    return f"({_EPOCH} + INTERVAL {microseconds} MICROSECOND)"


def microseconds(moment: str) -> str:
    """The wall microseconds of a `datetime(6)`."""
    return f"TIMESTAMPDIFF(MICROSECOND, {_EPOCH}, {moment})"


def as_array(item: str, *, order: str | None = None) -> str:
    """A JSON array of `item` over all rows; empty for none."""
    within = item if order is None else f"{item} ORDER BY {order}"
    return f"coalesce(JSON_ARRAYAGG({within}), '[]')"


NOW = moment(":now")

IDS = "JSON_TABLE(:ids, '$[*]' COLUMNS (id BIGINT PATH '$'))"
"""A table of the ids; it needs an alias."""

ATTEMPTS = table_of_entries(entries.ATTEMPT)

JOB = "STRAIGHT_JOIN job FORCE INDEX (PRIMARY) ON job.id ="
"""Each row by its key: in a small table the optimizer would scan, and lock, all of it."""

FREED = "job.node_id = NULL, job.claim_batch = NULL, job.locked_at = NULL, job.locked_by = NULL"
"""What every way out of `processing` sets."""
