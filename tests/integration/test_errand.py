"""Processing by hand: `jobwarden run --once` and `--burst` as real processes on a real store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from jobwarden.jobs import JobStatus
from tests.support import processes
from tests.support.daemon import HANDLERS, clean_environment
from tests.support.site import Site

ADDING = """\
import sys
from jobwarden import handler
from jobwarden.client import Client

print("a handler file prints while it is loaded")


@handler("add_more")
def add_more(payload):
    print("a job prints")
    if payload["more"]:
        with Client(payload["url"]) as client:
            client.add_job("add_more", {**payload, "more": payload["more"] - 1})
"""
BROKEN = "from jobwarden import handler\n\nthis is no Python\n"


class Ran(NamedTuple):
    """What became of one errand."""

    code: int
    out: str
    err: str

    @property
    def processed(self) -> int:
        """The number that it printed, and nothing but that."""
        answer = json.loads(self.out)
        assert list(answer) == ["processed"]
        return int(answer["processed"])


def begin(
    site: Site, *words: str, handlers: Path = HANDLERS, variables: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start an errand on the site's store."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "jobwarden", "run", "--workers=2", "--kill-grace-seconds=0.3"),
            *(f"--database-url={site.url}", f"--handlers={handlers}", *words),
        ],
        cwd=site.folder,
        env=clean_environment() | (variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> Ran:
    """What it printed, once it has ended."""
    with process:
        out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err)


def errand(site: Site, *words: str, handlers: Path = HANDLERS, variables: dict[str, str] | None = None) -> Ran:
    """One errand from its beginning to its end."""
    return end(begin(site, *words, handlers=handlers, variables=variables))


def await_event(process: subprocess.Popen[str], name: str) -> None:
    """Read its log until this event."""
    assert process.stderr is not None
    assert any(f'"event":"{name}"' in line for line in process.stderr)


def statuses(site: Site) -> list[str]:
    """Of all jobs, oldest first."""
    return [str(job.status) for job in reversed(site.client.get_jobs())]


def test_once_runs_as_many_as_it_may(site: Site) -> None:
    """The limit holds exactly; the answer is one JSON object on standard output."""
    for number in range(7):
        site.add("echo", extra={"number": number})
    ran = errand(site, "--once", "--limit", "5")
    assert (ran.code, ran.processed) == (0, 5)
    assert statuses(site) == ["completed"] * 5 + ["pending"] * 2


def test_once_takes_what_it_takes_in_one_claim(site: Site) -> None:
    """What is added while it works waits for the next call, although the limit left room."""
    gate = site.gate()
    running = site.add("gated", gate)
    process = begin(site, "--once", "--limit", "10")
    gate.await_arrival()
    late = site.add("echo")
    gate.let_go()
    ran = end(process)
    assert (ran.code, ran.processed) == (0, 1)
    assert (site.job(running).status, site.job(late).status) == (JobStatus.COMPLETED, JobStatus.PENDING)
    assert errand(site, "--once").processed == 1


@pytest.mark.parametrize("way", ["--once", "--burst"])
def test_an_errand_with_nothing_to_do_says_zero(site: Site, way: str) -> None:
    """That is a success; a job that is due later is not waited for."""
    site.add("echo", run_at="2030-01-01T00:00:00Z")
    ran = errand(site, way)
    assert (ran.code, ran.processed) == (0, 0)


def test_a_burst_runs_what_its_jobs_add(site: Site, tmp_path: Path) -> None:
    """A chain of jobs, each added by the one before, is run to its end; what handlers print is not on our output."""
    handlers = tmp_path / "adding"
    handlers.mkdir()
    (handlers / "adding.py").write_text(ADDING)
    site.client.add_job("add_more", {"more": 3, "url": site.url})
    ran = errand(site, "--burst", handlers=handlers)
    assert (ran.code, ran.processed) == (0, 4)
    assert "a handler file prints" in ran.err


def test_a_burst_runs_chains_of_dependents(site: Site) -> None:
    """What became ready because its prerequisites completed is run as well."""
    first = site.add("echo")
    second = site.add("echo", depends_on={"job_ids": [first]})
    third = site.add("echo", depends_on={"job_ids": [first, second]})
    ran = errand(site, "--burst")
    assert (ran.code, ran.processed) == (0, 3)
    assert site.job(third).status is JobStatus.COMPLETED


def test_a_burst_stays_within_its_limit(site: Site) -> None:
    """`--limit` is for the whole burst."""
    for _ in range(6):
        site.add("echo")
    assert errand(site, "--burst", "--limit", "4").processed == 4
    assert errand(site, "--burst").processed == 2


def test_only_the_types_that_are_asked_for_are_run(site: Site) -> None:
    """`--type`, also several times."""
    for job_type in ("echo", "tiny", "fail_for_good", "echo"):
        site.add(job_type)
    assert errand(site, "--burst", "--type", "echo", "--type", "tiny").processed == 3
    assert statuses(site) == ["completed", "completed", "pending", "completed"]


def test_a_job_that_fails_or_crashes_was_processed(site: Site) -> None:
    """The exit code tells of the errand, not of its jobs; a retry that is due later is not waited for."""
    site.add("fail_for_good")
    crashed = site.add("exit_at_once", extra={"code": 3})
    later = site.add("fail_until", extra={"attempt": 2})
    at_once = site.add("fail_until", extra={"attempt": 3}, retry_delay=0)
    ran = errand(site, "--burst")
    assert (ran.code, ran.processed) == (0, 6)
    assert site.job(crashed).retrying
    assert site.job(later).retrying
    assert site.job(at_once).status is JobStatus.COMPLETED


def test_a_job_that_hangs_is_killed_as_in_a_daemon(site: Site) -> None:
    """Limits, kills and the removal of whole trees are the daemon's own."""
    job_id = site.add("gated_with_children", site.gate(), timeout_ms=300, max_attempts=1)
    ran = errand(site, "--once")
    assert (ran.code, ran.processed) == (0, 1)
    assert site.job(job_id).failure_reason == "timeout"


