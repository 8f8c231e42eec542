"""From structs to the JSON arrays that the set statements read: one array per entry, laid out as named here.

The statements take the layouts from this page, so that positions exist once. Text that people read (errors,
captured output) is made storable; an output is not touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from jobwarden.clock import SECOND_US, to_datetime, to_us
from jobwarden.errors import InvalidJobError
from jobwarden.jobs.options import DEEPEST_JSON, JobOptions, encode_json, refuse_depth
from jobwarden.jobs.outcome import JobStatus, Outcome
from jobwarden.jobs.record import FIRST_ERRORS, LONGEST_HISTORY
from jobwarden.store.failures import UnstorableError
from jobwarden.store.readiness import claim_rank, readiness

if TYPE_CHECKING:
    from jobwarden.jobs.ending import Ending

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")

ATTEMPT = ("job_id", "fence")
PROGRESS = ("job_id", "fence", "percent")
PROLONG = ("job_id", "fence", "ms")
KEY = ("name", "job_id", "expires_at")
TAG = ("job_id", "name", "position")
COMPLETION = (
    "job_id",
    "fence",
    "at",
    "output",
    "worker_pid",
    "generation",
    "started_at",
    "ended_at",
    "peak_rss_kb",
    "cpu_ms",
    "captured",
    "left_behind",
)
END = (
    *COMPLETION,
    "outcome",
    "status",
    "event_type",
    "metadata",
    "signal",
    "exit_code",
    "error",
    "stack_dump",
    "ready",
    "due_at",
    "next_attempt_at",
    "failure_reason",
    "pending_reason",
    "attempts",
    "crashes",
    "interruptions",
    "lost_in_row",
    "raised",
    "job_ended_at",
    "history_item",
)
ADDED = (
    "id",
    "job_type",
    "payload",
    "priority",
    "claim_rank",
    "run_at",
    "timeout_ms",
    "max_attempts",
    "force_kill_on_timeout",
    "retry_delay",
    "retry_backoff",
    "retry_delay_max",
    "idempotency_key",
    "metadata",
    "ready",
    "due_at",
)
ADDED_IN_FULL = (
    *ADDED,
    "gate",
    "heartbeat_timeout_ms",
    "dead_letter_job_type",
    "group_id",
    "expires_at",
    "depends_on_tags",
)

_encoder = msgspec.json.Encoder()
_well_formed = msgspec.json.Decoder(msgspec.Raw).decode

Row = Sequence[object]


def as_json(value: object) -> str:
    """The parameter of a set statement, or a value in one. Raises UnicodeEncodeError for a lone surrogate."""
    return _encoder.encode(value).decode()


def portions(rows: Sequence[Row], *, longest_bytes: int | None) -> Iterator[tuple[slice, str]]:
    """The rows as the parameters of one set statement after the other, none longer than the database takes at once.

    Gives which rows, and their JSON. Raises UnstorableError for a row that is too long by itself.
    """
    return _portions(rows, slice(0, len(rows)), longest_bytes)


def _portions(rows: Sequence[Row], some: slice, longest_bytes: int | None) -> Iterator[tuple[slice, str]]:
    raw = _encoder.encode(rows[some])
    if longest_bytes is None or len(raw) <= longest_bytes:
        yield some, raw.decode()
    elif some.stop - some.start == 1:
        reason = f"it is larger than one statement to this server may be ({longest_bytes} bytes)"
        raise UnstorableError(reason)
    else:
        middle = (some.start + some.stop) // 2
        yield from _portions(rows, slice(some.start, middle), longest_bytes)
        yield from _portions(rows, slice(middle, some.stop), longest_bytes)


def completion(ending: Ending) -> Row:
    """COMPLETION, for `record_completions` and `complete_jobs`."""
    facts = ending.facts
    return (
        ending.job_id,
        ending.fence,
        ending.at_us,
        _output(ending.output),
        facts.worker_pid,
        facts.generation,
        facts.started_us,
        facts.ended_us,
        facts.peak_rss_kb,
        facts.cpu_ms,
        storable(facts.captured),
        _list(facts.left_behind),
    )


def end(ending: Ending, *, owner: str | None = None) -> Row:
    """END, for `record_endings` and `end_jobs`. `owner` names a node that lost the job."""
    facts, status = ending.facts, ending.status
    ready, due_at, _gate = readiness(status, due_us=ending.next_attempt_us, now_us=ending.at_us)
    return (
        *completion(ending),
        ending.outcome,
        status,
        _event_type(ending),
        as_json(_metadata(ending, owner=owner)),
        facts.signal,
        facts.exit_code,
        storable(ending.error),
        storable(facts.stack_dump),
        ready,
        due_at,
        ending.next_attempt_us if status is JobStatus.FAILED else None,
        ending.failure_reason,
        ending.pending_reason,
        ending.attempts,
        ending.crashes,
        ending.interruptions,
        ending.lost_in_row,
        int(ending.raise_fence),
        ending.at_us if ending.ended else None,
        _history_item(ending),
    )


def added(options: JobOptions, *, now_us: int, payload: str | None = None) -> Row:
    """The fields of ADDED that are known before the job has an id and a place: all between the first and `ready`.

    `payload`, if given, is JSON text that replaces that of the options. Raises InvalidJobError if payload or metadata
    cannot be written as JSON.
    """
    return (
        options.job_type,
        encode_json(options.payload, what="payload") if payload is None else payload,
        options.priority,
        claim_rank(options.priority),
        now_us if options.run_at is None else to_us(options.run_at),
        options.timeout_ms,
        options.max_attempts,
        int(options.force_kill_on_timeout),
        options.retry_delay,
        int(options.retry_backoff),
        options.retry_delay_max,
        options.idempotency_key,
        encode_json(options.metadata, what="metadata") if options.metadata else None,
    )


def rare_fields(options: JobOptions, *, now_us: int) -> Row:
    """The fields of ADDED_IN_FULL that follow `gate`."""
    return (
        options.heartbeat_timeout_ms,
        options.dead_letter_job_type,
        options.group_id,
        None if options.expires_in is None else now_us + int(options.expires_in * SECOND_US),
        as_json(list(dict.fromkeys(options.depends_on.tags))) if options.depends_on.tags else None,
    )


def longer_history(history: str | None, message: str, *, at_us: int) -> str:
    """An error history (JSON array, or null for none) with one more entry; what `end_jobs` does in SQL."""
    kept = msgspec.json.decode(history or "[]")
    if len(kept) >= LONGEST_HISTORY:
        del kept[FIRST_ERRORS]
    return as_json([*kept, {"message": message, "timestamp": _moment(at_us)}])


def storable(text: str | None) -> str | None:
    """Text that every database takes: NUL and lone surrogates become replacement characters."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def storable_json(text: str | None) -> str | None:
    """JSON that every database takes, also one with a narrow encoding: outside strings JSON is ASCII anyway."""
    text = storable(text)
    if text is None or text.isascii():
        return text
    return _BEYOND_ASCII.sub(lambda found: json.dumps(found.group())[1:-1], text)


