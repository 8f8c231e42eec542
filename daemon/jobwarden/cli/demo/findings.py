"""The rows of the demo's table: what was promised beside what was seen.

Nothing is believed because the daemon says so: digests are computed again, archives opened, posts counted where they
came in, deaths asked of the kernel.
"""

from __future__ import annotations

import fcntl
import hashlib
import tarfile
import threading
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from jobwarden.cli.demo.daemon import GRACE_MS, WORKERS
from jobwarden.cli.demo.work import CRASH_ATTEMPTS, HANG_TIMEOUT_MS
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import FailureReason, JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobwarden.cli.demo.daemon import Daemon
    from jobwarden.cli.demo.receiver import Receiver
    from jobwarden.cli.demo.work import Work
    from jobwarden.client import Client
    from jobwarden.jobs import JobRecord

LATEST_KILL_MS = 2_000
"""How late a kill may be on a busy machine; on an idle one it takes a few milliseconds."""
_SLOTS_SECONDS = 15.0
_PAGE = 1_000
_KILLED = 9
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Row:
    """One promise."""

    promised: str
    seen: str
    kept: bool


def work_rows(client: Client, work: Work, *, daemon: Daemon, receiver: Receiver) -> list[Row]:
    """What the jobs came to, while the daemon still runs."""
    jobs = {job.id: job for job in _all_jobs(client)}
    return [
        _everything_ended(work, jobs),
        _digests(work, jobs),
        _archive(work, jobs[work.archive]),
        _deliveries(work, jobs, receiver),
        _refusals(work, jobs, receiver),
        _timeout(work, jobs[work.hung], daemon),
        _grandchild(work),
        _crash(client, jobs[work.crashed]),
        _tries(work, jobs),
        _slots(client, work),
    ]


def end_rows(daemon: Daemon, *, exit_code: int | None) -> list[Row]:
    """What is left when the daemon was told to stop."""
    left = daemon.left_behind()
    seen = f"still there: process {', '.join(left)}" if left else "no process, no child"
    ended = "did not end" if exit_code is None else f"exit code {exit_code}"
    return [
        Row("SIGTERM ends the daemon in order", ended, exit_code == 0),
        Row("nothing is left behind", seen, not left),
    ]


