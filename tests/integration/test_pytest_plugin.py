"""The pytest plugin in a stranger's project: found by its entry point, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import clean_environment
from tests.support.installed import with_entry_points

LIMIT_SECONDS = 60

HANDLERS = """\
from __future__ import annotations
import asyncio, logging, sys
from dataclasses import dataclass
from jobwarden import FailPermanently, JobContext, RetryLater, handler, on_worker_start

READY = []

@on_worker_start
def begin():
    READY.append(True)

@dataclass
class Guest:
    name: str
    times: int = 1

@handler("greet", timeout_ms=5_000)
def greet(payload: Guest, ctx: JobContext) -> dict:
    for turn in range(payload.times):
        print("hello", payload.name)
        ctx.set_progress(100 * (turn + 1) / payload.times)
    ctx.log("greeted", attempt=ctx.attempt)
    ctx.add_job("sweep", {"after": payload.name}, priority=3)
    return {"greeted": payload.name, "ready": READY}

@handler("wait")
async def wait(payload: int) -> int:
    await asyncio.sleep(0)
    return payload + 1

@handler("fail", retry_on=ConnectionError, max_attempts=4, retry_delay=7)
def fail(payload: str):
    print("about to fail")
    raise {"key": KeyError, "net": ConnectionError, "final": FailPermanently, "later": RetryLater}[payload](5)

@handler("one")
@handler("two")
def both(payload, ctx):
    ctx.set_output([ctx.job_type, ctx.job_id])

@handler("bytes")
def raw(payload):
    sys.stdout.buffer.write("Grüße\\n".encode())
    sys.stdout.buffer.flush()
    return {1, 2} if payload is None else float("nan")

@handler("crash")
def crash(payload):
    import os
    os.kill(os.getpid(), 9)
"""

TESTS = """\
import asyncio
import signal
import pytest
import welcome
from jobwarden.errors import ErrandFailedError, InvalidJobError
from jobwarden.testing import HandlerFailedError, HandlerRun, RunHandler, RunJob
from welcome import both, fail, greet, raw, wait

def test_a_success(run_handler: RunHandler, capsys):
    run = run_handler(greet, {"name": "Ann", "times": 2})
    assert isinstance(run, HandlerRun)
    assert run.succeeded and run.status == "completed"
    assert run.output == {"greeted": "Ann", "ready": []}
    assert run.context.timeout_ms == 5_000
    assert run.progress == 100
    assert run.printed == "hello Ann\\nhello Ann\\ngreeted attempt=1\\n"
    assert capsys.readouterr().out == "hello Ann\\nhello Ann\\n"
    assert [(job["job_type"], job["priority"]) for job in run.added] == [("sweep", 3)]
    assert (run.error, run.failure_reason, run.retry_in, run.exception) == (None, None, None, None)

def test_a_payload_that_does_not_fit(run_handler):
    run = run_handler(greet, {"nam": "Ann"})
    assert (run.failure_reason, run.retry_in) == ("invalid_payload", None)
    assert "payload.name" in run.error
    with pytest.raises(InvalidJobError):
        run_handler(greet, {"name": float("nan")})

def test_failures_are_judged(run_handler):
    run = run_handler(fail, "net")
    assert (run.status, run.failure_reason, run.error) == ("failed", "handler_error", "ConnectionError: 5")
    assert run.retry_in == 14
    assert isinstance(run.exception, ConnectionError)
    assert run.printed.startswith("about to fail\\nTraceback")
    assert run_handler(fail, "net", attempt=3).retry_in == 56
    assert run_handler(fail, "net", attempt=4).retry_in is None
    assert run_handler(fail, "key").retry_in is None
    assert run_handler(fail, "final").retry_in is None
    assert run_handler(fail, "later", attempt=2).retry_in == 5

def test_asking_a_failure_for_its_output_tells_why(run_handler):
    with pytest.raises(HandlerFailedError, match="the handler of 'fail' has failed: KeyError: 5") as caught:
        run_handler(fail, "key").output
    assert "about to fail" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)

