"""`show --json` against a fixture of the whole document: the names of design section 6, exactly, in their order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobwarden.cli.entry import enter
from jobwarden.client import Client
from jobwarden.jobs import AttemptFacts
from tests.support.played_node import NAME, PlayedNode

ERROR = "the disk was asleep"

JOB: dict[str, Any] = {
    "id": 1,
    "jobType": "digest",
    "payload": {"path": "README.md", "depth": [1, 2.5, None]},
    "status": "completed",
    "createdAt": "TIME",
    "updated_at": "TIME",
    "locked_at": None,
    "locked_by": None,
    "attempts": 2,
    "maxAttempts": 5,
    "nextAttemptAt": None,
    "priority": 10,
    "runAt": "2020-01-31T08:00:00Z",
    "pendingReason": None,
    "errorHistory": [{"message": ERROR, "timestamp": "TIME"}],
    "timeoutMs": 5000,
    "failureReason": None,
    "completedAt": "TIME",
    "startedAt": "TIME",
    "lastRetriedAt": "TIME",
    "lastFailedAt": "TIME",
    "lastCancelledAt": None,
    "tags": ["urgent", "nightly"],
    "idempotencyKey": "digest-1",
    "progress": 100.0,
    "output": {"sha256": "00"},
    "deadLetterJobType": None,
    "deadLetteredAt": None,
    "deadLetterJobId": None,
    "forceKillOnTimeout": True,
    "retryDelay": 0.0,
    "retryBackoff": False,
    "retryDelayMax": 9.0,
    "dependsOnJobIds": [],
    "dependsOnTags": [],
    "groupId": None,
    "waitUntil": None,
    "waitTokenId": None,
    "stepData": None,
    "metadata": {"team": "a"},
    "heartbeatTimeoutMs": None,
    "expiresAt": None,
}

FIRST_ATTEMPT: dict[str, Any] = {
    "jobId": 1,
    "fence": 1,
    "outcome": "failed",
    "startedAt": "TIME",
    "endedAt": "TIME",
    "node": NAME,
    "workerPid": None,
    "generation": None,
    "signal": None,
    "exitCode": None,
    "peakRssKb": None,
    "cpuMs": None,
    "error": ERROR,
    "captured": None,
    "stackDump": None,
    "leftBehind": None,
}

SECOND_ATTEMPT: dict[str, Any] = {
    **FIRST_ATTEMPT,
    "fence": 2,
    "outcome": "succeeded",
    "workerPid": 77,
    "generation": 3,
    "peakRssKb": 2048,
    "cpuMs": 12,
    "error": None,
    "captured": "hello\n",
    "leftBehind": ["sleep (78)"],
}

EVENTS = ["added", "processing", "failed", "processing", "progress", "completed"]


def test_show_prints_the_whole_record_with_exactly_the_documented_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every name, every value and the order are those of the fixture; times are ISO 8601 in UTC."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    _run_a_job_with_everything(url)
    assert enter(["show", "1", "--json", "--database-url", url]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["job", "attempts", "events"]
    _assert_same(document["job"], JOB)
    for found, wanted in zip(document["attempts"], [FIRST_ATTEMPT, SECOND_ATTEMPT], strict=True):
        _assert_same(found, wanted)
    assert [event["type"] for event in document["events"]] == EVENTS
    for event in document["events"]:
        assert list(event) == ["id", "jobId", "type", "at", "metadata"]
        assert (event["jobId"], _timeless(event["at"])) == (1, "TIME")


def _run_a_job_with_everything(url: str) -> None:
    with Client(url) as client, PlayedNode(url) as node:
        client.add_job(
            "digest",
            JOB["payload"],
            priority=10,
            run_at=JOB["runAt"],
            timeout_ms=5_000,
            force_kill_on_timeout=True,
            max_attempts=5,
            retry_delay=0,
            retry_backoff=False,
            retry_delay_max=9,
            tags=JOB["tags"],
            idempotency_key="digest-1",
            metadata={"team": "a"},
        )
        node.fail(node.take_one(), error=ERROR)
        job = node.take_one()
        node.progress(job, 50)
        facts = AttemptFacts(
            worker_pid=77,
            generation=3,
            peak_rss_kb=2048,
            cpu_ms=12,
            captured="hello\n",
            left_behind=["sleep (78)"],
        )
        node.complete(job, output='{"sha256":"00"}', facts=facts)


def _assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    shown = {name: _timeless(value) if wanted.get(name) == "TIME" else value for name, value in found.items()}
    for entry in found.get("errorHistory", []):
        entry["timestamp"] = _timeless(entry["timestamp"])
    assert shown == wanted
    assert list(found) == list(wanted)


def _timeless(value: str) -> str:
    """TIME in place of an ISO 8601 time in UTC."""
    return re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$", "TIME", value)
