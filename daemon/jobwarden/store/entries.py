"""From structs to the JSON arrays that the set statements read: one array per entry, positions fixed here.

The first twelve positions are the same for completions and for other ends, so that both statements that write
outcome events read alike. Text that people read (errors, captured output) is made storable; an output is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from jobwarden.clock import to_datetime, to_us
from jobwarden.jobs.claim import ClaimedJob, TypeTerms
from jobwarden.jobs.ending import Ending
from jobwarden.jobs.options import JobOptions, encode_json
from jobwarden.jobs.outcome import JobStatus, Outcome
from jobwarden.store.readiness import claim_rank, readiness

_encoder = msgspec.json.Encoder()

Row = Sequence[object]


def as_json(rows: Iterable[Row] | Row) -> str:
    """The parameter of a set statement. Raises UnicodeEncodeError for a lone surrogate in any text."""
    return _encoder.encode(rows).decode()


def completion(ending: Ending) -> Row:
    """An entry of `record_completions` and `complete_jobs`."""
    facts = ending.facts
    return (
        ending.job_id,
        ending.fence,
        ending.at_us,
        ending.output,
        facts.worker_pid,
        facts.generation,
        facts.started_us,
        facts.ended_us,
        facts.peak_rss_kb,
        facts.cpu_ms,
        storable(facts.captured),
        None if facts.left_behind is None else storable(as_json(facts.left_behind)),
    )


def end(ending: Ending, *, owner: str | None = None) -> Row:
    """An entry of `record_endings` and `end_jobs`. `owner` names a node that lost the job."""
    facts, status = ending.facts, ending.status
    ready, due_at = readiness(status, due_us=ending.next_attempt_us, now_us=ending.at_us)
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


def claimed(job: ClaimedJob) -> Row:
    """An entry of `claim_jobs` and `record_processing`."""
    return (job.id, job.fence, job.attempts, job.max_attempts, job.timeout_ms, job.retry_delay)


def terms(types: Sequence[TypeTerms]) -> str:
    """The `terms` of `choose_ready`."""
    return as_json([(term.job_type, term.timeout_ms, term.max_attempts, term.retry_delay) for term in types])


def added(options: JobOptions, *, job_id: int, now_us: int) -> Row:
    """An entry of `insert_jobs`. Raises InvalidJobError if payload or metadata cannot be written as JSON."""
    run_at = now_us if options.run_at is None else to_us(options.run_at)
    ready, due_at = readiness(JobStatus.PENDING, due_us=run_at, now_us=now_us)
    return (
        job_id,
        options.job_type,
        encode_json(options.payload, what="payload"),
        options.priority,
        claim_rank(options.priority),
        run_at,
        ready,
        due_at,
        options.timeout_ms,
        options.max_attempts,
        int(options.force_kill_on_timeout),
        options.retry_delay,
        int(options.retry_backoff),
        options.retry_delay_max,
        options.idempotency_key,
        encode_json(options.metadata, what="metadata") if options.metadata else None,
    )


def storable(text: str | None) -> str | None:
    """Text that every database takes: NUL and lone surrogates become replacement characters."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


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
    moment = to_datetime(ending.at_us).isoformat().replace("+00:00", "Z")
    return as_json({"message": storable(ending.error), "timestamp": moment})  # type: ignore[arg-type]
