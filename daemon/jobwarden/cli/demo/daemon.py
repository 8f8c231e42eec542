"""The daemon under test: a real `jobwarden run` in a process of its own, watched from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from jobwarden.cli.demo.errors import DemoDaemonError
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.kernel import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from jobwarden.cli.demo.stage import Stage

WORKERS = 4
GRACE_MS = 500
START_SECONDS = 30.0
STOP_SECONDS = 40.0
CLEAN_UP_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 0.02
_LOG_TAIL_LINES = 15


class Daemon:
    """A context manager; at its end nothing of the daemon runs any more."""

    def __init__(self, stage: Stage) -> None:
        """Nothing is started yet."""
        self._stage = stage
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it in a process group of its own: Ctrl-C reaches the demo, which then ends it in order.

        Should the demo itself be killed, the daemon gets SIGQUIT and ends what it runs. Call this before any thread
        is started: the child runs Python between fork and exec.
        """
        with self._stage.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._stage.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=lambda: die_with_parent(signal.SIGQUIT),  # noqa: PLW1509 - there are no threads yet
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._running.poll() is None:
                self._running.send_signal(signal.SIGQUIT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._running.wait(STOP_SECONDS)
        finally:  # a second Ctrl-C does not wait for the daemon any more
            self._end_whatever_is_left()

    def wait_until_serving(self) -> None:
        """Return when it runs handlers. Raises DemoDaemonError if it dies or takes more than START_SECONDS."""
        until_ns = SYSTEM_CLOCK.monotonic_ns() + int(START_SECONDS * SECOND_NS)
        while not self.facts("generation_served"):
            self.check_alive()
            if SYSTEM_CLOCK.monotonic_ns() > until_ns:
                raise DemoDaemonError(self._log_tail(), after_seconds=START_SECONDS)
            threading.Event().wait(_LOOK_EVERY_SECONDS)

    def check_alive(self) -> None:
        """Raise DemoDaemonError if it has ended, which nobody asked it to."""
        if self._running.poll() is not None:
            raise DemoDaemonError(self._log_tail(), exit_code=self._running.returncode)

    def stop(self) -> int | None:
        """Ask it to stop, as a service manager does; its exit code, or None if it does not end."""
        self._running.terminate()
        try:
            return self._running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def facts(self, name: str) -> list[dict[str, object]]:
        """The facts of one name in its log, oldest first; lines that are no facts are passed over."""
        return [fact for fact in self._all_facts() if fact.get("event") == name]

    def left_behind(self) -> list[str]:
        """Processes of this daemon that are still there: our own children, and all that carry its marker."""
        marker = os.fsencode(f"JOBWARDEN_STATE_DIR={self._stage.state_dir}")
        marked = {folder.name for folder in Path("/proc").glob("[0-9]*") if marker in _environ_of(folder)}
        return sorted(marked | set(_children()), key=int)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the daemon is used outside its `with`"  # noqa: S101 - a mistake of ours
        return self._process

    def _command(self) -> list[str]:
        flags = {
            "--database-url": self._stage.database_url,
            "--handlers": str(self._stage.handlers),
            "--state-dir": str(self._stage.state_dir),
            "--workers": str(WORKERS),
            "--kill-grace-seconds": str(GRACE_MS / 1_000),
            "--log-format": "json",
            "--log-level": "debug",
        }
        return [sys.executable, "-m", "jobwarden", "run", *(word for pair in flags.items() for word in pair)]

    def _all_facts(self) -> Iterator[dict[str, object]]:
        for line in self._stage.log.read_bytes().splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line, type=dict[str, object])

    def _log_tail(self) -> str:
        return "\n".join(self._stage.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])

    def _end_whatever_is_left(self) -> None:
        """Kill and reap what should not be there; the demo is the subreaper of all that the daemon started."""
        until_ns = SYSTEM_CLOCK.monotonic_ns() + int(CLEAN_UP_SECONDS * SECOND_NS)
        while (left := self.left_behind()) and SYSTEM_CLOCK.monotonic_ns() < until_ns:
            for pid in map(int, left):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)


def _environment() -> dict[str, str]:
    """Ours, without settings of other daemons; import paths stay right in the daemon's own directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBWARDEN_")}
    if paths := kept.get("PYTHONPATH"):
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths.split(os.pathsep)))
    return kept


def _environ_of(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _children() -> list[str]:
    return [pid for each in Path("/proc/self/task").glob("*/children") for pid in each.read_text().split()]
