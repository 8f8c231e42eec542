"""A program with many queues on one client, on a server whose pool of connections is small."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from jobwarden.client import Client, JobQueue
from jobwarden.store import open_store
from tests.support import mariadb, postgresql

SERVERS: dict[str, Callable[[], Any]] = {"postgresql": postgresql.server, "mariadb": mariadb.server}


@pytest.mark.parametrize("name", SERVERS)
def test_what_a_queue_keeps_is_not_taken_from_the_pool(name: str) -> None:
    """Each holds its own connections for as long as it lives; verbs find the pool as it was."""
    url = SERVERS[name]().new_database()
    open_store(url, migrate=True).close()
    with ExitStack() as stack:
        client = stack.enter_context(Client(url))
        ids = [client.add_job("echo") for _ in range(12)]
        queues = [stack.enter_context(JobQueue(client)) for _ in ids]
        taken = [queue.dequeue() for queue in queues]
        assert sorted(int(job.id) for job in taken if job is not None) == ids
        for queue, job in zip(queues, taken, strict=True):
            assert job is not None
            queue.complete(job.id)
        assert client.counts() == {"echo": {"completed": 12}}
