"""`jobwarden edit`, `cancel`, `retry`, `replay`, `remove` and `clear`: one job, or all that a filter finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobwarden.client import Client
from jobwarden.jobs import JobStatus
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


def job(shell: Shell, job_id: int) -> dict[str, Any]:
    """Its record."""
    found: dict[str, Any] = shell.json("show", str(job_id))["job"]
    return found


def statuses(client: Client) -> list[str]:
    """Of all jobs, oldest first."""
    return [str(each.status) for each in client.get_jobs(order="id")]


def test_an_edit_changes_what_is_given_and_nothing_else(shell: Shell, client: Client) -> None:
    """Every option of a job that may be changed."""
    client.add_job("digest", {"path": "a"}, tags=["old"], max_attempts=2)
    before = job(shell, 1)
    assert shell.call("edit", "1", "--priority", "4") == "job 1 is changed\n"
    assert {**job(shell, 1), "updated_at": None} == {**before, "priority": 4, "updated_at": None}
    words = (
        "--run-at 2030-01-31T08:00:00Z --timeout-ms 5000 --heartbeat-timeout-ms 900 --force-kill-on-timeout "
        "--max-attempts 7 --retry-delay 1.5 --no-retry-backoff --retry-delay-max 9 --tag a --tag b --dead-letter dead "
        '--group g --payload {"path":"b"}'
    )
    changed = shell.json("edit", "1", *words.split())["job"]
    assert changed == job(shell, 1)
    assert (changed["runAt"], changed["timeoutMs"], changed["heartbeatTimeoutMs"]) == (
        "2030-01-31T08:00:00Z",
        5000,
        900,
    )
    assert (changed["maxAttempts"], changed["retryDelay"], changed["retryBackoff"]) == (7, 1.5, False)
    assert (changed["retryDelayMax"], changed["tags"], changed["groupId"]) == (9, ["a", "b"], "g")
    assert (changed["deadLetterJobType"], changed["payload"]) == ("dead", {"path": "b"})
    assert changed["forceKillOnTimeout"] is True


def test_what_was_set_can_be_taken_away(shell: Shell, client: Client) -> None:
    """`--clear` by the names of the options; the default holds again."""
    client.add_job(
        "digest",
        [1],
        run_at="2030-01-31T08:00:00Z",
        timeout_ms=5,
        retry_delay=1.0,
        tags=["a"],
        group_id="g",
        dead_letter_job_type="dead",
    )
    cleared = ("payload", "run-at", "timeout-ms", "retry-delay", "tag", "dead-letter", "group")
    shell.call("edit", "1", *(word for name in cleared for word in ("--clear", name)))
    found = job(shell, 1)
    assert (found["payload"], found["timeoutMs"], found["retryDelay"]) == (None, None, 60)
    assert (found["tags"], found["groupId"], found["deadLetterJobType"]) == ([], None, None)
    assert found["runAt"] < "2030"


def test_many_jobs_are_edited_by_a_filter(shell: Shell, client: Client, node: PlayedNode) -> None:
    """What runs is left alone, and said; where an option has the name of a filter, the filter is --where-..."""
    for priority in (0, 0, 3):
        client.add_job("digest", priority=priority, tags=["x"])
    client.add_job("report")
    running = node.take_one().id
    said = shell.call("edit", "--type", "digest", "--where-tag", "x", "--priority", "7", "--tag", "y")
    assert said == "2 jobs changed, 1 running job left alone\n"
    assert job(shell, running)["tags"] == ["x"]
    assert shell.json("edit", "--all", "--where-priority", ">5", "--priority", "8")["running"] == 0
    assert [each.priority for each in client.get_jobs(order="id")] == [8, 8, 3, 0]


def test_a_running_or_ended_job_is_not_edited(shell: Shell, client: Client, node: PlayedNode) -> None:
    """One sentence with its state."""
    client.add_job("digest")
    claimed = node.take_one()
    shell.call("edit", "1", "--priority", "4", code=2)
    assert "processing" in shell.stderr
    node.complete(claimed)
    shell.call("edit", "1", "--priority", "4", code=2)
    assert "completed" in shell.stderr


def test_many_jobs_are_cancelled_by_a_filter(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Running ones are left alone without `--running`; with it they are asked to stop."""
    for job_type in ("digest", "digest", "report"):
        client.add_job(job_type)
    node.take_one()
    assert shell.json("cancel", "--type", "digest", "--reason", "old") == {"ids": [2], "running": 1}
    assert statuses(client) == ["processing", "cancelled", "pending"]
    assert shell.call("cancel", "--all", "--running") == "1 job cancelled, 1 running job asked to stop\n"
    node.obey_wishes()
    assert statuses(client) == ["cancelled"] * 3


