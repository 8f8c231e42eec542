"""The other queues on PostgreSQL, draining the same small job as fast as they can: one process each, nothing between.

    python -m tests.benchmarks.queue_peers procrastinate|pgqueuer HOST PORT DATABASE JOBS BATCH

Makes its tables in the database, adds the jobs in bulk, works them off and prints the jobs/s of the working off alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.util import find_spec
from typing import Any

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK

USER = "postgres"
NEEDED = {"procrastinate": ("procrastinate",), "pgqueuer": ("pgqueuer", "asyncpg")}
_CHUNK = 1_000


def missing(peer: str) -> list[str]:
    """Packages that it needs and that are not installed."""
    return [name for name in NEEDED[peer] if find_spec(name) is None]


def payload(number: int) -> dict[str, Any]:
    """As `measuring.noop_jobs`."""
    return {"n": number, "text": "x" * 64}


async def drain_procrastinate(host: str, port: int, database: str, jobs: int, batch: int) -> float:
    """`batch` is how many jobs run at once; each is fetched and finished by itself."""
    import procrastinate  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - of the extra `bench`

    settings = {"host": host, "port": port, "user": USER, "dbname": database}
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(kwargs=settings))

    @app.task(name="noop")  # type: ignore[untyped-decorator,unused-ignore]
    async def noop(n: int, text: str) -> dict[str, bool]:  # noqa: ARG001 - the payload
        return {"ok": True}

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(0, jobs, _CHUNK):
            await noop.batch_defer_async(*map(payload, range(first, min(first + _CHUNK, jobs))))
        began = SYSTEM_CLOCK.monotonic_ns()
        await app.run_worker_async(wait=False, concurrency=batch, install_signal_handlers=False)
        return jobs * SECOND_NS / (SYSTEM_CLOCK.monotonic_ns() - began)


async def drain_pgqueuer(host: str, port: int, database: str, jobs: int, batch: int) -> float:
    """`batch` jobs are taken in one statement; completions are kept in memory and written in bulk."""
    import asyncpg  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - of the extra `bench`
    from pgqueuer import (  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        AsyncpgDriver,
        Job,
        Queries,
        QueueManager,
    )
    from pgqueuer.domain.types import (  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        QueueExecutionMode,
    )

    connection = await asyncpg.connect(host=host, port=port, user=USER, database=database)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    manager = QueueManager(queries)

    @manager.entrypoint("noop")  # type: ignore[untyped-decorator,unused-ignore]
    async def noop(job: Job) -> None:
        json.loads(job.payload or b"null")

    for first in range(0, jobs, _CHUNK):
        payloads: list[bytes | None] = [
            json.dumps(payload(number)).encode() for number in range(first, min(first + _CHUNK, jobs))
        ]
        await queries.enqueue(["noop"] * len(payloads), payloads, [0] * len(payloads))
    began = SYSTEM_CLOCK.monotonic_ns()
    await manager.run(batch_size=batch, mode=QueueExecutionMode.drain)
    rate = jobs * SECOND_NS / (SYSTEM_CLOCK.monotonic_ns() - began)
    await connection.close()
    return rate


def main(peer: str, host: str, *numbers: str) -> None:
    """Print the rate."""
    port, database, jobs, batch = numbers
    drain = {"procrastinate": drain_procrastinate, "pgqueuer": drain_pgqueuer}[peer]
    print(asyncio.run(drain(host, int(port), database, int(jobs), int(batch))))


if __name__ == "__main__":
    main(*sys.argv[1:])