def test_an_errand_runs_beside_a_daemon(site: Site) -> None:
    """On the same store, without a state folder of its own; neither takes the other's jobs."""
    gate = site.gate()
    daemon = site.start(workers=1)
    held = site.add("gated", gate)
    gate.await_arrival()
    other = site.add("echo")
    ran = errand(site, "--burst")
    assert (ran.code, ran.processed) == (0, 1)
    assert (site.job(held).status, site.job(other).status) == (JobStatus.PROCESSING, JobStatus.COMPLETED)
    assert daemon.running
    gate.let_go()
    assert site.await_end(held).attempts == 1


def test_its_state_folder_is_gone_afterwards(site: Site) -> None:
    """One that nobody named is made in the folder for temporary files and removed; one that was named stays."""
    temporary = site.folder / "temporary"
    temporary.mkdir()
    assert errand(site, "--once", variables={"TMPDIR": str(temporary)}).code == 0
    assert list(temporary.iterdir()) == []
    assert errand(site, "--once", "--state-dir", "mine").code == 0
    assert (site.folder / "mine").is_dir()


def test_two_errands_share_the_ready_jobs(site: Site) -> None:
    """Both may run at once; each job is run by one of them."""
    for number in range(20):
        site.add("write_line", extra={"file": "lines", "line": number})
    both = [begin(site, "--burst") for _ in range(2)]
    assert sum(end(each).processed for each in both) == 20
    assert sorted(map(int, site.lines("lines"))) == list(range(20))


