"""`jobwarden pause`, `resume`, `limit`, `controls` and `explain`, and what `status` shows of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.client import Client
from tests.support.played_node import PlayedNode
from tests.support.shell import Shell


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


def test_a_type_is_paused_until_it_is_resumed(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Nothing of it is claimed meanwhile; the reason is shown."""
    client.add_job("digest")
    assert shell.call("pause", "digest", "--reason", "full disk") == "type digest is paused: full disk\n"
    assert node.take() == []
    (control,) = shell.json("controls")["controls"]
    assert (control["scope"], control["name"], control["pauseReason"]) == ("type", "digest", "full disk")
    assert shell.call("resume", "digest") == "type digest goes on\n"
    assert len(node.take()) == 1
    assert shell.json("resume", "digest") == {"resumed": False}
    assert shell.call("resume", "digest") == "type digest was not paused\n"


def test_everything_is_paused_for_a_time(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Without a type it is all of them; `--until` ends it by itself."""
    client.add_job("digest")
    control = shell.json("pause", "--until", "+2h")["control"]
    assert (control["scope"], control["pausedUntil"] > control["pausedAt"]) == ("all", True)
    assert node.take() == []
    assert shell.call("resume") == "everything goes on\n"


def test_limits_are_set_one_by_one_and_taken_away(shell: Shell) -> None:
    """What is not given stays; `none` takes one away, `--clear` all."""
    assert shell.call("limit", "type", "digest", "--max-running", "3") == "type digest: 3 at once\n"
    set_later = shell.json("limit", "type", "digest", "--max-per-node", "2", "--rate", "10", "--per", "1m")["control"]
    assert {name: set_later[name] for name in ("maxRunning", "maxPerNode", "rate", "rateSeconds")} == {
        "maxRunning": 3,
        "maxPerNode": 2,
        "rate": 10,
        "rateSeconds": 60,
    }
    said = shell.call("limit", "type", "digest", "--max-running", "none", "--rate", "none")
    assert said == "type digest: 2 on one node\n"
    assert shell.call("limit", "type", "digest", "--clear") == "type digest has no limits any more\n"
    assert shell.json("limit", "type", "digest", "--clear") == {"cleared": False}
    assert shell.call("controls") == "no limits, no pauses\n"


def test_a_limit_holds_for_what_is_claimed(shell: Shell, client: Client, node: PlayedNode) -> None:
    """A group's jobs beyond it wait, and say so."""
    shell.call("limit", "group", "north", "--max-running", "1")
    for _ in range(3):
        client.add_job("digest", group_id="north")
    assert len(node.take(limit=10)) == 1
    assert shell.json("show", "2")["job"]["pendingReason"]


def test_controls_and_status_show_limits_and_pauses(shell: Shell, node: PlayedNode) -> None:
    """In both as a table and in JSON."""
    node.tell({})
    shell.call("limit", "group", "*", "--max-running", "2")
    shell.call("limit", "type", "digest", "--rate", "5", "--per", "90")
    shell.call("pause", "report", "--reason", "moving \x1b[2J")
    controls = shell.json("controls")["controls"]
    assert [(each["scope"], each["name"]) for each in controls] == [
        ("group", "*"),
        ("type", "digest"),
        ("type", "report"),
    ]
    assert shell.json("status")["controls"] == controls
    for command in ("controls", "status"):
        text = shell.call(command)
        assert "5 in 1 m 30 s" in text
        assert "paused: moving \\x1b[2J" in text


def test_explain_says_why_a_job_does_not_run(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Each reason in a sentence, and the next moment at which it may run."""
    client.add_job("digest", run_at="2030-01-31T08:00:00Z")
    shell.call("pause", "digest", "--reason", "full disk")
    client.add_job("digest")
    node.tell({"types": ["digest"]})
    later, paused = shell.json("explain", "1"), shell.json("explain", "2")
    assert (later["jobId"], later["status"], later["reasons"][0]["kind"]) == (1, "pending", "not_due")
    assert later["reasons"][0]["until"] == "2030-01-31T08:00:00Z"
    assert "paused" in [reason["kind"] for reason in paused["reasons"]]
    lines = shell.call("explain", "2").splitlines()
    assert lines[0] == "job 2 is pending"
    assert [line.strip() for line in lines[1 : 1 + len(paused["reasons"])]] == [
        reason["text"] for reason in paused["reasons"]
    ]
    shell.call("explain", "99", code=2)
    assert shell.stderr == "jobwarden: there is no job 99 in this store\n"