def test_a_dry_run_lists_what_would_be_retried(shell: Shell, client: Client, node: PlayedNode) -> None:
    """And changes nothing; without it they run again."""
    for _ in range(2):
        client.add_job("digest")
        node.fail(node.take_one(), error="no", permanent=True)
    client.add_job("digest")
    assert shell.call("retry", "--status", "failed", "--dry-run") == "2 jobs would be retried\n1\n2\n"
    assert statuses(client) == ["failed", "failed", "pending"]
    assert shell.json("retry", "--all") == {"ids": [1, 2], "dryRun": False}
    assert statuses(client) == ["pending"] * 3


def test_a_job_is_retried_with_what_ended_because_of_it(shell: Shell, client: Client, node: PlayedNode) -> None:
    """`--with-dependents`; without it, they stay cancelled."""
    client.add_job("digest")
    client.add_job("report", depends_on={"job_ids": [1]})
    node.fail(node.take_one(), error="no", permanent=True)
    assert statuses(client) == ["failed", "cancelled"]
    assert shell.call("retry", "1", "--with-dependents") == "job 1 runs again\n"
    assert statuses(client) == ["pending", "pending"]


def test_what_left_a_dead_letter_is_replayed(shell: Shell, client: Client, node: PlayedNode) -> None:
    """One by its id, or all that a filter finds; a job without a dead letter is not for this."""
    for _ in range(2):
        client.add_job("digest", dead_letter_job_type="dead")
        node.fail(node.take_one(), error="no", permanent=True)
    failed = [each.id for each in client.get_jobs(status="failed", order="id")]
    assert shell.json("replay", "--type", "digest", "--dry-run") == {"ids": failed, "dryRun": True}
    assert shell.call("replay", str(failed[0])) == "1 job replayed\n"
    assert shell.json("replay", "--all")["ids"] == failed[1:]
    plain = client.add_job("digest")
    shell.call("replay", str(plain), code=2)
    assert shell.stderr == f"jobwarden: replay: job {plain} has left no dead letter; retry it instead\n"


def test_a_job_is_removed_with_its_history(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Not while it runs."""
    client.add_job("digest")
    claimed = node.take_one()
    shell.call("remove", "1", code=2)
    assert "processing" in shell.stderr
    node.complete(claimed)
    assert shell.call("remove", "1") == "job 1 is removed\n"
    assert client.get_job(1) is None
    shell.call("remove", "1", code=2)
    assert shell.stderr == "jobwarden: there is no job 1 in this store\n"


def test_jobs_are_cleared_only_with_a_yes(shell: Shell, client: Client, node: PlayedNode) -> None:
    """Without it they are counted; what runs stays."""
    for job_type in ("digest", "digest", "report"):
        client.add_job(job_type)
    running = node.take_one().id
    shell.call("clear", "--type", "digest", code=2)
    assert shell.stderr == "jobwarden: clear: 2 jobs found; add --yes to remove what is not running\n"
    assert shell.call("clear", "--type", "digest", "--yes") == "1 job removed, 1 running job left alone\n"
    assert shell.json("clear", "--all", "--yes") == {"ids": [3], "running": 1}
    (left,) = client.get_jobs()
    assert (left.id, left.status) == (running, JobStatus.PROCESSING)


@pytest.mark.parametrize("command", ["edit", "cancel", "retry", "replay", "clear"])
def test_nothing_is_done_to_all_jobs_by_mistake(shell: Shell, client: Client, command: str) -> None:
    """A command for many must be told which, or `--all`."""
    client.add_job("digest")
    more = {"edit": ["--priority", "3"], "clear": ["--yes"]}.get(command, [])
    shell.call(command, *more, code=2)
    assert shell.stderr.startswith(f"jobwarden: {command}: say which jobs: ")
    assert job(shell, 1)["status"] == "pending"
