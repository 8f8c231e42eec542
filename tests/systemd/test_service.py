from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from jobwarden.jobs import Outcome
from tests.support.systemd_service import CONFIGURATION, STATE, UNIT, Service
from tests.support.waiting import eventually

Record = Callable[[str, object], None]

FREE = (Outcome.INTERRUPTED, Outcome.LOST)
"""Outcomes that cost no attempt."""

BY_THE_SANDBOX = {
    "write to /usr": "EROFS",
    "the kernel's settings": "EROFS",
    "the processes of others": "ENOENT",
    "a netlink socket": "EAFNOSUPPORT",
}
"""What modes of files alone would refuse in another way, or not at all."""

SHORT_DRAIN_SECONDS = 0.2
"""So that restarts interrupt jobs."""


def inside(service: Service, path: str) -> str:
    return path.replace(str(service.state), STATE)


def accounts(service: Service, job_ids: list[int]) -> dict[int, tuple[int, int]]:
    """Per job how often its handler has begun, as it noted itself, and how often the record says that it did."""
    starts = service.starts()
    return {each: (starts[each], len(service.attempts(each))) for each in job_ids}


def begun(service: Service, job_ids: list[int]) -> bool:
    return set(job_ids) <= set(service.starts())


def test_systemctl_start_returns_when_the_daemon_serves(installed: Service) -> None:
    """As long as a handler file is being loaded, the unit is starting; READY=1 comes when the handlers serve."""
    installed.do("stop")
    gate = installed.gate()
    slow = installed.lab.path(f"{CONFIGURATION}/handlers/slow.py")
    slow.write_text(f"open('{inside(installed, gate.path)}.go').read(1)\n")
    starting = installed.lab.begin("systemctl", "start", UNIT)
    try:
        installed.await_shown("ActiveState", "activating")
        eventually((installed.state / "jobwarden.db").exists, what="the database")
        assert starting.poll() is None
    finally:
        slow.write_text("")
        gate.let_go(100)
        starting.communicate()
    assert starting.returncode == 0, installed.status()
    assert installed.show("ActiveState") == "active"
    assert "generation 1 serves" in installed.show("StatusText")
    slow.unlink()


def test_state_and_configuration_have_their_owners(service: Service) -> None:
    """StateDirectory= is the daemon's user's and closed to others; the configuration stays root's."""
    answer = service.lab.run("stat", "--format=%U %a", STATE, CONFIGURATION, f"{CONFIGURATION}/handlers")
    assert answer.stdout.splitlines() == ["jobwarden 750", "root 755", "root 755"]


