"""One real daemon, started by exec as a user starts it, with its JSON log read line by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jobwarden
from jobwarden.cli.places import URL_VARIABLE
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.errors import DistrustedError
from jobwarden.settings.address import exposed_password
from jobwarden.strict_modes import Guard
from tests.support import processes
from tests.support.waiting import LIMIT_SECONDS, eventually

HANDLERS = Path(__file__).parent / "handlers"
_PACKAGE_ROOT = Path(jobwarden.__file__).parents[1]
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")

Event = dict[str, Any]


def clean_environment() -> dict[str, str]:
    """Ours without any JOBWARDEN_ variable, with the package that is under test."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": str(_PACKAGE_ROOT)}


def _in_reach_of_others(place: Path) -> bool:
    """Whether this checkout belongs to somebody else than the tests run as, as in some containers of a CI."""
    try:
        Guard((os.geteuid(), 0)).require_way(str(place))
    except DistrustedError:
        return True
    return False


class Daemon:
    """`keeper` is the process that was started; the other pids come from the log and from the kernel."""

    def __init__(self, folder: Path, *, name: str, flags: dict[str, object], before: Sequence[str] = ()) -> None:
        """Start it in `folder`; `flags` are options of `jobwarden run` by their names, `before` goes before them."""
        self.name = name
        variables = {}
        if exposed_password(str(flags.get("database_url", ""))):
            flags = dict(flags)
            variables = {URL_VARIABLE: str(flags.pop("database_url"))}
        if Path(str(flags.get("handlers"))).is_relative_to(HANDLERS) and _in_reach_of_others(HANDLERS):
            variables["JOBWARDEN_STRICT_MODES"] = "no"
        arguments = [f"--{option.replace('_', '-')}={value}" for option, value in flags.items()]
        self.keeper = subprocess.Popen(
            [*before, sys.executable, "-m", "jobwarden", "run", *arguments],
            cwd=folder,
            env={**clean_environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.log: list[Event] = []
        self._changed = threading.Condition()
        self._closed = False
        self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
        self._reader.start()

    # the log

    def _read(self) -> None:
        assert self.keeper.stderr is not None
        with self.keeper.stderr as stream:
            for line in stream:
                event = _parse(line)
                with self._changed:
                    self.log.append(event)
                    self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_for(self, name: str, *, after: int = 0, seconds: float = LIMIT_SECONDS, **fields: object) -> Event:
        """The first event of this name, from position `after` of the log on, that has all these fields."""
        until_ns = SYSTEM_CLOCK.monotonic_ns() + int(seconds * SECOND_NS)
        with self._changed:
            while True:
                for event in self.log[after:]:
                    if event.get("event") == name and all(event.get(key) == fields[key] for key in fields):
                        return event
                left = (until_ns - SYSTEM_CLOCK.monotonic_ns()) / SECOND_NS
                assert left > 0, f"{self.name}: no event {name} {fields} within {seconds:g} s"
                assert not self._closed, f"{self.name}: ended without the event {name} {fields}"
                self._changed.wait(left)

    def events(self, name: str, **fields: object) -> list[Event]:
        """All events of this name with these fields so far."""
        with self._changed:
            found = [event for event in self.log if event.get("event") == name]
        return [event for event in found if all(event.get(key) == fields[key] for key in fields)]

    @property
    def position(self) -> int:
        """Where the log is now: hand it to `wait_for` as `after`."""
        return len(self.log)

    def shown_log(self) -> str:
        """The log for people."""
        return "\n".join(json.dumps(event) for event in self.log)

    # the processes

    @property
    def supervisor(self) -> int:
        """Its pid."""
        return int(self.wait_for("started")["pid"])

    @property
    def template(self) -> int | None:
        """The pid of the youngest template, if there is one."""
        found = [pid for pid in processes.children(self.supervisor) if "template" in processes.title(pid)]
        return max(found, default=None)

    def await_workers(self, count: int) -> set[int]:
        """The pids of all workers, once there are so many."""
        return eventually(lambda: self._workers_if(count), what=f"{count} workers of {self.name}")

    def _workers_if(self, count: int) -> set[int] | None:
        found = self.workers
        return found if len(found) == count else None

    @property
    def workers(self) -> set[int]:
        """The pids of the workers that have said hello and live."""
        born = {int(event["pid"]) for event in self.events("worker_born")}
        return {pid for pid in born & processes.children(self.supervisor) if processes.lives(pid)}

    def descriptor_count(self) -> int:
        """How many descriptors the supervisor has open."""
        return processes.descriptor_count(self.supervisor)

    def settled_descriptor_count(self) -> int | None:
        """The same, once two looks agree."""
        return self.descriptor_count() if self.descriptor_count() == self.descriptor_count() else None

    # its end

    def send(self, number: signal.Signals) -> None:
        """As a service manager does: to the process that was started."""
        self.keeper.send_signal(number)

    def wake(self) -> None:
        """Let whatever of it was stopped go on."""
        for pid in (self.keeper.pid, *processes.descendants(self.keeper.pid)):
            if processes.state(pid) == "T":
                os.kill(pid, signal.SIGCONT)

    def wait(self, *, seconds: float = 60.0) -> int:
        """Its exit code, once it has ended."""
        code = self.keeper.wait(seconds)
        self._reader.join(LIMIT_SECONDS)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to leave; its exit code."""
        self.send(number)
        return self.wait()

    @property
    def running(self) -> bool:
        """Whether the keeper lives."""
        return self.keeper.poll() is None


def _parse(line: bytes) -> Event:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"event": "text", "text": line.decode(errors="replace").rstrip()}
