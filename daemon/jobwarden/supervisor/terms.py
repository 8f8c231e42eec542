"""The numbers that the pool decides by, taken from the settings. Pure."""

from __future__ import annotations

import msgspec

SECOND_NS = 1_000_000_000
DEFAULT_POOL = "default"
MOST_BIRTHS = 16
"""Forks that are under way at once: a template's socket holds 278, and each has `spawn_ns` from its asking on."""


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """Processing by hand: what one `jobwarden run --once` or `--burst` is to do before it leaves."""

    burst: bool
    """Claim until nothing is ready; else one claim, and no more."""
    limit: int | None = None
    """Jobs that may be claimed in all."""
    types: tuple[str, ...] = ()
    """Only these job types; none given means all that are served."""


class PoolTerms(msgspec.Struct, frozen=True, kw_only=True):
    """All durations in nanoseconds."""

    name: str = DEFAULT_POOL
    workers: int
    kill_grace_ns: int
    drain_ns: int
    spawn_ns: int
    load_ns: int
    default_timeout_ms: int | None = None
    max_timeout_ms: int | None = None
    """The operator's ceiling: no attempt runs longer."""
    memory_limit_kb: int | None = None
    """What the processes of one job may have together, beyond what the template shares with them."""
    cpu_limit_ms: int | None = None
    max_processes: int | None = None
    worker_max_jobs: int | None = None
    worker_max_growth_kb: int | None = None
    errand: Errand | None = None
    """None serves until it is told to leave."""

    @property
    def measures(self) -> bool:
        """Whether running jobs have to be looked at."""
        return any(each is not None for each in (self.memory_limit_kb, self.cpu_limit_ms, self.max_processes))
