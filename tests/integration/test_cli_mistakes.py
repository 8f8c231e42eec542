"""Malformed calls over client and command line: one sentence each, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from jobwarden.cli.entry import enter
from jobwarden.client import Client
from jobwarden.errors import JobwardenError
from jobwarden.jobs import JobOptions

DEEP: Any = None
for _ in range(500):
    DEEP = [DEEP]

CLIENT_MISTAKES: dict[str, Callable[[Client], object]] = {
    "empty type": lambda c: c.add_job(""),
    "long type": lambda c: c.add_job("x" * 256),
    "type with NUL": lambda c: c.add_job("a\0b"),
    "type that is no text": lambda c: c.add_job(7),  # type: ignore[arg-type]
    "lone surrogate in type": lambda c: c.add_job("\ud800"),
    "object as payload": lambda c: c.add_job("digest", object()),
    "set as payload": lambda c: c.add_job("digest", {1, 2}),
    "NaN in payload": lambda c: c.add_job("digest", {"x": [float("nan")]}),
    "NUL in payload": lambda c: c.add_job("digest", {"x": "a\0b"}),
    "lone surrogate in payload": lambda c: c.add_job("digest", "\ud800"),
    "deep payload": lambda c: c.add_job("digest", DEEP),
    "large payload": lambda c: c.add_job("digest", "x" * 2_000_000),
    "huge number in payload": lambda c: c.add_job("digest", 10**5_000),
    "unknown option": lambda c: c.add_job("digest", colour="red"),
    "naive date": lambda c: c.add_job("digest", run_at=datetime(2030, 1, 1)),  # noqa: DTZ001
    "date in words": lambda c: c.add_job("digest", run_at="tomorrow"),
    "no time": lambda c: c.add_job("digest", timeout_ms=0),
    "no attempts": lambda c: c.add_job("digest", max_attempts=0),
    "negative delay": lambda c: c.add_job("digest", retry_delay=-1),
    "infinite delay": lambda c: c.add_job("digest", retry_delay=float("inf")),
    "large priority": lambda c: c.add_job("digest", priority=2**31),
    "priority in words": lambda c: c.add_job("digest", priority="high"),
    "one text as tags": lambda c: c.add_job("digest", tags="urgent"),
    "empty tag": lambda c: c.add_job("digest", tags=[""]),
    "too many tags": lambda c: c.add_job("digest", tags=[str(number) for number in range(101)]),
    "empty key": lambda c: c.add_job("digest", idempotency_key=""),
    "metadata that is a list": lambda c: c.add_job("digest", metadata=[1]),
    "metadata with NaN": lambda c: c.add_job("digest", metadata={"x": float("nan")}),
    "metadata with an object": lambda c: c.add_job("digest", metadata={"x": object()}),
    "bulk of dicts": lambda c: c.add_jobs([{"job_type": "digest"}]),  # type: ignore[list-item]
    "bulk that is none": lambda c: c.add_jobs(7),  # type: ignore[arg-type]
    "bulk with one bad job": lambda c: c.add_jobs(
        [JobOptions(job_type="digest"), JobOptions(job_type="digest", payload="\0")]
    ),
    "id in words": lambda c: c.get_job("1"),  # type: ignore[arg-type]
    "true as id": lambda c: c.get_job(job_id=True),
    "id zero": lambda c: c.cancel_job(0),
    "id beyond the database": lambda c: c.retry_job(2**63),
    "unknown id": lambda c: c.cancel_job(99),
    "retry of a fresh job": lambda c: c.retry_job(1),
    "unknown status": lambda c: c.get_jobs(status="done"),
    "limit zero": lambda c: c.get_jobs(limit=0),
    "large limit": lambda c: c.get_jobs(limit=10_001),
    "negative offset": lambda c: c.get_jobs(offset=-1),
    "one text as filter of tags": lambda c: c.get_jobs(tags="urgent"),
    "NUL as filter of type": lambda c: c.get_jobs(job_type="\0"),
    "reason that is no text": lambda c: c.cancel_job(1, reason=7),  # type: ignore[arg-type]
    "endless reason": lambda c: c.cancel_job(1, reason="x" * 1_001),
    "negative wait": lambda c: c.wait(1, -1),
    "waiting NaN": lambda c: c.cancel_job(1, wait_seconds=float("nan")),
}

COMMAND_MISTAKES = [
    ["bogus"],
    ["ad", "digest"],
    ["add"],
    ["add", ""],
    ["add", "digest", "{"],
    ["add", "digest", "NaN"],
    ["add", "digest", "'quoted'"],
    ["add", "digest", "[" * 200_000],
    ["add", "digest", "1" * 5_000],
    ["add", "digest", '"\\u0000"'],
    ["add", "digest", '"\\ud800"'],
    ["add", "digest", "@no-such-file"],
    ["add", "digest", "@."],
    ["add", "digest", "@"],
    ["add", "digest", "@/dev/zero"],
    ["add", "digest", "@latin1.json"],
    ["add", "digest", "{}", "more"],
    ["add", "digest", "--colour", "red"],
    ["add", "digest", "--priority", "high"],
    ["add", "digest", "--timeout-ms", "0"],
    ["add", "digest", "--timeout-ms", "1.5"],
    ["add", "digest", "--max-attempts", "-1"],
    ["add", "digest", "--retry-delay", "nan"],
    ["add", "digest", "--run-at", "tomorrow"],
    ["add", "digest", "--run-at", "+5"],
    ["list", "--database-url", "sqlite:///\udcff.db"],
    ["add", "digest", "--run-at", "+999999999d"],
    ["add", "digest", "--run-at", "2030-01-31T08:00:00"],
    ["add", "digest", "--metadata", "[1]"],
    ["add", "digest", "--metadata", "{"],
    ["add", "digest", "--tag", ""],
    ["add", "digest", "--idempotency-key", ""],
    ["add", "digest", "--wait-timeout", "5"],
    ["add", "digest", "--wait", "--wait-timeout", "-5"],
    ["add", "digest", "--database-url", "jobs.db"],
    ["add", "digest", "--database-url", "postgers://me:s3cret@host/db"],
    ["add", "digest", "--database-url", "postgresql://me:s3cret@host/db"],
    ["run", "--database-url", "postgresql:///db?user=me&password=s3cret"],
    ["add", "digest", "--database-url", ""],
    ["list", "--status", "done"],
    ["list", "--limit", "0"],
    ["list", "--limit", "many"],
    ["list", "--offset", "-1"],
    ["list", "--tag", ""],
    ["show"],
    ["show", "one"],
    ["show", "0"],
    ["show", "99"],
    ["show", "9" * 30],
    ["cancel", "99"],
    ["cancel", "1", "--wait-timeout", "5"],
    ["cancel", "1", "--reason", ""],
    ["retry", "1"],
    ["add", "digest", "--depends-on", "one"],
    ["add", "digest", "--depends-on", "1:wait"],
    ["add", "digest", "--depends-on", "99"],
    ["add", "digest", "--depends-on-tag", ""],
    ["add", "digest", "--expires-in", "soon"],
    ["add", "digest", "--expires-in", "-5"],
    ["add", "digest", "--expires-in", "nan"],
    ["add", "digest", "--idempotency-key", "k", "--idempotency-ttl", "always"],
    ["add", "digest", "--group", ""],
    ["add", "digest", "--dead-letter", ""],
    ["add", "digest", "--heartbeat-timeout-ms", "0"],
    ["list", "--status", ""],
    ["list", "--tag-mode", "most", "--tag", "a"],
    ["list", "--tag-mode", "any"],
    ["list", "--priority", ">high"],
    ["list", "--priority", ">=1", "--priority", ">=2"],
    ["list", "--priority", ">" + "9" * 5_000],
    ["list", "--run-at", "<tomorrow"],
    ["list", "--created-at", "<2030-01-01T00:00:00"],
    ["list", "--order", "colour"],
    ["list", "--cursor", "abc"],
    ["list", "--id", "0"],
    ["edit"],
    ["edit", "1"],
    ["edit", "1", "--all", "--priority", "3"],
    ["edit", "--priority", "3"],
    ["edit", "--type", "digest"],
    ["edit", "99", "--priority", "3"],
    ["edit", "1", "--priority", "high"],
    ["edit", "1", "--payload", "{"],
    ["edit", "1", "--timeout-ms", "0"],
    ["edit", "1", "--clear", "priority"],
    ["edit", "1", "--clear", "tag", "--tag", "a"],
    ["cancel"],
    ["cancel", "1", "--type", "digest"],
    ["cancel", "1", "--running"],
    ["cancel", "--all", "--wait"],
    ["retry"],
    ["retry", "1", "--dry-run"],
    ["retry", "--all", "--with-dependents"],
    ["replay"],
    ["replay", "1"],
    ["remove"],
    ["remove", "99"],
    ["clear"],
    ["clear", "--yes"],
    ["clear", "--all"],
    ["clear", "1", "--yes"],
    ["pause", ""],
    ["pause", "digest", "--until", "tomorrow"],
    ["pause", "digest", "--until=-1h"],
    ["pause", "digest", "--reason", "x" * 1_001],
    ["resume", "digest", "report"],
    ["limit"],
    ["limit", "type"],
    ["limit", "type", "digest"],
    ["limit", "node", "digest", "--max-running", "3"],
    ["limit", "type", "*", "--max-running", "3"],
    ["limit", "type", "digest", "--max-running", "-1"],
    ["limit", "type", "digest", "--max-running", "many"],
    ["limit", "group", "north", "--max-per-node", "3"],
    ["limit", "type", "digest", "--rate", "3"],
    ["limit", "type", "digest", "--per", "60"],
    ["limit", "type", "digest", "--rate", "3", "--per", "soon"],
    ["limit", "type", "digest", "--clear", "--max-running", "3"],
    ["controls", "digest"],
    ["explain"],
    ["explain", "99"],
    ["counts", "digest"],
    ["events", "--limit", "0"],
    ["cleanup"],
    ["cleanup", "--older-than", "-1"],
    ["cleanup", "--older-than", "nan"],
    ["cleanup", "--older-than", "long"],
    ["reclaim"],
    ["reclaim", "--older-than", "-1"],
    ["run", "--once", "--burst"],
    ["run", "--limit", "3"],
    ["run", "--type", "digest"],
    ["run", "--once", "--limit", "0"],
    ["status", "now"],
    ["run", "--workers"],
    ["run", "--worker", "3"],
    ["run", "--workers", "0"],
    ["run", "--config", "no-such-file.toml"],
]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with one job in it; the current folder is empty but for a file that is not UTF-8."""
    monkeypatch.chdir(tmp_path)
    Path("latin1.json").write_bytes('"ü"'.encode("latin-1"))
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        opened.add_job("digest", idempotency_key="the-one")
        yield opened


