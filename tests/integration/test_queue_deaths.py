"""Outside consumers that die: their jobs run again, whoever notices; a fork of one has no part in what it holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.client import Client, JobQueue
from jobwarden.jobs import JobStatus, Outcome
from tests.support import processes
from tests.support.daemon import clean_environment
from tests.support.site import Site
from tests.support.waiting import LIMIT_SECONDS, eventually

CONSUMER = """
import sys
from jobwarden.client import JobQueue
jobs = JobQueue(sys.argv[1])
print(jobs.dequeue().id, flush=True)
sys.stdin.read()
"""

FORKING_CONSUMER = """
import os, sys
from jobwarden.client import JobQueue
from jobwarden.errors import NotHeldError
jobs = JobQueue(sys.argv[1])
held = jobs.dequeue().id
if (child := os.fork()) == 0:
    try:
        jobs.complete(held)
    except NotHeldError:
        jobs.close()
        print(held, os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
os.waitpid(child, 0)
"""

FORK_THAT_WORKS = """
import os, sys
from jobwarden.client import JobQueue
jobs = JobQueue(sys.argv[1], lease_seconds=1)
mine = jobs.dequeue().id
if (child := os.fork()) == 0:
    own = jobs.dequeue()
    jobs.complete(own.id)
    jobs.close()
    os._exit(0 if own.id != mine else 3)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
jobs.complete(mine)
jobs.close()
sys.exit(code)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


def start(program: str, url: str) -> subprocess.Popen[str]:
    """A consumer, which lives until its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", program, url],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def end(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def test_a_running_daemon_frees_the_jobs_of_a_dead_consumer(site: Site) -> None:
    """The job ends as lost, which costs no attempt, and the daemon runs it."""
    job_id = site.add("echo")
    consumer = start(CONSUMER, site.url)
    assert first_line(consumer) == f"{job_id}\n"
    site.start()
    assert site.job(job_id).status is JobStatus.PROCESSING
    end(consumer)
    record = site.await_end(job_id)
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)
    assert [each.outcome for each in site.attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]


def test_the_next_dequeue_frees_the_jobs_of_a_dead_consumer(client: Client, url: str) -> None:
    """Without any daemon: whoever finds nothing to do looks who is dead."""
    job_id = client.add_job("mail")
    consumer = start(CONSUMER, url)
    assert first_line(consumer) == f"{job_id}\n"
    with JobQueue(client) as jobs:
        assert jobs.dequeue() is None
        end(consumer)
        message = jobs.dequeue()
        assert message is not None
        assert (message.id, message.attempts) == (str(job_id), 1)
        jobs.complete(message.id)
    assert [each.outcome for each in client.get_job_attempts(job_id)] == [Outcome.LOST, Outcome.SUCCEEDED]


def test_another_queues_beat_frees_the_jobs_of_a_dead_consumer(client: Client, url: str) -> None:
    """Also one that is busy and asks for nothing."""
    held = client.add_job("mail", priority=1)
    with JobQueue(client, lease_seconds=1) as jobs:
        assert jobs.dequeue() is not None
        job_id = client.add_job("mail")
        consumer = start(CONSUMER, url)
        assert first_line(consumer) == f"{job_id}\n"
        end(consumer)
        eventually(lambda: client.count_jobs(status="pending"), what="the dead consumer's job is free")
        jobs.complete(str(held))


def test_a_fork_does_not_keep_a_dead_consumer_alive(client: Client, url: str) -> None:
    """The child closes its copy of the lock, cannot complete what its parent holds, and gives nothing back."""
    job_id = client.add_job("mail")
    consumer = start(FORKING_CONSUMER, url)
    shown, child = map(int, first_line(consumer).split())
    assert shown == job_id
    assert client.get_jobs(status="processing")[0].id == job_id
    with JobQueue(client) as jobs:
        assert jobs.dequeue() is None
        consumer.kill()
        consumer.wait(LIMIT_SECONDS)
        assert processes.lives(child)
        message = jobs.dequeue()
        assert message is not None
        assert message.id == str(job_id)
        jobs.complete(message.id)
    os.kill(child, signal.SIGKILL)
    end(consumer)


def test_a_fork_may_be_a_consumer_of_its_own(client: Client, url: str) -> None:
    """It registers as a node of its own; its parent goes on holding what it holds."""
    ids = [client.add_job("mail"), client.add_job("mail")]
    subprocess.run([sys.executable, "-c", FORK_THAT_WORKS, url], check=True, timeout=60, env=clean_environment())
    assert client.count_jobs(ids=ids, status="completed") == 2
    assert client.store.nodes() == []
