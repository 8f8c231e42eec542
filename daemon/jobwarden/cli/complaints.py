"""What `status` finds wrong with code: what daemons say of what they loaded, and jobs that nobody here can run. Pure.

A supervisor's report is what that supervisor said of itself; an older or newer one may leave out entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobwarden.jobs import JobStatus
from jobwarden.jobs.filter import RETRYING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobwarden.store.work import NodeView

_FREE = (JobStatus.PENDING, JobStatus.WAITING, RETRYING)
MOST_TYPES = 20
"""Job types that are named; the others are counted."""


def told_by(report: Mapping[str, Any]) -> Iterator[str]:
    """A daemon's own complaints about its code, each with the place; with several pools, each with its pool."""
    pools = [each for each in _list(report.get("pools")) if isinstance(each, dict)]
    for pool in pools:
        name = f"pool {pool.get('name')}: " if len(pools) > 1 else ""
        serving = pool.get("generation")
        stays = "nothing is served" if serving is None else f"generation {serving} serves"
        yield from (f"{name}{stays}, but {problem}" for problem in _list(pool.get("problems")))
    if not pools and report.get("problem"):
        yield str(report["problem"])
    yield from map(str, _list(report.get("problems")))


def unserved(queue: Mapping[str, Mapping[str, int]], living: Sequence[NodeView]) -> dict[str, int]:
    """Job type -> number of jobs that wait, for the types of which no living node has a handler.

    Empty where none lives, or one has not said yet what it serves. `queue` is job type -> status -> number.
    """
    if not living or any(node.types is None for node in living):
        return {}
    served = {each.job_type for node in living for each in node.types or ()}
    waiting = {job_type: sum(counts.get(each, 0) for each in _FREE) for job_type, counts in queue.items()}
    return {job_type: number for job_type, number in waiting.items() if number and job_type not in served}


def unserved_in_words(counts: Mapping[str, int]) -> Iterator[str]:
    """One sentence for each type, the largest number first."""
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    for job_type, number in ordered[:MOST_TYPES]:
        jobs = "1 job waits" if number == 1 else f"{number:,} jobs wait"
        yield f"{job_type}: {jobs}, and no daemon has a handler for this type; bring it back, or cancel them"
    if len(ordered) > MOST_TYPES:
        number = sum(each for _, each in ordered[MOST_TYPES:])
        yield f"{number:,} more jobs of {len(ordered) - MOST_TYPES:,} other types wait without a handler"


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
