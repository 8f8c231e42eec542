"""Plays the supervisor for a real `Killer`, in a process of its own: `python -m tests.support.kill_stage SCENE`.

It is a child subreaper with one worker below it; it reaps that worker as the loop does, and prints what it saw as
JSON. In a process of its own because the killer ends every unknown child of its process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.kernel import adopt_orphans
from jobwarden.supervisor.inputs import Cleared, Input, Stuck
from jobwarden.supervisor.killer import Killer, Removal, kill_and_reap, own_children
from jobwarden.supervisor.mailbox import Mailbox

if TYPE_CHECKING:
    from jobwarden.supervisor.census import Census

LIMIT_SECONDS = 30
_PRELUDE = """
import faulthandler, os, signal, sys, time
sys.path[:0] = sys.argv[2:]
from jobwarden.kernel import adopt_orphans, die_with_parent
adopt_orphans()
die_with_parent()
dump = int(sys.argv[1])

def ready():
    os.write(1, b"all\\n")
    signal.pause()

def breed(last_word):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.setsid()
    os.write(1, f"{os.getpid()}\\n".encode())
    last_word()
"""
SLEEPERS = """
for _ in range(200):
    breed(signal.pause)
ready()
"""
ZOMBIES = """
for _ in range(20):
    if not os.fork():
        os._exit(0)
ready()
"""
BREEDERS = """
def pause_and_breed():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        time.sleep(0.02)
        if os.fork():
            os._exit(0)
for _ in range(5):
    breed(pause_and_breed)
ready()
"""
SPINNER = """
faulthandler.register(signal.SIGUSR2, file=dump, all_threads=True)
def spin_for_ever():
    os.write(1, b"all\\n")
    while True:
        pass
spin_for_ever()
"""
QUIET = "ready()"


class Watched:
    """What the killer looks at of a Launcher; counts how often it looked."""

    def __init__(self) -> None:
        """Nothing was asked for, nothing is known."""
        self.known: set[int] = set()
        self.answered = 0
        self.looks = 0
        self._asked = 0

    @property
    def asked(self) -> int:
        """Read at the begin of each look."""
        self.looks += 1
        return self._asked

    @asked.setter
    def asked(self, value: int) -> None:
        self._asked = value


class Stage:
    """One worker, one killer."""

    def __init__(self, script: str, *, bred: int = 0, stuck_ns: int = 60 * SECOND_NS) -> None:
        """The worker has done what its script says, has bred so many grandchildren, and waits."""
        adopt_orphans()
        self.mailbox = Mailbox()
        self.launcher = Watched()
        self.dump = os.memfd_create("dump")
        command = [sys.executable, "-c", _PRELUDE + script, str(self.dump), *sys.path]
        self.worker = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[self.dump], text=True)
        self.launcher.known.add(self.worker.pid)
        assert self.worker.stdout is not None
        words = [self.worker.stdout.readline().strip() for _ in range(bred + 1)]
        self.bred = [int(word) for word in words if word != "all"]
        self.pidfd = os.pidfd_open(self.worker.pid)
        self.killer = Killer(cast("Census", self.launcher), self.mailbox, clock=SYSTEM_CLOCK, stuck_ns=stuck_ns)
        self.killer.start()

    def kill(self, *, dump: bool = False, reap: bool = True) -> None:
        """Have the worker and its tree removed; reap it as the loop does."""
        wanted = self.dump if dump else None
        self.killer.remove(Removal(1, pid=self.worker.pid, pidfd=self.pidfd, dump=wanted))
        if reap:
            self.reap()

    def reap(self) -> None:
        """The loop's part."""
        assert select.select([self.pidfd], [], [], LIMIT_SECONDS)[0], "the worker does not die"
        os.waitpid(self.worker.pid, 0)
        self.launcher.known.discard(self.worker.pid)

    def await_mail(self) -> Input:
        """What the killer says next."""
        while True:
            assert select.select([self.mailbox.descriptor], [], [], LIMIT_SECONDS)[0], "the killer says nothing"
            facts = self.mailbox.take()
            if facts:
                return facts[0]

    def await_cleared(self) -> Cleared:
        """The tree is gone."""
        fact = self.await_mail()
        assert isinstance(fact, Cleared), fact
        return fact

    def await_looks(self, more: int) -> None:
        """Until the killer has looked that often again."""
        until = self.launcher.looks + more
        while self.launcher.looks < until:
            threading.Event().wait(0.001)


