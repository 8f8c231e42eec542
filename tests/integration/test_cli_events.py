"""`jobwarden events`, `cleanup` and `reclaim`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.client import Client
from tests.support.daemon import clean_environment
from tests.support.played_node import PlayedNode
from tests.support.shell import Shell

LIMIT_SECONDS = 30


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def shell(url: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(url, capsys)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
def node(url: str) -> Iterator[PlayedNode]:
    with PlayedNode(url) as played:
        yield played


@pytest.fixture
def follower(url: str, client: Client) -> Iterator[subprocess.Popen[str]]:
    """`jobwarden events --follow --after begin` as a process, once it has printed the event of one job."""
    client.add_job("digest")
    with subprocess.Popen(
        [sys.executable, "-m", "jobwarden", "events", "--follow", "--after", "begin", "--event", "added"],
        env={**clean_environment(), "JOBWARDEN_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["jobId"] == 1
        yield process
        process.kill()


def test_events_are_json_lines(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Oldest first, of all jobs, each with a cursor."""
    client.add_job("digest")
    client.add_job("report")
    node.complete(node.take_one())
    events = shell.lines("events")
    assert [(event["type"], event["jobId"], event["jobType"]) for event in events] == [
        ("added", 1, "digest"),
        ("added", 2, "report"),
        ("processing", 1, "digest"),
        ("completed", 1, "digest"),
    ]
    assert shell.lines("events", "--json") == events
    assert shell.lines("events", "--after", events[1]["cursor"]) == events[2:]
    assert shell.lines("events", "--event", "added", "--event", "completed", "--type", "digest") == [
        events[0],
        events[3],
    ]
    assert shell.lines("events", "--limit", "2", "--after", "begin") == events[:2]


def test_a_cursor_that_nobody_gave_out_is_one_sentence(shell: Shell, client: Client) -> None:
    """Exit code 2, nothing printed."""
    client.add_job("digest")
    assert shell.call("events", "--after", "abc", code=2) == ""
    assert len(shell.stderr.splitlines()) == 1


def test_following_prints_what_happens_from_now_on(follower: subprocess.Popen[str], client: Client) -> None:
    """Each line at once, also through a pipe; Ctrl-C ends it without a traceback."""
    assert follower.stdout is not None
    assert follower.stderr is not None
    for job_id in (2, 3):
        client.add_job("digest")
        assert json.loads(follower.stdout.readline())["jobId"] == job_id
    follower.send_signal(signal.SIGINT)
    assert follower.wait(LIMIT_SECONDS) == 130
    assert "Traceback" not in follower.stderr.read()


def test_a_follower_whose_reader_has_gone_ends(follower: subprocess.Popen[str], client: Client) -> None:
    """As in `jobwarden events --follow | head -1`."""
    assert follower.stdout is not None
    follower.stdout.close()
    client.add_job("digest")
    assert follower.wait(LIMIT_SECONDS) == 1


def test_old_jobs_and_events_are_cleaned_up(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Only what has ended; a job that waits for its retry stays with its events."""
    for _ in range(3):
        client.add_job("digest")
    node.complete(node.take_one())
    node.fail(node.take_one(), error="no")
    assert shell.json("cleanup", "--older-than", "1") == {"removed": 0}
    assert shell.call("cleanup", "--older-than", "0", "--events") == "3 events removed\n"
    assert shell.call("cleanup", "--older-than", "0") == "1 job removed\n"
    assert [job.id for job in client.get_jobs()] == [3, 2]
    assert {event["jobId"] for event in shell.lines("events")} == {2, 3}


def test_jobs_that_run_too_long_are_taken_back(shell: Shell, client: Client, node: PlayedNode) -> None:
    """A living daemon is asked; nothing is taken from it."""
    client.add_job("digest")
    claimed = node.take_one()
    assert shell.json("reclaim", "--older-than", "60") == {"freed": [], "asked": []}
    answer = shell.json("reclaim", "--older-than", "0")
    assert answer["freed"] + answer["asked"] == [claimed.id]
    assert shell.call("reclaim", "--older-than", "60") == "0 jobs freed; 0 more asked for\n"
