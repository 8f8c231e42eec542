"""`jobwarden list`: every filter, orders and pages; and `counts`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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


def ids(shell: Shell, *words: str) -> list[int]:
    """Which jobs `list` finds, in its order."""
    return [job["id"] for job in shell.json("list", *words)["jobs"]]


def test_several_types_statuses_and_ids_may_be_named(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Each may be repeated; what is found matches one of each."""
    for job_type in ("digest", "report", "mail", "digest"):
        client.add_job(job_type)
    node.fail(node.take_one(), error="no")
    assert ids(shell, "--type", "digest", "--type", "mail") == [4, 3, 1]
    assert ids(shell, "--status", "pending", "--status", "retrying", "--type", "digest") == [4, 1]
    assert ids(shell, "--status", "ended") == []
    assert ids(shell, "--id", "2", "--id", "4", "--id", "99") == [4, 2]


@pytest.mark.parametrize(
    ("mode", "found"), [((), [2]), (("all",), [2]), (("any",), [3, 2, 1]), (("none",), [5, 4]), (("exact",), [2])]
)
def test_tags_are_compared_in_four_ways(shell: Shell, client: Client, mode: tuple[str, ...], found: list[int]) -> None:
    """`--tag-mode`; all is the default."""
    for tags in (["a"], ["a", "b"], ["b", "c"], ["c"], []):
        client.add_job("digest", tags=tags)
    words = [word for each in mode for word in ("--tag-mode", each)]
    assert ids(shell, "--tag", "a", "--tag", "b", *words) == found


def test_a_group_is_found(shell: Shell, client: Client) -> None:
    """`--group`."""
    client.add_job("digest", group_id="north")
    client.add_job("digest", group_id="south")
    assert ids(shell, "--group", "south") == [2]


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        (["5"], [2]),
        (["=5"], [2]),
        ([">=5"], [3, 2]),
        ([">5"], [3]),
        (["<= 5"], [2, 1]),
        (["<5"], [1]),
        ([">-3", "<9"], [2]),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_priorities_are_bounded(shell: Shell, client: Client, bounds: list[str], found: list[int]) -> None:
    """One bound, or two."""
    for priority in (-3, 5, 9):
        client.add_job("digest", priority=priority)
    assert ids(shell, *(f"--priority={bound}" for bound in bounds)) == found


def test_moments_are_bounded(shell: Shell, client: Client) -> None:
    """ISO 8601, or a distance from now in both directions."""
    soon = datetime.now(UTC) + timedelta(minutes=10)
    client.add_job("digest")
    client.add_job("digest", run_at=soon)
    client.add_job("digest", run_at="2040-01-31T08:00:00Z")
    assert ids(shell, "--run-at", ">+5m") == [3, 2]
    assert ids(shell, "--run-at", ">+5m", "--run-at", "<2040-01-01T00:00:00Z") == [2]
    assert ids(shell, "--run-at", "2040-01-31T09:00:00+01:00") == [3]
    assert ids(shell, "--created-at", ">-1h") == [3, 2, 1]
    assert ids(shell, "--created-at", "<-1h") == []


def test_lists_have_an_order(shell: Shell, client: Client) -> None:
    """`--order` by four columns, either way; equal ones by their ids."""
    for priority in (1, 2, 1):
        client.add_job("digest", priority=priority)
    assert ids(shell, "--order", "id") == [1, 2, 3]
    assert ids(shell, "--order", "priority") == [1, 3, 2]
    assert ids(shell, "--order=-priority") == [2, 3, 1]


def test_a_page_gives_the_cursor_of_the_next(shell: Shell, client: Client) -> None:
    """Until there is no more; what is added meanwhile neither repeats nor hides a job."""
    for _ in range(5):
        client.add_job("digest")
    first = shell.json("list", "--limit", "2")
    client.add_job("digest")
    second = shell.json("list", "--limit", "2", "--cursor", first["cursor"])
    third = shell.json("list", "--limit", "2", "--cursor", second["cursor"])
    assert [[job["id"] for job in page["jobs"]] for page in (first, second, third)] == [[5, 4], [3, 2], [1]]
    assert third["cursor"] is None
    assert shell.call("list", "--limit", "2").splitlines()[-1].startswith("there are more: --cursor ")
    assert "there are more" not in shell.call("list")


def test_a_waiting_job_says_for_what(shell: Shell, client: Client) -> None:
    """Its reason is in the list, on the page of the job and in the JSON."""
    parent = client.add_job("digest")
    client.add_job("digest", depends_on={"job_ids": [parent]})
    reason = shell.json("show", "2")["job"]["pendingReason"]
    assert reason
    assert reason in shell.call("list")
    shown = shell.call("show", "2")
    assert reason in shown
    assert "after jobs" in shown


def test_counts_are_by_type_and_status(shell: Shell, client: Client, node: PlayedNode) -> None:
    """As a table for people; with `--json` the numbers."""
    for job_type in ("digest", "digest", "report"):
        client.add_job(job_type)
    node.complete(node.take_one())
    assert shell.json("counts") == {
        "counts": {"digest": {"pending": 1, "completed": 1}, "report": {"pending": 1}},
    }
    assert [line.split() for line in shell.call("counts").splitlines()] == [
        ["type", "pending", "completed"],
        ["digest", "1", "1"],
        ["report", "1", "0"],
    ]