def test_a_handler_has_no_rights_and_no_secrets(service: Service) -> None:
    """It is the unprivileged user, in a leaf of the delegated cgroup, without capabilities or systemd's secrets."""
    found = service.result("describe_itself")
    status = found["status"]
    assert found["folder"] == STATE
    assert found["uid"] != 0
    assert found["cgroup"].startswith(f"/system.slice/{UNIT}/slot-")
    assert {status[each] for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert sorted(int(number) for number, _, _ in found["ids"]) == [0, found["uid"]]
    secrets = ("NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM", "INVOCATION_ID")
    assert [name for name in found["environment"] if name.startswith(secrets)] == []


def test_the_sandbox_holds_and_lets_ordinary_handlers_work(service: Service) -> None:
    """What only an intruder wants fails with a plain error; what handlers of most kinds need works."""
    forbidden = service.result("forbidden_acts", handlers=f"{CONFIGURATION}/handlers")
    assert [name for name, outcome in forbidden.items() if outcome == "done"] == []
    assert set(forbidden.values()) <= {"EROFS", "EACCES", "EPERM", "ENOENT", "EAFNOSUPPORT"}, forbidden
    assert {name: forbidden[name] for name in BY_THE_SANDBOX} == BY_THE_SANDBOX
    ordinary = service.result("ordinary_acts")
    assert {name: outcome for name, outcome in ordinary.items() if outcome != "done"} == {}


def test_a_reload_with_a_broken_handler_fails_and_the_old_code_serves_on(service: Service) -> None:
    """`systemctl reload` fails, `systemctl status` names file and error, jobs run; once it is mended all is well."""
    broken = f"{CONFIGURATION}/handlers/broken.py"
    service.lab.write(broken, "def broken(:\n")
    try:
        answer = service.do("reload", check=False)
        assert answer.returncode != 0
        assert service.show("ActiveState") == "active"
        assert "broken.py:1" in service.show("StatusText"), service.show("StatusText")
        assert "broken.py:1" in service.status()
        assert service.result("echo", word="served") == {"place": f"{STATE}/place", "word": "served"}
    finally:
        service.lab.path(broken).unlink()
    service.do("reload")
    assert "broken.py" not in service.show("StatusText")


def test_the_journal_has_fields_for_what_happens_to_a_job(service: Service) -> None:
    """An entry about a job can be found by JOB_ID= and says its JOB_TYPE=, with the unit's name."""
    job_id = service.add("fail_for_good")
    service.await_end(job_id)
    ours = "SYSLOG_IDENTIFIER=jobwarden"  # systemd's own jobs have a JOB_ID= and a JOB_TYPE= as well
    entries = eventually(lambda: service.lab.journal(ours, f"JOB_ID={job_id}"), what="the journal's entry of the job")
    assert {each["JOB_TYPE"] for each in entries} == {"fail_for_good"}
    assert {each["_SYSTEMD_UNIT"] for each in entries} == {UNIT}


def test_a_job_that_hides_itself_and_its_children_dies_whole(service: Service) -> None:
    """Where /proc shows nobody the processes of a job, its cgroup still ends all of them."""
    gate = service.gate()
    job_id = service.add("hide_and_hang", gate, payload={"children": 20})
    worker = gate.await_arrival().pid
    leaf = service.leaf_of(worker)
    eventually(lambda: len((leaf / "cgroup.procs").read_text().split()) == 41, what="all that it leaves")
    service.client.cancel_job(job_id)
    assert service.await_end(job_id).status == "cancelled"
    eventually(lambda: not leaf.exists(), what="the end of its cgroup")
    assert service.result("echo", word="next")["word"] == "next"


def test_a_stopped_supervisor_is_found_by_the_watchdog_and_its_jobs_run_again(service: Service) -> None:
    """After SIGSTOP the signs of life end: systemd ends and restarts the service, the job runs again for free."""
    service.drop_in("watchdog", "[Service]\nWatchdogSec=1\n")
    service.do("restart")
    gate = service.gate()
    job_id = service.add("gated", gate)
    gate.await_arrival()
    restarts = int(service.show("NRestarts"))
    service.send("STOP", service.supervisor)
    gate.await_arrival()
    gate.let_go()
    assert service.await_end(job_id).attempts == 1
    assert int(service.show("NRestarts")) == restarts + 1
    assert service.lab.journal(f"UNIT={UNIT}", "UNIT_RESULT=watchdog") != []
    assert [each.outcome in FREE for each in service.attempts(job_id)] == [True, False]
    service.drop_in("watchdog", "")


@pytest.mark.parametrize("who", ["keeper", "supervisor"])
def test_a_killed_daemon_is_started_again_and_its_jobs_run_again(service: Service, who: str) -> None:
    """SIGKILL of the main process, or of its only child, costs no job, and no job an attempt."""
    gate = service.gate()
    job_id = service.add("gated_with_children", gate)
    gate.await_arrival()
    restarts = int(service.show("NRestarts"))
    service.send("KILL", getattr(service, who))
    gate.await_arrival()
    gate.let_go()
    assert service.await_end(job_id).attempts == 1
    assert int(service.show("NRestarts")) == restarts + 1
    assert accounts(service, [job_id]) == {job_id: (2, 2)}


def test_systemctl_stop_during_twenty_running_jobs_loses_none_and_costs_no_attempt(service: Service) -> None:
    """Ten end in the drain and stay completed; ten are interrupted by a second TERM, wait for free and run again."""
    gates = [service.gate(), service.gate()]
    jobs = [[service.add("gated", gate) for _ in range(10)] for gate in gates]
    for gate in gates * 10:
        gate.await_arrival()
    stopping = service.lab.begin("systemctl", "stop", UNIT)
    service.await_shown("ActiveState", "deactivating")
    gates[0].let_go(10)
    for each in jobs[0]:
        assert service.await_end(each).status == "completed"
    assert stopping.poll() is None
    service.send("TERM", service.keeper)
    stopping.communicate()
    assert (service.show("ActiveState"), service.show("Result")) == ("inactive", "success")
    waiting = [service.client.get_job(each) for each in jobs[1]]
    assert {(each.status, each.attempts) for each in waiting if each} == {("pending", 0)}
    gates[1].let_go(10)
    service.configure(drain_seconds=SHORT_DRAIN_SECONDS)
    service.do("start")
    for each in jobs[0] + jobs[1]:
        assert service.await_end(each).attempts == 1
    assert accounts(service, jobs[0]) == dict.fromkeys(jobs[0], (1, 1))
    assert accounts(service, jobs[1]) == dict.fromkeys(jobs[1], (2, 2))


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])])
def test_restarts_in_a_row_under_load_lose_nothing(service: Service, times: int, record_property: Record) -> None:
    """Each job completes, and has begun once more than it was interrupted or lost; nobody has paid for that."""
    service.configure(drain_seconds=SHORT_DRAIN_SECONDS)
    jobs: list[int] = []
    for _ in range(times):
        some = [service.add("nap", payload={"seconds": 0.1 * (each % 8)}) for each in range(40)]
        eventually(partial(begun, service, some[:4]), what="jobs under way")
        jobs += some
        service.do("restart")
    for each in jobs:
        record = service.await_end(each)
        assert (record.status, record.attempts) == ("completed", 1)
    starts = service.starts()
    outcomes = {each: [attempt.outcome for attempt in service.attempts(each)] for each in jobs}
    for each in jobs:
        assert outcomes[each].count(Outcome.SUCCEEDED) == 1
        assert starts[each] == 1 + sum(outcome in FREE for outcome in outcomes[each]), (each, outcomes[each])
    counted = Counter(outcome for each in jobs for outcome in outcomes[each])
    record_property(f"{times} restarts", f"{len(jobs)} jobs, {dict(counted)}")
    service.configure()
