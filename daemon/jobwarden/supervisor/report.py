"""What people see of a pool in `status`. Reads the pool, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor.slot import SlotState

if TYPE_CHECKING:
    from jobwarden.supervisor.inputs import Moment
    from jobwarden.supervisor.pool import Pool
    from jobwarden.supervisor.slot import Slot


def report_of(pool: Pool, now: Moment) -> dict[str, object]:
    """Generation, problems and slots as a JSON-able mapping."""
    generations = pool.generations
    return {
        "generation": generations.serving,
        "types": sorted(generations.types),
        "problem": generations.problem,
        "stopping": pool.stopping,
        "trusted": pool.standing.good,
        "backlog": len(pool.intake.backlog),
        "slots": [_describe(slot, now) for slot in pool.workers.slots.values()],
    }


def _describe(slot: Slot, now: Moment) -> dict[str, object]:
    job = slot.head
    state = "busy" if slot.state is SlotState.READY and job is not None else str(slot.state)
    return {
        "slot": slot.id,
        "pid": slot.pid,
        "state": "idle" if slot.idle else state,
        "generation": slot.generation,
        "stuck": slot.stuck,
        "job_id": job.id if job else None,
        "job_type": job.job_type if job else None,
        "since_us": now.wall_us(slot.head_since_ns) if job else None,
    }
