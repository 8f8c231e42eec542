"""From the settings to the numbers by which the supervisor decides, at the start and whenever they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS
from jobwarden.store.keeping.retention import Retention
from jobwarden.store.keeping.rounds import Rules
from jobwarden.supervisor.terms import PoolTerms
from jobwarden.wire.template_terms import WorkerBounds

if TYPE_CHECKING:
    from jobwarden.settings import Settings
    from jobwarden.settings.pool import PoolSettings
    from jobwarden.supervisor.terms import Errand

_KB_PER_MIB, _BYTES_PER_MIB = 1_024, 1_048_576
_FOR_EACH_WORKER = 2
"""Of the generation that serves and the one before it there may be a worker each for some time."""


def terms_of(settings: Settings, *, errand: Errand | None = None) -> list[PoolTerms]:
    """The numbers of each pool out of the settings; an errand forks no workers that cannot get a job."""
    return [_terms_of(pool, settings, errand) for pool in settings.pools]


def _terms_of(pool: PoolSettings, settings: Settings, errand: Errand | None) -> PoolTerms:
    bound = pool.workers if errand is None or errand.limit is None else errand.limit
    return PoolTerms(
        name=pool.name,
        workers=min(pool.workers, bound),
        errand=errand,
        kill_grace_ns=int(pool.kill_grace_seconds * SECOND_NS),
        drain_ns=int(settings.drain_seconds * SECOND_NS),
        spawn_ns=int(pool.spawn_seconds * SECOND_NS),
        load_ns=int(pool.load_seconds * SECOND_NS),
        default_timeout_ms=pool.default_timeout_ms,
        max_timeout_ms=pool.max_timeout_ms,
        memory_limit_kb=_kb(pool.memory_limit_mb),
        cpu_limit_ms=None if pool.cpu_limit_seconds is None else int(pool.cpu_limit_seconds * 1_000),
        max_processes=pool.max_processes,
        worker_max_jobs=pool.worker_max_jobs,
        worker_max_growth_kb=_kb(pool.worker_max_growth_mb),
    )


def _kb(mib: int | None) -> int | None:
    return None if mib is None else mib * _KB_PER_MIB


def rules_of(settings: Settings) -> Rules:
    """The rules of maintenance out of the settings."""
    return Rules(
        retention=Retention(completed_days=settings.retention_completed_days, ended_days=settings.retention_ended_days),
        starvation_seconds=settings.starvation_seconds,
    )


def bounds_of(pool: PoolSettings) -> WorkerBounds:
    """What the kernel is to watch over in each worker of this pool."""
    return WorkerBounds(
        memory_limit_bytes=None if pool.memory_limit_mb is None else pool.memory_limit_mb * _BYTES_PER_MIB,
        max_open_files=pool.max_open_files,
        user_processes=_user_processes(pool),
        measured=pool.memory_limit_mb is not None or pool.worker_max_growth_mb is not None,
    )


def _user_processes(pool: PoolSettings) -> int | None:
    """The kernel counts a user's processes, not a job's: no job may take what the others of the pool may have."""
    if pool.user is None or pool.max_processes is None:
        return None
    return _FOR_EACH_WORKER * pool.workers * (pool.max_processes + 1)
