"""Must show 4 of the handler directory: executables of three kinds at work in a real daemon, and across reloads."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.jobs import FailureReason, JobRecord, JobStatus
from tests.support import processes
from tests.support.processes import subreaper
from tests.support.programs import write_program, write_programs
from tests.support.site import Site
from tests.support.waiting import eventually

KINDS = ["shell", "node", "compiled"]
LATE = """#!/bin/sh
read -r payload
gate=$(printf '%s' "$payload" | sed -n 's/.*"gate": *"\\([^"]*\\)".*/\\1/p')
if [ -n "$gate" ]; then
    echo "1 1 1" > "$gate.started"
    head -c 1 "$gate.go" > /dev/null
fi
. "$(dirname "$0")/_words.sh"
echo "$words"
"""
POLITE = """#!/bin/sh
echo half
trap 'echo cleaned up >&2; exit 1' TERM
echo 'progress 1' >&3
sleep 300 &
wait
"""
BARGAINING = """#!/bin/sh
trap 'echo prolong 20000 >&3' TERM
echo 'progress 1' >&3
sleep 300 &
wait
sleep 0.3
echo done
"""
LEAVING = """#!/bin/sh
setsid sleep 300 &
echo $!
"""
ENDLESS = """#!/bin/sh
echo heartbeat >&3
exec sleep 300
"""
SCRIPTS = {"late": LATE, "polite": POLITE, "bargaining": BARGAINING, "leaving": LEAVING, "endless": ENDLESS}


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose daemon serves executables, for all tests of this module."""
    with subreaper():
        made = Site(tmp_path_factory.mktemp("executables"))
        try:
            folder = code_of(made)
            folder.mkdir()
            write_programs(folder)
            for name, text in SCRIPTS.items():
                write_program(folder / name, text)
            (folder / "_words.sh").write_text("words=first\n")
            (folder / "endless.toml").write_text("heartbeat_timeout_ms = 400\nmax_attempts = 1\n")
            made.start(handlers=folder, kill_grace_seconds=0.8)
            yield made
        finally:
            made.close()


def code_of(site: Site) -> Path:
    """The handlers directory."""
    return site.folder / "code"


def ended(site: Site, job_id: int) -> JobRecord:
    """The job at its end, after which the invariants hold."""
    record = site.await_end(job_id)
    site.check()
    return record


@pytest.mark.parametrize("kind", KINDS)
def test_an_executable_runs_and_its_output_is_the_jobs(working: Site, kind: str) -> None:
    """Exit code 0 is success, the JSON on stdout the output."""
    record = ended(working, working.add(kind, extra={"do": "answer"}))
    assert (record.status, record.output, record.attempts) == (JobStatus.COMPLETED, {"language": kind}, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_executable_reports_progress_while_it_runs(working: Site, kind: str) -> None:
    """A line on descriptor 3 is seen in the store before the job ends."""
    gate = working.gate()
    job_id = working.add(kind, gate, extra={"do": "wait"})
    gate.await_arrival()
    eventually(lambda: working.job(job_id).progress == 40, what="the progress")
    gate.let_go()
    assert ended(working, job_id).status is JobStatus.COMPLETED


@pytest.mark.parametrize("kind", KINDS)
def test_exit_code_75_is_tried_again_when_the_executable_wants(working: Site, kind: str) -> None:
    """The delay of descriptor 3 wins over the job's own, and the last line of stderr is remembered."""
    record = ended(working, working.add(kind, extra={"do": "busy"}, retry_delay=3600))
    assert (record.status, record.attempts) == (JobStatus.COMPLETED, 2)
    assert record.error_history is not None
    assert record.error_history[0].message == "exit code 75 (EX_TEMPFAIL): all lines are busy"


@pytest.mark.parametrize("kind", KINDS)
def test_an_executable_over_its_limit_dies_with_its_children(working: Site, kind: str) -> None:
    """Whether it hears SIGTERM or not, and whatever session its children made for themselves."""
    record = ended(working, working.add(kind, extra={"do": "hang"}, timeout_ms=1000, max_attempts=1))
    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.TIMEOUT)
    pids = [int(pid) for pid in working.lines("pids")[-1].split()]
    assert len(pids) == 2
    assert not any(processes.lives(pid) for pid in pids)


