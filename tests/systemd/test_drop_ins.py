from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.daemon import HANDLERS
from tests.support.systemd_lab import UNITS
from tests.support.systemd_service import CONFIGURATION, STATE, UNIT, Service, installed_service
from tests.support.waiting import eventually

OTHER = "stranger"
OTHER_HANDLERS = f"{CONFIGURATION}/other"
TWO_POOLS = f"""
[[pool]]
name = "own"
[[pool]]
name = "other"
handlers = "{OTHER_HANDLERS}"
user = "{OTHER}"
nice = -3
"""
NEWER_TREE = "JOBWARDEN_TEST_NEWER_ROOT"
INSTANCE = "jobwarden@mail.service"


@pytest.fixture
def two_pools(installed: Service) -> Service:
    """The unit with the drop-in for run-as; one pool is the daemon's own, the other one a stranger's."""
    lab = installed.lab
    lab.write("/usr/lib/sysusers.d/other.conf", f"u {OTHER} - -\n")
    lab.run("systemd-sysusers")
    for name in ("_stage.py", "confined.py"):
        text = (HANDLERS / name).read_text().replace('@handler("', '@handler("other_')
        lab.write(f"{OTHER_HANDLERS}/{name}", text)
    lab.write(f"{OTHER_HANDLERS}/who.sh", '#!/bin/sh\necho "$(id -un)"\n', mode=0o755)
    installed.configure(workers=2, more=TWO_POOLS)
    installed.drop_in("runas", (UNITS / "jobwarden-runas.conf").read_text())
    installed.do("restart")
    return installed


def test_with_its_drop_in_a_pool_runs_as_another_user(two_pools: Service) -> None:
    """Template, workers and executables are the other user's, with no rights of the daemon's; a kill reaches all."""
    try:
        found = two_pools.result("other_describe_itself")
        assert two_pools.result("who") == OTHER
        assert found["environment"]["USER"] == OTHER
        assert {found["status"][each] for each in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        own = two_pools.result("describe_itself")
        assert {own["status"][each] for each in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert (own["uid"] != found["uid"], own["status"]["NoNewPrivs"]) == (True, "1")
        gate = two_pools.gate()
        job_id = two_pools.add("other_hide_and_hang", gate, payload={"children": 10})
        leaf = two_pools.leaf_of(gate.await_arrival().pid)
        two_pools.client.cancel_job(job_id)
        assert two_pools.await_end(job_id).status == "cancelled"
        eventually(lambda: not leaf.exists(), what="the end of its cgroup")
    finally:
        two_pools.configure()
        two_pools.drop_in("runas", "")
        two_pools.do("stop")


@pytest.mark.nightly
def test_an_instance_has_its_own_folders_and_its_own_credential(service: Service) -> None:
    """jobwarden@mail serves beside jobwarden, on the database that the credential `database_url` names."""
    lab = service.lab
    lab.write("/etc/systemd/system/jobwarden@.service", (UNITS / "jobwarden@.service").read_text())
    lab.write("/etc/jobwarden-mail/jobwarden.toml", f'handlers = "{CONFIGURATION}/handlers"\nworkers = 1\n')
    url = "sqlite:////var/lib/jobwarden-mail/named.db"
    lab.write("/etc/credstore/jobwarden-mail.database_url", url, mode=0o600)
    lab.run("systemctl", "daemon-reload")
    lab.run("systemctl", "start", INSTANCE)
    states = [lab.show(each, "ActiveState")["ActiveState"] for each in (UNIT, INSTANCE)]
    assert states == ["active", "active"]
    made = lab.run("stat", "--format=%U %a", "/var/lib/jobwarden-mail/named.db", "/var/lib/jobwarden-mail").stdout
    assert made.splitlines() == ["jobwarden 600", "jobwarden 750"]
    assert not (service.state / "named.db").exists(), STATE
    lab.run("systemctl", "reload", INSTANCE)
    lab.run("systemctl", "stop", INSTANCE)


@pytest.mark.nightly
def test_with_its_drop_in_a_newer_systemd_reloads_by_itself(tmp_path: Path) -> None:
    """Type=notify-reload: `systemctl reload` returns when the daemon is through; the status tells what came of it."""
    tree = os.environ.get(NEWER_TREE)
    if not tree:
        pytest.skip(f"set {NEWER_TREE} to a system tree with systemd 253 or newer (tests/README.md says how)")
    with installed_service(tmp_path, tree=Path(tree)) as service:
        service.drop_in("reload", (UNITS / "notify-reload.conf").read_text())
        service.do("start")
        assert service.show("Type") == "notify-reload"
        service.lab.write(f"{CONFIGURATION}/handlers/broken.py", "def broken(:\n")
        service.do("reload")
        assert (service.show("ActiveState"), "broken.py:1" in service.show("StatusText")) == ("active", True)
        service.lab.path(f"{CONFIGURATION}/handlers/broken.py").unlink()
        service.do("reload")
        assert "broken.py" not in service.show("StatusText")
        assert service.lab.run("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}").stdout == ""
