"""The journal of the handler `ticking`: which process had a job when, on CLOCK_BOOTTIME."""

from __future__ import annotations

from typing import NamedTuple

from tests.support.site import Site


class Stretch(NamedTuple):
    """One process that lived with one job."""

    pid: int
    first_ns: int
    last_ns: int


def stretches(site: Site, job_id: int) -> list[Stretch]:
    """The attempts of a job, in the order of their beginning."""
    found: dict[int, Stretch] = {}
    for line in site.lines("ticks"):
        job, pid, at_ns = map(int, line.split())
        if job == job_id:
            known = found.get(pid, Stretch(pid, at_ns, at_ns))
            found[pid] = known._replace(last_ns=at_ns)
    return sorted(found.values(), key=lambda each: each.first_ns)


def enough(site: Site) -> None:
    """All of them may end."""
    (site.place / "enough").touch()
