"""A daemon with two pools: each has its code, its workers and its options; neither waits for the other."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from jobwarden.cli.situation import observe
from jobwarden.jobs import JobStatus
from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.waiting import eventually

GATED = """
from pathlib import Path
from jobwarden import handler

@handler("heavy")
def heavy(payload: dict) -> None:
    Path(payload["gate"] + ".started").open("wb", buffering=0).write(b"1 1 1\\n")
    Path(payload["gate"] + ".go").open("rb", buffering=0).read(1)
"""
QUICK = """
import os
from jobwarden import handler

@handler("quick")
def quick(payload: dict) -> dict:
    return {"pid": os.getpid(), "region": os.environ.get("REGION")}
"""
CONFIG = """
kill_grace_seconds = 0.3

[[pool]]
name = "heavy"
handlers = "code/heavy"
workers = 1

[[pool]]
name = "quick"
handlers = "code/quick"
workers = 2
"""


@pytest.fixture
def config(site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with two pools, and their code."""
    monkeypatch.chdir(site.folder)
    for name, text in (("heavy", GATED), ("quick", QUICK)):
        folder = site.folder / "code" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(text)
    path = site.folder / "jobwarden.toml"
    path.write_text(CONFIG)
    return path


def start(site: Site, config: Path, *, workers: int = 3, **flags: str | None) -> Daemon:
    """A daemon with this configuration, once so many workers are there."""
    left_out = dict.fromkeys(("handlers", "workers", "kill_grace_seconds"))
    daemon = site.start(config=config, settled=False, **left_out, **flags)  # type: ignore[arg-type]
    if workers:
        daemon.await_workers(workers)
    return daemon


def report_of(site: Site) -> dict[str, object]:
    """What the daemon last said of itself."""
    (node,) = site.client.store.nodes()
    assert node.report is not None
    return node.report


def test_a_full_pool_delays_nobody_in_another(site: Site, config: Path) -> None:
    """Its only worker is busy and more jobs wait for it; all quick jobs come and go, on workers of their own."""
    gate = site.gate()
    start(site, config)
    slow = [site.add("heavy", gate) for _ in range(5)]
    gate.await_arrival()

    quick = [site.add("quick") for _ in range(200)]

    records = [site.await_end(job_id) for job_id in quick]
    assert {record.status for record in records} == {JobStatus.COMPLETED}
    assert [site.job(job_id).status for job_id in slow].count(JobStatus.PROCESSING) == 1
    assert [site.job(job_id).status for job_id in slow].count(JobStatus.PENDING) == 4
    report = report_of(site)
    assert [(pool["name"], pool["types"], pool["workers"]) for pool in report["pools"]] == [  # type: ignore[attr-defined]
        ("heavy", ["heavy"], 1),
        ("quick", ["quick"], 2),
    ]
    titles = [str(chapter) for chapter in observe(site.client.store).chapters()]
    assert titles
    for job_id in slow:
        site.client.cancel_job(job_id)


def test_a_configuration_that_is_read_again_goes_live_pool_by_pool(
    site: Site, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers at once, the environment with the next generation; what needs a restart is named and stays in status."""
    monkeypatch.setattr("tests.support.daemon._KEPT_VARIABLES", ("PATH", "REGION"))
    monkeypatch.setenv("REGION", "north")
    daemon = start(site, config, workers=0, log_level=None)
    for name in ("heavy", "quick"):
        daemon.wait_for("generation_served", pool=name)
    before = daemon.position
    text = CONFIG.replace("workers = 2", 'workers = 3\nworker_environment = ["REGION"]')
    config.write_text('log_level = "debug"\nlease_seconds = 30\n' + text + '[[pool]]\nname = "third"\nhandlers = "x"\n')

    daemon.send(signal.SIGHUP)

    alerts = {daemon.wait_for("alerted", after=before)["text"]}
    daemon.wait_for("generation_served", after=before, pool="quick")
    alerts |= {event["text"] for event in daemon.events("alerted")}
    assert alerts == {
        "restart needed for lease_seconds: until then this daemon goes on with what it was started with",
        'restart needed for [[pool]] "third": it is new, and until then it runs nothing',
    }
    daemon.wait_for("worker_born", after=before)  # which the level of the start kept quiet
    eventually(
        lambda: site.await_end(site.add("quick")).output["region"] == "north",  # type: ignore[index, call-overload]
        what="a job with the new environment",
    )
    eventually(
        lambda: set(report_of(site)["problems"]) == alerts,  # type: ignore[call-overload]
        what="status shows what waits for a restart",
    )
    eventually(lambda: "3" in json.dumps([p["workers"] for p in report_of(site)["pools"]]), what="three workers")  # type: ignore[attr-defined]


def test_a_pool_can_be_run_alone(site: Site, config: Path) -> None:
    """`run --pool NAME`: the daemon serves the types of that pool only."""
    start(site, config, workers=2, pool="quick")
    other = site.client.add_job("heavy", {})
    assert site.await_end(site.add("quick")).status is JobStatus.COMPLETED
    assert site.job(other).status is JobStatus.PENDING
    site.client.cancel_job(other)


def test_what_serves_comes_back_as_it_was_whatever_the_configuration_says_by_then(site: Site, config: Path) -> None:
    """P6: an interpreter that is not there costs the new generation; the old one is restored with its own."""
    daemon = start(site, config, workers=2, pool="quick")
    before = daemon.position
    config.write_text(CONFIG + 'python = "nowhere/python"\n')
    daemon.send(signal.SIGHUP)
    assert "is not served" in daemon.wait_for("alerted", after=before)["text"]

    template = daemon.template
    assert template is not None
    before = daemon.position
    os.kill(template, signal.SIGKILL)

    daemon.wait_for("generation_served", after=before, pool="quick")
    assert site.await_end(site.add("quick")).status is JobStatus.COMPLETED
