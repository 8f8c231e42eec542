"""The shipped unit in a lab, with the handlers of tests: starts it, adds jobs, looks at what becomes of them.

The state directory is a folder of the test's own, seen inside as `/var/lib/jobwarden`, so that tests read the
database and pass gates from outside.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobwarden.client import Client
from jobwarden.jobs import Attempt, JobFilter, JobRecord
from tests.support.daemon import HANDLERS
from tests.support.gates import Gate
from tests.support.systemd_lab import UNITS, Answer, Lab, booted_lab
from tests.support.waiting import LIMIT_SECONDS, eventually

UNIT = "jobwarden.service"
STATE = "/var/lib/jobwarden"
CONFIGURATION = "/etc/jobwarden"
_SERVED = ("_stage.py", "plain.py", "hangs.py", "naps.py", "confined.py")
_CONFIG = """
handlers = "/etc/jobwarden/handlers"
workers = {workers}
drain_seconds = {drain_seconds}
kill_grace_seconds = 0.3
lease_seconds = 5
"""
_QUICKER = "[Service]\nRestartSec=100ms\n"
"""What a test may change of the unit as it is shipped: nothing but how long to wait."""


class Service:
    """jobwarden.service in one lab. Made by `installed_service`."""

    def __init__(self, lab: Lab, state: Path, *, workers: int = 20) -> None:
        """Install unit, user, configuration and handlers; nothing is started yet."""
        self.lab = lab
        self.state = state
        self.place = state / "place"
        self.place.mkdir(mode=0o777)
        self.place.chmod(0o777)
        self._gates: list[Gate] = []
        self._client: Client | None = None
        lab.write(f"/etc/systemd/system/{UNIT}", (UNITS / UNIT).read_text())
        lab.write("/usr/lib/sysusers.d/jobwarden.conf", (UNITS / "sysusers.d" / "jobwarden.conf").read_text())
        lab.run("systemd-sysusers")
        for name in _SERVED:
            lab.write(f"{CONFIGURATION}/handlers/{name}", (HANDLERS / name).read_text())
        self.configure(workers=workers)
        self.drop_in("quicker", _QUICKER)

    # the unit

    def configure(self, *, workers: int = 20, drain_seconds: float = 30, more: str = "") -> None:
        """Write jobwarden.toml."""
        text = _CONFIG.format(workers=workers, drain_seconds=drain_seconds) + more
        self.lab.write(f"{CONFIGURATION}/jobwarden.toml", text)

    def drop_in(self, name: str, text: str) -> None:
        """As `systemctl edit` would; an empty text takes it away again."""
        place = f"/etc/systemd/system/{UNIT}.d/{name}.conf"
        if text:
            self.lab.write(place, text)
        else:
            self.lab.path(place).unlink(missing_ok=True)
        self.lab.run("systemctl", "daemon-reload")

    def do(self, verb: str, *, check: bool = True) -> Answer:
        """`systemctl VERB jobwarden`."""
        return self.lab.run("systemctl", verb, UNIT, check=check)

    def ensure_started(self) -> None:
        """It serves, whatever another test has done to it."""
        self.lab.run("systemctl", "reset-failed", UNIT, check=False)
        self.do("start")

    def show(self, name: str) -> str:
        """One property of the unit."""
        return self.lab.show(UNIT, name)[name]

    def await_shown(self, name: str, value: str) -> None:
        """Until a property has this value."""
        self.lab.await_property(UNIT, name, value)

    @property
    def keeper(self) -> int:
        """The pid, inside, of the unit's main process."""
        return int(self.show("MainPID"))

    @property
    def supervisor(self) -> int:
        """The pid, inside, of the keeper's only child."""
        keeper = self.keeper
        (child,) = self.lab.path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        return int(child)

    def leaf_of(self, pid: int) -> Path:
        """The cgroup of this process, seen from outside."""
        names = self.lab.run("cat", f"/proc/{pid}/cgroup").stdout  # named as who reads it sees them
        return self.lab.path(f"/sys/fs/cgroup{names.rpartition('0::')[2].strip()}")

    def send(self, signal: str, pid: int) -> None:
        """A signal, from inside."""
        self.lab.run("kill", f"-{signal}", str(pid))

    def status(self) -> str:
        """`systemctl status`, as people see it."""
        return self.lab.run("systemctl", "status", "--full", "--lines=20", UNIT, check=False).stdout

    def command(self, *words: str, check: bool = True) -> Answer:
        """`jobwarden ...` as the daemon's user."""
        config = f"--config={CONFIGURATION}/jobwarden.toml"
        return self.lab.run("runuser", "-u", "jobwarden", "--", "jobwarden", *words, config, check=check)

    # jobs

    @property
    def client(self) -> Client:
        """Once the daemon has made the database."""
        if self._client is None:
            eventually((self.state / "jobwarden.db").exists, what="the database")
            self._client = Client(f"sqlite:///{self.state / 'jobwarden.db'}")
        return self._client

    def gate(self) -> Gate:
        """A new gate, for the handlers too."""
        gate = Gate(self.state / f"gate{len(self._gates) + 1}")
        self._gates.append(gate)
        return gate

    def add(
        self, job_type: str, gate: Gate | None = None, *, payload: dict[str, Any] | None = None, **more: Any
    ) -> int:
        """Add a job whose handler finds place and gate where they are inside."""
        at = {"gate": f"{STATE}/{Path(gate.path).name}"} if gate else {}
        return self.client.add_job(job_type, {"place": f"{STATE}/place", **at, **(payload or {})}, **more)

    def await_end(self, job_id: int) -> JobRecord:
        """The job once it has ended."""
        return self.client.wait(job_id, timeout=LIMIT_SECONDS)

    def result(self, job_type: str, **payload: Any) -> Any:
        """The output of a job."""
        record = self.await_end(self.add(job_type, payload=payload))
        assert record.status == "completed", record.error_history
        return record.output

    def attempts(self, job_id: int) -> list[Attempt]:
        """Its ended attempts."""
        return self.client.get_job_attempts(job_id)

    def starts(self) -> Counter[int]:
        """How often each job was begun, as the handlers themselves have noted it."""
        noted = self.place / "runs"
        return Counter(int(line.split()[0]) for line in noted.read_text().splitlines()) if noted.exists() else Counter()

    def overlaps(self) -> str:
        """What handlers have noted who found another attempt of their job alive."""
        noted = self.place / "overlaps"
        return noted.read_text() if noted.exists() else ""

    def cancel_all(self) -> None:
        """What a test has left behind does not disturb the next one."""
        self.client.cancel_jobs(JobFilter(), running=True)

    def close(self) -> None:
        """Give back what the test holds; the lab ends the rest."""
        for gate in self._gates:
            gate.close()
        if self._client is not None:
            self._client.close()


@contextmanager
def installed_service(folder: Path, *, tree: Path = Path("/"), workers: int = 20) -> Iterator[Service]:
    """A lab with the shipped unit; not started yet. Skips the test where there can be no lab."""
    state = folder / "state"
    state.mkdir()
    with booted_lab(tree=tree, binds={state: f"+{STATE}"}) as lab:
        service = Service(lab, state, workers=workers)
        try:
            yield service
        finally:
            service.close()
            shutil.rmtree(state, ignore_errors=True)
