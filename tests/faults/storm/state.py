"""How large a supervisor is: what must not grow however much is saved."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.support import processes

_DATABASE = "/jobs.db"


class State(NamedTuple):
    """At one moment."""

    memory_kb: int
    """Private, resident."""
    descriptors: int
    """Without those of the database: its connections come and go, and the pool of them has an end."""
    threads: int
    children: int
    files: int
    """Below the state directory."""
    kinds: Counter[str]
    """Of the descriptors."""


def state_of(supervisor: int, state_dir: Path) -> State:
    """Now."""
    kinds = _kinds(supervisor)
    return State(
        memory_kb=_private_kb(supervisor),
        descriptors=kinds.total(),
        threads=sum(1 for _ in Path(f"/proc/{supervisor}/task").iterdir()),
        children=len(processes.children(supervisor)),
        files=sum(1 for _ in state_dir.rglob("*")),
        kinds=kinds,
    )


def _kinds(pid: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found[str(link.readlink()).partition(":[")[0]] += 1
    return Counter({kind: number for kind, number in found.items() if _DATABASE not in kind})


def _private_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