def test_at_its_limit_an_executable_gets_sigterm_and_may_clean_up(working: Site) -> None:
    """The soft stop goes to its whole process group, and what it says then is captured, with what it had printed."""
    job_id = working.add("polite", timeout_ms=400, max_attempts=1, force_kill_on_timeout=False)
    assert ended(working, job_id).failure_reason is FailureReason.TIMEOUT
    (attempt,) = working.attempts(job_id)
    assert [text in (attempt.captured or "") for text in ("cleaned up", "half")] == [True, True]


def test_an_executable_that_prolongs_within_its_grace_goes_on(working: Site) -> None:
    """The stop is taken back, as it is for a Python handler, and its end is judged by its exit code."""
    record = ended(working, working.add("bargaining", timeout_ms=400, max_attempts=1))
    assert (record.status, record.output) == (JobStatus.COMPLETED, "done")


def test_a_cancelled_executable_ends(working: Site) -> None:
    """As any running job does."""
    job_id = working.add("polite")
    eventually(lambda: working.job(job_id).progress == 1, what="its progress")
    working.client.cancel_job(job_id)
    assert ended(working, job_id).status is JobStatus.CANCELLED


def test_what_an_executable_leaves_behind_is_killed(working: Site) -> None:
    """Its outcome stands; a grandchild in a session of its own goes with the worker, and is named."""
    job_id = working.add("leaving")
    pid = ended(working, job_id).output
    assert isinstance(pid, int)
    eventually(lambda: not processes.lives(pid), what="the end of the grandchild")
    (named,) = working.attempts(job_id)[0].left_behind or []
    assert f"({pid})" in named


def test_an_executable_that_says_nothing_any_more_is_stalled(working: Site) -> None:
    """The side file's heartbeat timeout counts from the last line on descriptor 3."""
    record = ended(working, working.add("endless"))
    assert (record.status, record.failure_reason) == (JobStatus.FAILED, FailureReason.STALLED)


def test_a_job_that_runs_across_three_reloads_ends_on_its_own_code(working: Site) -> None:
    """Also on the helpers that it sources last; copies that nobody runs from are cleared away."""
    daemon, folder, gate = working.daemons[0], code_of(working), working.gate()
    running = working.add("late", gate)
    gate.await_arrival()
    for words in ("second", "third", "fourth"):
        (folder / "_words.sh").write_text(f"words={words}\n")
        write_program(folder / "late", LATE.replace("echo", ": changed\necho"))
        position = daemon.position
        daemon.send(signal.SIGHUP)
        daemon.wait_for("generation_served", after=position)
    eventually(lambda: working.await_end(working.add("late")).output == "fourth", what="the newest code")
    gate.let_go()
    record = ended(working, running)
    assert (record.output, record.attempts) == ("first", 1)

    position = daemon.position
    daemon.send(signal.SIGHUP)
    daemon.wait_for("generation_served", after=position)
    copies = {each.name for each in (working.folder / "state/copies/default").iterdir()} - {"lock"}
    assert len(copies) <= 3, "of what serves, of what has just served, and of a worker that is about to leave"


def test_a_broken_side_file_leaves_what_worked_serving(working: Site) -> None:
    """P6: the alert names file and line, and the executable runs on with its old options."""
    daemon, side = working.daemons[0], code_of(working) / "endless.toml"
    good, position = side.read_text(), daemon.position
    side.write_text(f"{good}max_attempts = 0\n")
    alert = daemon.wait_for("alerted", after=position)
    assert "endless.toml:3" in alert["text"]
    assert ended(working, working.add("endless")).failure_reason is FailureReason.STALLED
    side.write_text(good)


def test_a_saved_executable_serves_and_one_without_its_bit_does_not(working: Site) -> None:
    """Nobody asks for a reload: its bytes are part of the content hash, and so is the bit that lets it run."""
    daemon, folder = working.daemons[0], code_of(working)
    for text in ("one", "two"):
        write_program(folder / "fresh", f"#!/bin/sh\necho {text}\n")
        eventually(lambda text=text: working.await_end(working.add("fresh")).output == text, what=text)  # type: ignore[misc]
    (folder / "fresh").chmod(0o644)
    eventually(lambda: "fresh" not in daemon.events("generation_served")[-1]["types"], what="its end")