def alive(pids: list[int]) -> list[int]:
    """Those that are still there, zombies included."""
    found = []
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        found.append(pid)
    return found


def sleepers() -> dict[str, object]:
    """200 grandchildren in sessions of their own."""
    stage = Stage(SLEEPERS, bred=200)
    before = len(alive(stage.bred))
    stage.kill()
    stage.await_cleared()
    return {"before": before, "after": len(alive(stage.bred)), "children": len(own_children())}


def zombies() -> dict[str, object]:
    """Children that nobody reaped."""
    stage = Stage(ZOMBIES)
    stage.kill()
    stage.await_cleared()
    return {"children": len(own_children())}


def breeders() -> dict[str, object]:
    """Grandchildren that change their pid all the time."""
    stage = Stage(BREEDERS, bred=5)
    stage.kill()
    stage.await_cleared()
    return {"children": len(own_children())}


def newborn() -> dict[str, object]:
    """A child that nobody knows yet, because its birth has not been answered."""
    stage = Stage(QUIET)
    stage.launcher.asked = 1
    child = subprocess.Popen(["sleep", "60"])
    stage.kill()
    stage.await_looks(50)
    spared = child.poll() is None
    told = len(stage.mailbox.take())
    stage.launcher.known.add(child.pid)
    stage.launcher.answered = 1
    stage.await_cleared()
    known_lives = child.poll() is None
    child.kill()
    child.wait()
    return {"spared": spared, "told_meanwhile": told, "known_lives": known_lives}


def unanswered() -> dict[str, object]:
    """Two workers that have to go, the second with a child, while a template does not answer for a birth."""
    stage = Stage(QUIET)
    stage.launcher.asked = 1
    stage.kill()
    stage.await_cleared()
    child = subprocess.Popen(["sh", "-c", "sleep 60 & exit"], start_new_session=True)
    child.wait()
    stage.killer.remove(Removal(2, pid=child.pid, pidfd=None, dump=None))
    return {"cleared": stage.await_cleared().slot, "children": len(own_children())}


def stopped() -> dict[str, object]:
    """A worker under SIGSTOP."""
    stage = Stage(QUIET)
    os.kill(stage.worker.pid, signal.SIGSTOP)
    stage.kill()
    stage.await_cleared()
    return {"children": len(own_children())}


def spinning() -> dict[str, object]:
    """A worker whose stacks are wanted before it dies."""
    stage = Stage(SPINNER)
    stage.kill(dump=True)
    return {"dump": stage.await_cleared().stack_dump}


def silent() -> dict[str, object]:
    """A stopped worker cannot dump; the kill does not wait for it long."""
    stage = Stage(SPINNER)
    os.kill(stage.worker.pid, signal.SIGSTOP)
    stage.kill(dump=True)
    return {"dump": stage.await_cleared().stack_dump}


def stuck() -> dict[str, object]:
    """A worker that is not reaped in time; then it is."""
    stage = Stage(QUIET, stuck_ns=0)
    stage.kill(reap=False)
    first = stage.await_mail()
    stage.await_looks(20)
    again = len(stage.mailbox.take())
    stage.reap()
    stage.await_cleared()
    return {"first": isinstance(first, Stuck), "told_again": again}


def dead_already() -> dict[str, object]:
    """A worker that died by itself leaves its children."""
    stage = Stage(SLEEPERS.replace("200", "10"), bred=10)
    stage.worker.kill()
    stage.reap()
    stage.killer.remove(Removal(1, pid=stage.worker.pid, pidfd=None, dump=None))
    stage.await_cleared()
    return {"after": len(alive(stage.bred)), "children": len(own_children())}


SCENES: dict[str, Callable[[], dict[str, object]]] = {
    each.__name__: each
    for each in (sleepers, zombies, breeders, newborn, unanswered, stopped, spinning, silent, stuck, dead_already)
}


def main(scene: str) -> None:
    """Play it, print what was seen; whatever happens, leave nothing behind."""
    try:
        sys.stdout.write(json.dumps(SCENES[scene]()))
        sys.stdout.flush()
        code = 0
    except BaseException:  # noqa: BLE001 - the test shows what it was
        traceback.print_exc()
        code = 1
    while children := own_children():
        for pid in children:
            kill_and_reap(pid)
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
