"""What people see of a node's pools in `status`. Reads the pool, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor.slot import SlotState

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.supervisor.inputs import Moment
    from jobwarden.supervisor.pool import Pool
    from jobwarden.supervisor.pools import Pools
    from jobwarden.supervisor.slot import Slot


def report_of(pools: Pools, now: Moment, *, kill_level_of: Callable[[int], str]) -> dict[str, object]:
    """Pools, generations, problems and slots as a JSON-able mapping; what stands at the top sums the pools up."""
    generations = [pool.generations for pool in pools.all]
    return {
        "generation": max((each.serving for each in generations if each.serving is not None), default=None),
        "types": sorted(job_type for each in generations for job_type in each.types),
        "problem": next(filter(None, map(_problem, pools.all)), None),
        "stopping": pools.all[0].stopping,
        "trusted": pools.all[0].standing.good,
        "backlog": sum(len(pool.intake.backlog) for pool in pools.all),
        "slots": [
            _describe(slot, pool.name, now) | {"kill_level": kill_level_of(slot.id)}
            for pool in pools.all
            for slot in pool.workers.slots.values()
        ],
        "pools": [_pool(pool) for pool in pools.all],
    }


def _pool(pool: Pool) -> dict[str, object]:
    generations = pool.generations
    return {
        "name": pool.name,
        "generation": generations.serving,
        "content_hash": generations.content_hash,
        "types": sorted(generations.types),
        "problem": _problem(pool),
        "problems": _problems(pool),
        "workers": pool.terms.workers,
        "backlog": len(pool.intake.backlog),
    }


def _problem(pool: Pool) -> str | None:
    return next(iter(_problems(pool)), None)


def _problems(pool: Pool) -> list[str]:
    """What is wrong with the code that was loaded last, each with file and line; then why no worker is born."""
    return [*pool.generations.problems, *filter(None, [pool.workers.births.problem])]


def _describe(slot: Slot, pool: str, now: Moment) -> dict[str, object]:
    job = slot.head
    state = "busy" if slot.state is SlotState.READY and job is not None else str(slot.state)
    return {
        "slot": slot.id,
        "pool": pool,
        "pid": slot.pid,
        "state": "idle" if slot.idle else state,
        "generation": slot.generation,
        "stuck": slot.stuck,
        "job_id": job.id if job else None,
        "job_type": job.job_type if job else None,
        "since_us": now.wall_us(slot.head_since_ns) if job else None,
    }
