"""`jobwarden status` where many hosts share a store: every node, by wall clocks for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from jobwarden.clock import SECOND_US, SYSTEM_CLOCK, to_datetime
from jobwarden.store import open_store
from tests.support import postgresql
from tests.support.played_node import NAME, PlayedNode
from tests.support.processes import subreaper
from tests.support.shell import Shell
from tests.support.site import Site
from tests.support.waiting import eventually


@pytest.fixture
def url() -> str:
    """A migrated database of its own on PostgreSQL."""
    made = postgresql.server().new_database()
    open_store(made, migrate=True).close()
    return made


@pytest.fixture
def shell(url: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(url, capsys)


@pytest.fixture
def served(tmp_path: Path, url: str) -> Iterator[Site]:
    """A daemon on that database."""
    with subreaper():
        site = Site(tmp_path, url=url)
        try:
            site.start()
            yield site
        finally:
            site.close()


def grow_old(name: str, url: str, *, seconds: int) -> None:
    """A copy of the node's row, on another host, whose last beat was so long ago."""
    at = to_datetime(SYSTEM_CLOCK.now_us() - seconds * SECOND_US)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(
            "INSERT INTO node (id, name, host, beat_at, boot_id, pid, state_dir, started_at, beat, lease_seconds, "
            "version) SELECT 'far', 'far:7', 'far', %s, boot_id, pid, state_dir, started_at, beat, lease_seconds, "
            "version FROM node WHERE name = %s",
            [at, name],
        )


def test_every_node_is_shown_with_the_age_of_its_beat(shell: Shell, url: str) -> None:
    """A node older than its lease is silent, in the table, as a problem and for machines; the other one runs."""
    with PlayedNode(url) as node:
        node.tell({"kill_level": "tree", "connection": "notifications", "slots": []})
    grow_old(NAME, url, seconds=100)
    answer = {each["host"]: each for each in shell.json("status")["nodes"]}
    assert {host: each["silent"] for host, each in answer.items()} == {"testhost": False, "far": True}
    assert answer["far"]["beatAgeSeconds"] >= 100
    assert {each["leaseSeconds"] for each in answer.values()} == {15.0}
    text = shell.call("status")
    (far,) = (line for line in text.splitlines() if line.startswith("far:7  "))
    assert far.split()[1] == "far"
    assert far.split()[-1] == "silent"
    assert "1 m 40 s ago" in far
    assert "far:7: has not been heard of for 1 m 40 s" in text


def test_a_node_that_looks_once_a_second_is_a_notice(shell: Shell, url: str) -> None:
    """Why it hears of nothing is told by `status` and by `doctor`, and what to do about it."""
    with PlayedNode(url) as node:
        node.tell({"connection": "polling: a pooler stands between"})
    assert "polling: a pooler stands between" in shell.call("status")
    (told,) = (each for each in shell.json("doctor")["findings"] if each["subject"] == "connection")
    assert told["severity"] == "notice"
    assert told["what"] == f"{NAME} looks for news once a second: a pooler stands between"


def test_a_real_daemon_says_how_it_is_connected(served: Site, shell: Shell) -> None:
    """With a server of its own to talk to, it hears notifications; doctor has nothing to say against it."""
    reports = eventually(
        lambda: [each["report"] for each in shell.json("status")["nodes"] if each["report"]], what="a report"
    )
    assert served.daemons
    eventually(
        lambda: [each["report"]["connection"] for each in shell.json("status")["nodes"]] == ["notifications"],
        what="notifications",
    )
    assert reports[0]["kill_level"] == "tree"
    assert [each for each in shell.json("doctor")["findings"] if each["subject"] == "connection"] == []