def _all_jobs(client: Client) -> Iterator[JobRecord]:
    offset = 0
    while page := client.get_jobs(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def _everything_ended(work: Work, jobs: dict[int, JobRecord]) -> Row:
    ended = sum(job.ended for job in jobs.values())
    kept = work.accepted == len(jobs) == ended
    return Row("every accepted job ends", f"{work.accepted:,} accepted, {ended:,} ended", kept)


def _digests(work: Work, jobs: dict[int, JobRecord]) -> Row:
    wrong = [job_id for job_id, path in work.digests.items() if not _is_right(jobs[job_id], path)]
    seen = f"{len(work.digests) - len(wrong):,} of {len(work.digests):,} files as hashlib says"
    cause = f"; job {wrong[0]} is {jobs[wrong[0]].status}: {_last_error(jobs[wrong[0]])}" if wrong else ""
    return Row("digests of the standard library are right", seen + cause, not wrong)


def _archive(work: Work, job: JobRecord) -> Row:
    promised = "an archived folder can be unpacked again"
    if job.status is not JobStatus.COMPLETED:
        return Row(promised, f"the job is {job.status}: {_last_error(job)}", kept=False)
    wanted = {
        path.relative_to(work.source.parent).as_posix(): path for path in work.source.rglob("*") if path.is_file()
    }
    with tarfile.open(work.target) as archive:
        found = {member.name: _content(archive, member) for member in archive if member.isfile()}
    same = sum(found.get(name) == path.read_bytes() for name, path in wanted.items())
    return Row(promised, f"{same} of {len(wanted)} files equal", same == len(wanted) == len(found))


def _deliveries(work: Work, jobs: dict[int, JobRecord], receiver: Receiver) -> Row:
    hooks = {job_id: hook for job_id, hook in work.webhooks.items() if hook[1][-1] != _NOT_FOUND}
    done = sum(
        jobs[job_id].status is JobStatus.COMPLETED and jobs[job_id].attempts == len(statuses)
        for job_id, (_, statuses) in hooks.items()
    )
    posts = [post for path, _ in hooks.values() for post in receiver.posts_to(path)]
    signed = sum(post.signed for post in posts)
    planned = sum(len(statuses) for _, statuses in hooks.values())
    seen = f"{done} of {len(hooks)} delivered, {len(posts)} of {planned} posts, {signed} signed rightly"
    kept = done == len(hooks) and len(posts) == planned == signed
    return Row("webhooks are tried again after a 503, until 200", seen, kept)


def _refusals(work: Work, jobs: dict[int, JobRecord], receiver: Receiver) -> Row:
    ((job_id, (path, _)),) = [each for each in work.webhooks.items() if each[1][1] == (_NOT_FOUND,)]
    posts = len(receiver.posts_to(path))
    job = jobs[job_id]
    kept = job.status is JobStatus.FAILED and job.ended and job.attempts == posts == 1
    return Row("a 404 is not tried again", f"{job.status} after {posts} post{'s' * (posts != 1)}", kept)


def _timeout(work: Work, job: JobRecord, daemon: Daemon) -> Row:
    cleared = [fact["lateness_ms"] for fact in daemon.facts("tree_cleared") if fact["job_id"] == work.hung]
    late_ms = next((each for each in cleared if isinstance(each, int | float)), None)
    late = "at an unknown time" if late_ms is None else f"{late_ms:.0f} ms late"
    reason_fits = job.status is JobStatus.FAILED and job.failure_reason is FailureReason.TIMEOUT
    kept = reason_fits and late_ms is not None and late_ms < LATEST_KILL_MS
    promised = f"a job that hangs is killed after {HANG_TIMEOUT_MS} ms and {GRACE_MS} ms of grace"
    return Row(promised, f"{job.status}/{job.failure_reason}, all its processes dead {late}", kept)


def _grandchild(work: Work) -> Row:
    promised = "its grandchild in a session of its own too"
    if not work.lock.exists():
        return Row(promised, "there never was one", kept=False)
    with work.lock.open() as file:
        pid = file.read()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Row(promised, f"process {pid} still holds its lock", kept=False)
    return Row(promised, f"process {pid} is dead: its lock is free", kept=bool(pid))


def _crash(client: Client, job: JobRecord) -> Row:
    attempts = client.get_job_attempts(job.id)
    signals = [attempt.signal for attempt in attempts]
    seen = f"{job.status}/{job.failure_reason}, attempts ended by signal {' and '.join(map(str, signals))}"
    kept = signals == [_KILLED] * CRASH_ATTEMPTS and job.ended and job.failure_reason is FailureReason.CRASHED
    return Row(f"a job that kills its worker is tried {CRASH_ATTEMPTS} times", seen, kept)


def _tries(work: Work, jobs: dict[int, JobRecord]) -> Row:
    tries = sum(job.attempts for job in jobs.values())
    return Row("nothing runs more often than it must", f"{tries:,} attempts of {work.tries:,}", tries == work.tries)


def _slots(client: Client, work: Work) -> Row:
    dead = {attempt.worker_pid for job in (work.hung, work.crashed) for attempt in client.get_job_attempts(job)}
    until_ns = SYSTEM_CLOCK.monotonic_ns() + int(_SLOTS_SECONDS * SECOND_NS)
    idle = _idle_workers(client)
    while (len(idle) != WORKERS or idle & dead) and SYSTEM_CLOCK.monotonic_ns() < until_ns:
        threading.Event().wait(0.1)
        idle = _idle_workers(client)
    kept = len(idle) == WORKERS and not idle & dead
    return Row("the slots of killed workers come back", f"{len(idle - dead)} of {WORKERS} workers ready", kept)


def _idle_workers(client: Client) -> set[object]:
    """The pids that the daemon reports with its beat, some seconds old at most."""
    slots = [slot for node in client.store.nodes() for slot in _slots_of(node.report or {})]
    return {slot["pid"] for slot in slots if slot["state"] == "idle"}


def _slots_of(report: dict[str, object]) -> list[dict[str, Any]]:
    slots = report.get("slots")
    return slots if isinstance(slots, list) else []


def _last_error(job: JobRecord) -> str:
    return next((entry.message for entry in islice(reversed(job.error_history), 1)), "no error was recorded")


def _is_right(job: JobRecord, path: Path) -> bool:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return job.output == {"path": str(path), "sha256": digest, "bytes": len(content), "lines": content.count(b"\n")}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""
