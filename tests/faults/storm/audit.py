"""What must hold when the storm is over, reckoned from the store and the log alone."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from datetime import datetime
from operator import itemgetter
from typing import Any

from jobwarden.jobs import JobStatus, Outcome
from tests.faults.storm.storm import Storm
from tests.support.site import Site

_SERVED = "generation_served"
MOST_GROWTH_KB = 8_192
"""Of the supervisor's private memory, from the first checkpoint to the end: caches fill, nothing piles up."""


def audit(storm: Storm, site: Site) -> list[str]:
    """One sentence for each violation."""
    return [
        *storm.report.findings,
        *_jobs(storm, site),
        *_code(storm, site),
        *_freshness(storm, site),
        *_service(storm),
        *_growth(storm),
    ]


def _jobs(storm: Storm, site: Site) -> Iterator[str]:
    """No job is lost, none paid for a save, none was tried twice."""
    for job_id in storm.report.accepted:
        record = site.client.get_job(job_id)
        if record is None:
            yield f"job {job_id} is lost"
            continue
        outcomes = [each.outcome for each in site.attempts(job_id)]
        if record.status is not JobStatus.COMPLETED or outcomes != [Outcome.SUCCEEDED]:
            yield f"job {job_id} is {record.status} after {outcomes}: {record.error_history}"


def _code(storm: Storm, site: Site) -> Iterator[str]:
    """No broken code was served; a generation is one code from its start to its end; later ones have later code."""
    seen: dict[int, dict[str, int]] = {}
    for job_id in storm.report.accepted:
        output: Any = site.job(job_id).output
        if not isinstance(output, dict):
            continue
        (generation,) = [each.generation for each in site.attempts(job_id)]
        if set(output.values()) - storm.report.may_be_served:
            yield f"job {job_id} was run by broken code: {output}"
        if output.get("began", output["served"]) != output["served"]:
            yield f"job {job_id} changed its code: {output}"
        before = seen.setdefault(generation or 0, output)
        if any(before.get(key, value) != value for key, value in output.items()):
            yield f"generation {generation} is two codes: {before} and {output}"
        seen[generation or 0] = before | output
    for earlier, later in zip(sorted(seen), sorted(seen)[1:], strict=False):
        lasting = {key: value for key, value in seen[earlier].items() if value not in storm.report.passing}
        if any(seen[later].get(key, value) < value for key, value in lasting.items()):
            yield f"generation {later} is older code than {earlier}: {seen[later]}, {seen[earlier]}"


def _freshness(storm: Storm, site: Site) -> Iterator[str]:
    """What was added when a generation was served already is run by no earlier one."""
    served = [(datetime.fromisoformat(event["at"]), event["generation"]) for event in storm.daemon.events(_SERVED)]
    for job_id in storm.report.accepted:
        (generation,) = [each.generation for each in site.attempts(job_id)]
        place = bisect(served, site.job(job_id).created_at, key=itemgetter(0))
        if place and (generation or 0) < served[place - 1][1]:
            yield f"job {job_id} was run by generation {generation} although {served[place - 1][1]} was served before"


def _service(storm: Storm) -> Iterator[str]:
    """One supervisor from the beginning to the end, which has left no thread of its own dead."""
    if not storm.daemon.running:
        yield "the daemon has ended"
    if len(storm.daemon.events("started")) != 1:
        yield "the supervisor was started anew"
    for event in storm.daemon.events("text"):
        yield f"something wrote past the log: {event['text']}"


def _growth(storm: Storm) -> Iterator[str]:
    """Descriptors, threads, processes and files are as many as at the first checkpoint; memory is flat."""
    before, after = storm.report.states[1], storm.report.states[-1]
    for name in ("descriptors", "threads", "children", "files"):
        if getattr(after, name) > getattr(before, name):
            yield f"{name}: {getattr(before, name)} before, {getattr(after, name)} after ({after.kinds - before.kinds})"
    if after.memory_kb - before.memory_kb > MOST_GROWTH_KB:
        yield f"private memory: {before.memory_kb} kB before, {after.memory_kb} kB after"
