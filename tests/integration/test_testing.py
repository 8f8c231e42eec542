"""`jobwarden.testing`: an application's test runs its jobs and looks at what became of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobwarden.client import Client
from jobwarden.errors import InvalidJobError
from jobwarden.jobs import JobStatus
from jobwarden.testing import ErrandFailedError, run_jobs
from tests.support import processes
from tests.support.daemon import HANDLERS

HANDLER = """\
from jobwarden import handler
from shop import price_of


@handler("price")
def price(payload):
    return price_of(payload["article"])
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


def test_jobs_are_run_and_counted(client: Client, url: str) -> None:
    """As many as are ready, with their real handlers; what they returned is in the store."""
    job_id = client.add_job("echo", {"a": 1})
    client.add_job("fail_for_good", {})
    assert run_jobs(url, handlers=HANDLERS) == 2
    record = client.get_job(job_id)
    assert record is not None
    assert record.output == {"a": 1}
    assert run_jobs(url, handlers=HANDLERS) == 0


def test_one_claim_a_limit_and_types(client: Client, url: str) -> None:
    """What the command line can say can be said here."""
    client.add_jobs([])
    for job_type in ("echo", "echo", "echo", "bill"):
        client.add_job(job_type, {"number": 2, "amount": 3})
    assert run_jobs(url, handlers=HANDLERS, burst=False, limit=2) == 2
    assert run_jobs(url, handlers=str(HANDLERS), types=["bill"]) == 1
    assert run_jobs(url, handlers=HANDLERS, burst=False, workers=1) == 1


def test_settings_are_options_of_the_daemon(client: Client, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their names; the variables of the surrounding shell do not count."""
    monkeypatch.setenv("JOBWARDEN_DEFAULT_TIMEOUT_MS", "86400000")
    monkeypatch.setenv("JOBWARDEN_NO_SUCH_OPTION", "1")
    job_id = client.add_job("spin", {"place": str(Path(url.removeprefix("sqlite:///")).parent)}, max_attempts=1)
    assert run_jobs(url, handlers=HANDLERS, settings={"default_timeout_ms": 200, "kill_grace_seconds": 0}) == 1
    record = client.get_job(job_id)
    assert record is not None
    assert record.failure_reason == "timeout"


def test_handlers_import_what_the_test_can(
    client: Client, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module search path of the calling process holds for them too."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "shop.py").write_text("def price_of(article):\n    return 7\n")
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "price.py").write_text(HANDLER)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "src")])
    job_id = client.add_job("price", {"article": "tea"})
    assert run_jobs(url, handlers=tmp_path / "handlers") == 1
    record = client.get_job(job_id)
    assert record is not None
    assert record.output == 7


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"types": ["eco"]}, "no handler here serves eco"),
        ({"handlers": "no-such-folder"}, "no handler"),
        ({"limit": 0}, "limit: 0 is not possible"),
        ({"settings": {"worker": 3}}, "--worker"),
    ],
    ids=["type", "folder", "limit", "option"],
)
def test_what_goes_wrong_is_told_with_the_log(url: str, given: dict[str, object], words: str) -> None:
    """One error, with the problem and what the daemon said."""
    with pytest.raises(ErrandFailedError) as caught:
        run_jobs(url, **{"handlers": HANDLERS, **given})  # type: ignore[arg-type]
    assert words in caught.value.log
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"types": "echo"}, "types: is no list of texts"),
        ({"types": []}, "types: has 0 entries"),
        ({"timeout": "soon"}, "timeout: 'soon' is no time"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_starts(url: str, given: Any, words: str) -> None:
    """One text would be taken for its letters, an empty list for all types."""
    with pytest.raises(InvalidJobError) as caught:
        run_jobs(url, handlers=HANDLERS, **given)
    assert str(caught.value).startswith(words)


def test_a_list_among_the_settings_is_one(client: Client, url: str) -> None:
    """As the configuration file has it; the command line wants commas."""
    client.add_job("echo", {})
    assert run_jobs(url, handlers=HANDLERS, settings={"worker_environment": ["FIRST", "SECOND"]}) == 1


def test_after_the_timeout_what_runs_is_killed_and_given_back(client: Client, url: str, tmp_path: Path) -> None:
    """The test fails with the log, nothing stays behind, and the attempt is not charged."""
    job_id = client.add_job("nap", {"place": str(tmp_path), "seconds": 1_000})
    with processes.subreaper():
        with pytest.raises(ErrandFailedError, match=r"has not ended within 1\.5 s"):
            run_jobs(url, handlers=HANDLERS, timeout=1.5)
        record = client.get_job(job_id)
    assert record is not None
    assert (record.status, record.attempts) == (JobStatus.PENDING, 0)
