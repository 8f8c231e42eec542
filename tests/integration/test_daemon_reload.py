"""SIGHUP and saves: new handler code and new configuration go live without hurting a job (P6, P7)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from jobwarden.jobs import JobStatus
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.waiting import eventually

GATED = """
from pathlib import Path
from jobwarden import handler

@handler("versioned")
def versioned(payload: dict) -> str:
    if "gate" in payload:
        Path(payload["gate"] + ".started").open("wb", buffering=0).write(b"1 1 1\\n")
        Path(payload["gate"] + ".go").open("rb", buffering=0).read(1)
    return "VERSION"
"""


@pytest.fixture
def code(site: Site) -> Path:
    """A handlers directory with one file, to be changed by the test."""
    folder = site.folder / "code"
    folder.mkdir()
    save(folder, "first")
    return folder


def save(folder: Path, version: str) -> None:
    """Write the handler file as of this version."""
    (folder / "versioned.py").write_text(GATED.replace("VERSION", version))


def reload(daemon: Daemon) -> int:
    """Ask for a reload; the position in the log before it."""
    position = daemon.position
    daemon.send(signal.SIGHUP)
    return position


def run_now(site: Site) -> object:
    """What the code that is served now returns."""
    return site.await_end(site.client.add_job("versioned", {})).output


def test_changed_code_is_served_while_a_running_job_ends_on_the_old(site: Site, code: Path) -> None:
    """A reload kills nothing and costs no attempt: each attempt runs on one generation from start to end."""
    gate = site.gate()
    daemon = site.start(handlers=code, watch="off")
    running = site.add("versioned", gate)
    gate.await_arrival()
    save(code, "second")

    served = daemon.wait_for("generation_served", after=reload(daemon))

    assert served["generation"] == 2
    assert run_now(site) == "second"
    gate.let_go()
    record = site.await_end(running)
    assert (record.output, record.attempts) == ("first", 1)
    assert [each.generation for each in site.attempts(running)] == [1]
    assert len(daemon.await_workers(2)) == 2


def test_broken_code_is_named_and_the_last_good_generation_serves_on(site: Site, code: Path) -> None:
    """The alert says which file and line; nothing that runs or waits is hurt, also if somebody asks for it."""
    daemon = site.start(handlers=code, watch="off")
    workers = daemon.workers
    save(code, "second")
    (code / "broken.py").write_text("x = 1\ndef broken(:\n")

    alert = daemon.wait_for("alerted", after=reload(daemon))

    assert "broken.py:2" in alert["text"]
    assert run_now(site) == "first"
    assert daemon.workers == workers
    (code / "broken.py").unlink()
    daemon.wait_for("generation_served", after=reload(daemon))
    assert run_now(site) == "second"


def test_a_file_that_is_broken_at_the_start_costs_only_itself(site: Site, code: Path) -> None:
    """With nothing better to fall back on, the good files are served and the bad one is named."""
    (code / "broken.py").write_text("import no_such_module\n")
    daemon = site.start(handlers=code)

    assert "broken.py:1" in daemon.wait_for("alerted")["text"]
    assert run_now(site) == "first"


def test_a_reload_while_jobs_run_loses_none(site: Site, code: Path) -> None:
    """Five saves in a row under load: every job is completed at its first attempt."""
    daemon = site.start(handlers=code)
    ids = []
    for version in range(5):
        ids += [site.client.add_job("versioned", {}) for _ in range(30)]
        position = daemon.position
        save(code, str(version))
        daemon.wait_for("generation_served", after=position)

    for job_id in ids:
        record = site.await_end(job_id)
        assert (record.status, record.attempts) == (JobStatus.COMPLETED, 1)


def test_a_changed_configuration_changes_the_number_of_workers(site: Site) -> None:
    """HUP reads the file again: more workers are born, or idle ones sent away."""
    config = site.folder / "jobwarden.toml"
    config.write_text("workers = 1\n")
    daemon = site.start(workers=None, config=config, settled=False)
    daemon.await_workers(1)

    for count in (3, 1):
        config.write_text(f"workers = {count}\n")
        reload(daemon)
        daemon.await_workers(count)


def test_a_broken_configuration_leaves_everything_as_it_was(site: Site) -> None:
    """P6: the problem is named, the daemon serves on."""
    config = site.folder / "jobwarden.toml"
    config.write_text("workers = 2\n")
    daemon = site.start(workers=None, config=config, settled=False)
    workers = daemon.await_workers(2)
    config.write_text("workers = 0\nwrokers = 3\n")

    alert = daemon.wait_for("alerted", after=reload(daemon))

    assert "workers" in alert["text"]
    daemon.wait_for("generation_served", generation=2)
    eventually(lambda: not daemon.workers & workers, what="the workers of the same code, loaded again")
    assert len(daemon.await_workers(2)) == 2
    assert site.await_end(site.client.add_job("echo", {"n": 1})).output == {"n": 1}


@pytest.mark.parametrize("on_disk", ["def (:\n", "from jobwarden import handler\n"])
def test_a_template_that_dies_comes_back_with_the_code_that_is_served(site: Site, code: Path, on_disk: str) -> None:
    """What stands on the disk by then, broken or merely not asked for, is not loaded without a reload."""
    daemon = site.start(handlers=code, workers=1, watch="off")
    (code / "versioned.py").write_text(on_disk)
    position = daemon.position
    assert daemon.template is not None
    os.kill(daemon.template, signal.SIGKILL)
    daemon.wait_for("generation_served", after=position, types=["versioned"])
    position = daemon.position
    os.kill(daemon.workers.pop(), signal.SIGKILL)
    daemon.wait_for("worker_born", after=position)
    assert run_now(site) == "first"