def test_async_handlers(run_handler):
    assert [run_handler(wait, each).output for each in (1, 2)] == [2, 3]
    async def inside():
        run_handler(wait, 1)
    with pytest.raises(RuntimeError, match="a test that is no coroutine"):
        asyncio.run(inside())

def test_outputs(run_handler):
    assert sorted(run_handler(raw).output) == [1, 2]
    assert run_handler(raw).printed == "Grüße\\n"
    assert run_handler(raw, 1).error.startswith("output: contains NaN")

def test_which_handler(run_handler):
    assert run_handler(both, job_type="two", job_id=9).output == ["two", 9]
    for options, words in [({}, "say which with job_type="), ({"job_type": "three"}, "does not serve three")]:
        with pytest.raises(TypeError, match=words):
            run_handler(both, **options)
    with pytest.raises(TypeError, match="test_which_handler is no handler: put @handler above it"):
        run_handler(test_which_handler)

def test_signals_are_left_alone(run_handler):
    before = signal.getsignal(signal.SIGUSR1)
    assert run_handler(both, job_type="one").succeeded
    assert signal.getsignal(signal.SIGUSR1) is before

def test_monkeypatching_works(run_handler, monkeypatch):
    monkeypatch.setattr(welcome, "READY", ["patched"])
    assert run_handler(greet, {"name": "Cid"}).output["ready"] == ["patched"]

def test_in_a_worker(run_job: RunJob):
    record = run_job(greet, {"name": "Bob"}, tags=["vip"])
    assert (record.status, record.output, record.tags) == ("completed", {"greeted": "Bob", "ready": [True]}, ["vip"])
    record = run_job("crash", max_attempts=1)
    assert (record.status, record.failure_reason) == ("failed", "crashed")
    assert [job.job_type for job in run_job.client.get_jobs(status="pending")] == ["sweep"]

def test_in_a_worker_nobody_serves_it(run_job):
    with pytest.raises(ErrandFailedError, match="no handler here serves gret"):
        run_job("gret")
"""

OTHER = """\
import sys

def test_it():
    loaded = {name for name in sys.modules if name.partition(".")[0] == "jobwarden"}
    assert loaded == {"jobwarden", "jobwarden.version", "jobwarden.testing", "jobwarden.testing.pytest_plugin"}
    assert not {"msgspec", "sqlalchemy", "pydantic"} & set(sys.modules)
    assert not [each for each in sys.path if each.endswith("handlers")]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A stranger's project, and beside it what makes the plugin an installed one."""
    made = tmp_path / "project"
    (made / "tests").mkdir(parents=True)
    (made / "handlers").mkdir()
    (made / "pyproject.toml").write_text('[tool.pytest.ini_options]\njobwarden_handlers = "handlers"\n')
    (made / "handlers" / "welcome.py").write_text(HANDLERS)
    (made / "tests" / "test_welcome.py").write_text(TESTS)
    return made


def run_pytest(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Pytest as its owner calls it: nothing of ours is named."""
    environment = clean_environment()
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(with_entry_points(project.parent / "installed")), environment["PYTHONPATH"]]
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *words]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )


def test_a_stranger_tests_handlers_with_it(project: Path) -> None:
    """Both fixtures do what is said of them, without a warning and without a line of set-up but the one setting."""
    done = run_pytest(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


def test_a_project_that_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    """It is loaded into every pytest run on the machine: nothing of ours is imported but the plugin itself."""
    project = tmp_path / "other"
    project.mkdir()
    (project / "test_other.py").write_text(OTHER)
    done = run_pytest(project)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_documented_where_pytest_looks(project: Path) -> None:
    """`pytest --fixtures` tells what they do."""
    shown = run_pytest(project, "--fixtures").stdout
    assert "run_handler" in shown
    assert 'run_job("greet"' in shown