def everything(client: Client) -> list[object]:
    """All that the database knows."""
    return [
        (job.model_dump(), [event.model_dump() for event in client.get_job_events(job.id)]) for job in client.get_jobs()
    ]


@pytest.mark.parametrize("mistake", CLIENT_MISTAKES.values(), ids=CLIENT_MISTAKES)
def test_a_mistake_in_a_call_is_one_sentence_and_changes_nothing(
    client: Client, mistake: Callable[[Client], object]
) -> None:
    """Every malformed call of the client raises an error of ours with one short sentence; no row changes."""
    before = everything(client)
    with pytest.raises(JobwardenError) as caught:
        mistake(client)
    _assert_sentence(str(caught.value))
    assert everything(client) == before


@pytest.mark.parametrize("words", COMMAND_MISTAKES, ids=lambda words: " ".join(words)[:50])
def test_a_mistake_on_the_command_line_is_one_sentence_and_changes_nothing(
    client: Client, url: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, nothing on standard output, one sentence on standard error, no row changed."""
    before, files = everything(client), set(Path.cwd().iterdir())
    monkeypatch.setenv("JOBWARDEN_DATABASE_URL", url)
    assert enter(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jobwarden: ")
    assert err.endswith("\n")
    _assert_sentence(err.removeprefix("jobwarden: ").removesuffix("\n"))
    assert everything(client) == before
    assert set(Path.cwd().iterdir()) == files


def test_a_payload_on_standard_input_is_judged_alike(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`-` reads standard input; what is no JSON there is refused with one sentence."""
    path = tmp_path / "input"
    path.write_text("{broken", encoding="utf-8")
    with path.open(encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert enter(["add", "digest", "-", "--database-url", url]) == 2
    _assert_sentence(capsys.readouterr().err)
    path.write_text('{"good": 1}', encoding="utf-8")
    with path.open(encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert enter(["add", "digest", "-", "--json", "--database-url", url]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": 1}


def test_a_file_too_large_for_a_payload_is_not_read_to_its_end(
    url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The sentence says that it is too large, not that what was read of it is broken."""
    path = tmp_path / "large.json"
    path.write_text(f'"{"x" * 9_000_000}"', encoding="utf-8")
    assert enter(["add", "digest", f"@{path}", "--database-url", url]) == 2
    assert capsys.readouterr().err == "jobwarden: payload: is too large; store a reference instead\n"


def test_all_wrong_settings_are_told_at_once(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """`run` with several mistakes names each on a line of its own, and starts nothing."""
    assert enter(["run", "--workers", "0", "--log-level", "loud", "--database-url", url]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["--workers", "--log-level"]


def test_a_store_that_cannot_be_opened_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A missing folder, a folder and a file of another kind: exit code 1, one sentence with the way out."""
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one\n" * 99, encoding="utf-8")
    for path in (tmp_path / "none" / "jobs.db", tmp_path, tmp_path / "text.db"):
        assert enter(["list", "--database-url", f"sqlite:///{path}"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        _assert_sentence(err)


def _assert_sentence(text: str) -> None:
    line = text.removesuffix("\n")
    assert 10 < len(line) < 400
    assert "\n" not in line
    assert line.isprintable()
    assert "s3cret" not in line
    assert "Traceback" not in line