def test_a_stop_drains_and_prints_what_was_done(site: Site) -> None:
    """TERM: the running job may end, what was not started is given back."""
    gate = site.gate()
    site.add("gated", gate)
    rest = [site.add("gated", site.gate(), priority=-1) for _ in range(2)]
    process = begin(site, "--once", "--workers=1")
    gate.await_arrival()
    process.send_signal(signal.SIGTERM)
    await_event(process, "leaving")
    gate.let_go()
    ran = end(process)
    assert (ran.code, ran.processed) == (0, 1)
    assert [(site.job(each).status, site.job(each).attempts) for each in rest] == [(JobStatus.PENDING, 0)] * 2


def test_a_hang_up_changes_nothing(site: Site) -> None:
    """There is no reload in an errand."""
    gate = site.gate()
    site.add("gated", gate)
    process = begin(site, "--once")
    gate.await_arrival()
    process.send_signal(signal.SIGHUP)
    gate.let_go()
    ran = end(process)
    assert (ran.code, ran.processed) == (0, 1)
    assert ran.err.count("generation_served") == 1


def test_a_type_without_a_handler_is_wrong_use(site: Site) -> None:
    """One sentence, exit code 2, nothing on standard output, no job touched."""
    site.add("echo")
    ran = errand(site, "--once", "--type", "echo", "--type", "eco")
    assert (ran.code, ran.out) == (2, "")
    assert "jobwarden: --type: no handler here serves eco; there are handlers for " in ran.err
    assert statuses(site) == ["pending"]


def test_handlers_that_cannot_be_loaded_are_named(site: Site, tmp_path: Path) -> None:
    """Nothing to serve is exit code 1, with the problems; it does not hang."""
    handlers = tmp_path / "broken"
    handlers.mkdir()
    (handlers / "broken.py").write_text(BROKEN)
    ran = errand(site, "--burst", handlers=handlers)
    assert (ran.code, ran.out) == (1, "")
    assert "broken.py" in ran.err.splitlines()[-1]


def test_code_that_kills_its_loader_ends_the_errand(site: Site, tmp_path: Path) -> None:
    """It is left out of the next load, nothing else is there, and the sentence says why."""
    handlers = tmp_path / "deadly"
    handlers.mkdir()
    (handlers / "deadly.py").write_text("import os\nos._exit(3)\n")
    ran = errand(site, "--once", handlers=handlers)
    assert (ran.code, ran.out) == (1, "")
    last = ran.err.splitlines()[-1]
    assert last.startswith("jobwarden: there is no handler that could run a job")
    assert "deadly.py" in last


def test_a_killed_errand_leaves_its_jobs_to_the_next(site: Site) -> None:
    """Its keeper clears what is left; the next start on the store frees what it held, at no cost."""
    gate = site.gate()
    job_id = site.add("gated_async", gate)
    process = begin(site, "--once")
    gate.await_arrival()
    (supervisor,) = processes.children(process.pid)
    os.kill(supervisor, signal.SIGKILL)
    assert end(process).code == 128 + signal.SIGKILL
    site.client.cancel_job(job_id)
    assert errand(site, "--once").processed == 0
    assert site.job(job_id).status is JobStatus.CANCELLED


@pytest.mark.parametrize(
    "words",
    [
        ["--once", "--burst"],
        ["--limit", "3"],
        ["--type", "echo"],
        ["--once", "--limit", "0"],
        ["--once", "--limit", "10001"],
        ["--burst", "--limit", "few"],
        ["--once", "--type", ""],
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence(site: Site, words: list[str]) -> None:
    """Exit code 2; nothing is started."""
    temporary = site.folder / "temporary"
    temporary.mkdir()
    ran = errand(site, *words, variables={"TMPDIR": str(temporary)})
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("jobwarden: ")
    assert list(temporary.iterdir()) == []


def test_a_store_that_cannot_be_opened_leaves_no_folder_behind(site: Site) -> None:
    """The state folder is made first, and removed again when the start fails."""
    temporary = site.folder / "temporary"
    temporary.mkdir()
    ran = errand(
        site, "--once", "--database-url=sqlite:////no/such/folder/jobs.db", variables={"TMPDIR": str(temporary)}
    )
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 1
    assert list(temporary.iterdir()) == []
