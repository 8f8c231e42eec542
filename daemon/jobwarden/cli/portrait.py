"""One job on the screen, in chapters: what it is, its attempts, its errors, its events, what it printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.cli.printing import duration, json_text, moment, printable, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from jobwarden.jobs import Attempt, JobEvent, JobRecord

LONGEST_VALUE = 2_000

_MOMENTS = ("created_at", "run_at", "started_at", "next_attempt_at", "expires_at", "completed_at", "last_failed_at")


def portray(job: JobRecord, *, attempts: Sequence[Attempt], events: Sequence[JobEvent]) -> RenderableType:
    """Everything about one job, for `screen().print`."""
    from rich.console import Group

    chapters = [table(("", ""), _facts(job), title=f"job {job.id}")]
    if attempts:
        headings = ("fence", "outcome", "started", "took", "worker", "signal", "exit code", "memory", "cpu")
        chapters.append(table(headings, map(_attempt, attempts), title="\nattempts"))
    if job.error_history:
        rows = [(moment(entry.timestamp), entry.message) for entry in job.error_history]
        chapters.append(table(("at", "message"), rows, title="\nerrors"))
    happened = [(moment(event.at), event.type, json_text(event.metadata, longest=LONGEST_VALUE)) for event in events]
    chapters.append(table(("at", "event", ""), happened, title="\nevents"))
    return Group(*chapters, *_prints(attempts))


def _facts(job: JobRecord) -> Iterator[tuple[str, object]]:
    yield "type", job.job_type
    yield "status", job.status
    for label, value in (
        ("pending reason", job.pending_reason),
        ("failure reason", job.failure_reason),
        ("progress", None if job.progress is None else f"{job.progress:g} %"),
        ("runs on", job.locked_by),
    ):
        if value is not None:
            yield label, value
    yield "attempts", f"{job.attempts} of {job.max_attempts}"
    yield "priority", job.priority
    for name in _MOMENTS:
        if (when := getattr(job, name)) is not None:
            yield name.removesuffix("_at").replace("_", " "), moment(when)
    yield from _bonds(job)
    if job.timeout_ms is not None:
        yield "timeout", duration(job.timeout_ms / 1_000)
    if job.heartbeat_timeout_ms is not None:
        yield "longest silence", duration(job.heartbeat_timeout_ms / 1_000)
    yield "payload", json_text(job.payload, longest=LONGEST_VALUE)
    if job.metadata:
        yield "metadata", json_text(job.metadata, longest=LONGEST_VALUE)
    if job.output is not None:
        yield "output", json_text(job.output, longest=LONGEST_VALUE)


def _bonds(job: JobRecord) -> Iterator[tuple[str, object]]:
    """What ties it to other jobs."""
    for label, text in (
        ("tags", ", ".join(job.tags)),
        ("group", job.group_id),
        ("after jobs", ", ".join(map(str, job.depends_on_job_ids))),
        ("after tags", ", ".join(job.depends_on_tags)),
        ("idempotency key", job.idempotency_key),
        ("dead letter type", job.dead_letter_job_type),
        ("dead letter", job.dead_letter_job_id),
    ):
        if text:
            yield label, text


def _attempt(attempt: Attempt) -> tuple[object, ...]:
    begun, ended = attempt.started_at, attempt.ended_at
    return (
        attempt.fence,
        attempt.outcome,
        moment(begun),
        duration((ended - begun).total_seconds()) if begun and ended else None,
        attempt.worker_pid,
        attempt.signal,
        attempt.exit_code,
        None if attempt.peak_rss_kb is None else f"{attempt.peak_rss_kb / 1024:.0f} MiB",
        None if attempt.cpu_ms is None else f"{attempt.cpu_ms / 1_000:.2f} s",
    )


def _prints(attempts: Sequence[Attempt]) -> Iterator[RenderableType]:
    from rich.text import Text

    for attempt in attempts:
        parts: list[tuple[str, str | None]] = [
            ("printed", attempt.captured),
            ("stacks before the kill", attempt.stack_dump),
        ]
        if attempt.left_behind:
            parts.append(("left behind", "\n".join(attempt.left_behind)))
        for label, text in parts:
            if text:
                yield Text(f"\nattempt {attempt.fence}, {label}:", style="bold")
                yield Text(printable(text.rstrip("\n")))