def _list(texts: list[str] | None) -> str | None:
    return None if texts is None else as_json([storable(text) for text in texts])


def _output(text: str | None) -> str | None:
    """What is no JSON, or nested deeper than people's readers go, would make its job and every list unreadable.

    Said here, because not every database looks, and each that does judges by rules of its own.
    """
    if text is None:
        return None
    try:
        _well_formed(text)
        if text.count("[") + text.count("{") > DEEPEST_JSON:
            refuse_depth(msgspec.json.decode(text), what="it")
    except (InvalidJobError, RecursionError, msgspec.DecodeError) as error:
        raise UnstorableError(str(error)) from None
    return text


def _event_type(ending: Ending) -> str:
    match ending.status:
        case JobStatus.PENDING:
            return "reclaimed"
        case JobStatus.WAITING:
            return "waiting"
        case status:
            return status


def _metadata(ending: Ending, *, owner: str | None) -> dict[str, Any]:
    error = storable(ending.error)
    match ending.status:
        case JobStatus.FAILED:
            found: dict[str, Any] = {
                "error": error,
                "reason": ending.failure_reason,
                "willRetry": ending.next_attempt_us is not None,
            }
        case JobStatus.PENDING:
            why = "lost" if ending.outcome is Outcome.LOST else "interrupted"
            found = {"why": why, "reason": error}
        case _:
            found = {} if error is None else {"reason": error}
    return found if owner is None else {**found, "owner": owner}


def _history_item(ending: Ending) -> str | None:
    if ending.error is None:
        return None
    return as_json({"message": storable(ending.error), "timestamp": _moment(ending.at_us)})


def _moment(at_us: int) -> str:
    return to_datetime(at_us).isoformat().replace("+00:00", "Z")
