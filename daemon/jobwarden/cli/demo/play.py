"""The demo from beginning to end. Whatever happens, Ctrl-C included, no process and no folder is left behind."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NoReturn

from jobwarden.cli.demo.daemon import Daemon
from jobwarden.cli.demo.findings import Row, end_rows, work_rows
from jobwarden.cli.demo.follow import follow
from jobwarden.cli.demo.receiver import Receiver
from jobwarden.cli.demo.stage import Stage
from jobwarden.cli.demo.work import enqueue
from jobwarden.client import Client
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.kernel import adopt_orphans

if TYPE_CHECKING:
    from collections.abc import Iterator

_ASKED_TO_STOP = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Played:
    """What the demo found. `folder` is None unless it was kept."""

    rows: list[Row]
    seconds: float
    folder: str | None

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(row.kept for row in self.rows)

    def as_json(self) -> dict[str, object]:
        """The document of `demo --json`."""
        rows = [asdict(row) for row in self.rows]
        return {"ok": self.kept, "seconds": round(self.seconds, 1), "folder": self.folder, "rows": rows}


def play(*, keep: bool) -> Played:
    """Run the demo. Raises DemoError if the daemon does not start or dies, KeyboardInterrupt when told to stop."""
    adopt_orphans()
    began_ns = SYSTEM_CLOCK.monotonic_ns()
    with ExitStack() as scene, _stoppable():
        stage = scene.enter_context(Stage(keep=keep))
        daemon = scene.enter_context(Daemon(stage))
        rows = _perform(stage, daemon)
        rows += end_rows(daemon, exit_code=daemon.stop())
    seconds = (SYSTEM_CLOCK.monotonic_ns() - began_ns) / SECOND_NS
    return Played(rows=rows, seconds=seconds, folder=str(stage.folder) if keep else None)


def _perform(stage: Stage, daemon: Daemon) -> list[Row]:
    with Receiver() as receiver, Client(stage.database_url) as client:
        daemon.wait_until_serving()
        work = enqueue(client, stage, receiver)
        follow(client, work, daemon)
        return work_rows(client, work, daemon=daemon, receiver=receiver)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: with all its clean-up."""
    before = {number: signal.signal(number, _interrupt) for number in _ASKED_TO_STOP}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
