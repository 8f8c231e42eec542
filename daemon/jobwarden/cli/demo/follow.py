"""Live progress of the demo on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from jobwarden.client import waiting
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.jobs import JobStatus
from jobwarden.jobs.filter import RETRYING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobwarden.cli.demo.daemon import Daemon
    from jobwarden.cli.demo.work import Work
    from jobwarden.client import Client

LIMIT_SECONDS = 50.0
"""Where the demo stops waiting; what has not ended by then is shown as a broken promise."""
_LOOK_EVERY_SECONDS = 0.1
_LINE_EVERY_SECONDS = 1.0
_ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Standing(NamedTuple):
    """How far the jobs of one type are."""

    ended: int
    total: int
    remark: str


class _Display(Protocol):
    def __call__(self, standings: Mapping[str, Standing]) -> None: ...


def follow(client: Client, work: Work, daemon: Daemon) -> None:
    """Return when all jobs have ended, or after LIMIT_SECONDS. Raises DemoError if the daemon dies."""
    until_ns = SYSTEM_CLOCK.monotonic_ns() + int(LIMIT_SECONDS * SECOND_NS)
    with waiting.listening(client.store) as ear, _display(work) as show:
        while SYSTEM_CLOCK.monotonic_ns() < until_ns:
            standings = _look(client, work)
            show(standings)
            if all(each.ended == each.total for each in standings.values()):
                return
            daemon.check_alive()
            threading.Event().wait(_LOOK_EVERY_SECONDS)  # or every commit of the daemon would make us look
            waiting.listen(ear, seconds=_LOOK_EVERY_SECONDS)


def _look(client: Client, work: Work) -> dict[str, Standing]:
    counts = client.store.counts()
    return {job_type: _standing(counts.get(job_type, {}), total=total) for job_type, total in work.totals.items()}


def _standing(counts: Mapping[str, int], *, total: int) -> Standing:
    shown = {JobStatus.PROCESSING: "running", RETRYING: "waiting for a retry", JobStatus.FAILED: "failed"}
    remarks = [f"{counts[status]} {word}" for status, word in shown.items() if counts.get(status)]
    return Standing(sum(counts.get(status, 0) for status in _ENDED), total, ", ".join(remarks))


@contextmanager
def _display(work: Work) -> Iterator[_Display]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from jobwarden.cli.printing import screen

    text, remark = TextColumn("{task.description}"), TextColumn("{task.fields[remark]}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), remark)
    with Progress(*columns, console=screen(errors=True)) as progress:
        bars = {name: progress.add_task(name, total=total, remark="") for name, total in work.totals.items()}

        def show(standings: Mapping[str, Standing]) -> None:
            for name, each in standings.items():
                progress.update(bars[name], completed=each.ended, remark=each.remark)

        yield show


class _Lines:
    """A line when something has changed, at most one a second, and one at the end."""

    def __init__(self) -> None:
        self._next_ns = 0
        self._last = ""

    def __call__(self, standings: Mapping[str, Standing]) -> None:
        now_ns = SYSTEM_CLOCK.monotonic_ns()
        done = all(each.ended == each.total for each in standings.values())
        line = " · ".join(f"{name} {each.ended}/{each.total}" for name, each in standings.items())
        if line != self._last and (done or now_ns >= self._next_ns):
            self._last, self._next_ns = line, now_ns + int(_LINE_EVERY_SECONDS * SECOND_NS)
            print(line, file=sys.stderr, flush=True)
