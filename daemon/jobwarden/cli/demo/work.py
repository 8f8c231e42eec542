"""What the demo asks of its daemon, and what it must remember to judge the answers later."""

from __future__ import annotations

import shutil
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.jobs import JobOptions

if TYPE_CHECKING:
    from jobwarden.cli.demo.receiver import Receiver
    from jobwarden.cli.demo.stage import Stage
    from jobwarden.client import Client

MOST_FILES = 2_000
HANG_TIMEOUT_MS = 1_000
CRASH_ATTEMPTS = 2
WEBHOOK_ATTEMPTS = 4
RETRY_SECONDS = 0.2

ANSWERS = ((200,),) * 8 + ((503, 200),) * 3 + ((503, 503, 200), (404,))
"""What the receiver answers to each webhook, try by try."""

_ARCHIVED = "encodings"
_FOREIGN = {"__pycache__", "dist-packages", "site-packages"}


@dataclass(frozen=True, kw_only=True)
class Work:
    """The jobs that were accepted; each dictionary is by job id."""

    totals: dict[str, int]
    """Number of jobs of each type."""
    digests: dict[int, Path]
    """The file that each job reads."""
    webhooks: dict[int, tuple[str, tuple[int, ...]]]
    """The path that each job posts to, and the statuses that it gets there, try by try."""
    archive: int
    source: Path
    target: Path
    hung: int
    lock: Path
    """Locked by the hung job's grandchild as long as that lives; holds its pid."""
    crashed: int

    @property
    def accepted(self) -> int:
        """How many jobs there are."""
        return sum(self.totals.values())

    @property
    def tries(self) -> int:
        """How many attempts all jobs must take together."""
        posts = sum(len(statuses) for _, statuses in self.webhooks.values())
        return len(self.digests) + posts + 1 + 1 + CRASH_ATTEMPTS


def enqueue(client: Client, stage: Stage, receiver: Receiver) -> Work:
    """Add all jobs in one transaction."""
    files = standard_library()
    source, target = _folder_to_archive(stage.folder), stage.folder / "archive.tar.gz"
    lock = stage.folder / "grandchild.lock"
    hooks = [(f"/hook/{number}", statuses) for number, statuses in enumerate(ANSWERS)]
    receiver.plan(dict(hooks))
    jobs = [
        _hang(lock),
        _crash(),
        _archive(source, target),
        *(_webhook(receiver, path) for path, _ in hooks),
        *(_digest(path) for path in files),
    ]
    hung, crashed, archive, *rest = client.add_jobs(jobs)
    return Work(
        totals=dict(Counter(job.job_type for job in jobs)),
        digests=dict(zip(rest[len(hooks) :], files, strict=True)),
        webhooks=dict(zip(rest[: len(hooks)], hooks, strict=True)),
        archive=archive,
        source=source,
        target=target,
        hung=hung,
        lock=lock,
        crashed=crashed,
    )


def standard_library() -> list[Path]:
    """Python's own source files, without what was installed into it."""
    root = Path(sysconfig.get_path("stdlib"))
    found = (path for path in root.rglob("*.py") if not _FOREIGN.intersection(path.relative_to(root).parts))
    return sorted(path for path in found if path.is_file())[:MOST_FILES]


def _folder_to_archive(folder: Path) -> Path:
    """A copy that nobody else changes: a running Python writes its caches into the original."""
    copy = folder / _ARCHIVED
    original = Path(sysconfig.get_path("stdlib")) / _ARCHIVED
    return Path(shutil.copytree(original, copy, ignore=shutil.ignore_patterns("__pycache__")))


def _digest(path: Path) -> JobOptions:
    return JobOptions.parse(job_type="digest_file", payload={"path": str(path)}, max_attempts=1)


def _archive(source: Path, target: Path) -> JobOptions:
    payload = {"source": str(source), "target": str(target)}
    return JobOptions.parse(job_type="archive_directory", payload=payload, max_attempts=1, priority=1)


def _webhook(receiver: Receiver, path: str) -> JobOptions:
    return JobOptions.parse(
        job_type="deliver_webhook",
        payload={"url": receiver.url(path), "body": {"hook": path}, "secret": receiver.secret},
        max_attempts=WEBHOOK_ATTEMPTS,
        retry_delay=RETRY_SECONDS,
        retry_backoff=False,
        priority=1,
    )


def _hang(lock: Path) -> JobOptions:
    return JobOptions.parse(
        job_type="demo_hang", payload={"lock": str(lock)}, timeout_ms=HANG_TIMEOUT_MS, max_attempts=1, priority=2
    )


def _crash() -> JobOptions:
    return JobOptions.parse(
        job_type="demo_crash", max_attempts=CRASH_ATTEMPTS, retry_delay=0, retry_backoff=False, priority=2
    )
