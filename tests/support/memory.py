"""What a daemon costs in memory, by kind of process, in the only measure that adds up: PSS."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import descendants, title
from tests.support.site import Site


def share_kb(pid: int) -> int:
    """What belongs to this process: of a page that several have, its share (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def memory_of(site: Site) -> dict[str, float]:
    """MB by kind of process, and all together."""
    (keeper,) = site.processes_below
    found: dict[str, float] = {}
    for pid in {keeper, *descendants(keeper)}:
        kind = title(pid).split()[1] if title(pid).startswith("jobwarden:") else "keeper"
        found[kind] = found.get(kind, 0) + share_kb(pid) / 1024
    return {name: round(megabytes, 1) for name, megabytes in {**found, "all": sum(found.values())}.items()}
