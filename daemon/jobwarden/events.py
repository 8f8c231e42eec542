"""Named facts about the daemon's own life, and those who listen: log lines, metrics, test signals.

Code emits a fact; it never formats a log line. Events of *jobs* are rows in the store and are not made here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The root of all facts; the class name in snake_case is the fact's name in the log."""


class Started(Fact, frozen=True):
    """The supervisor serves."""

    node: str
    pid: int
    database: str
    handlers: str
    workers: int
    kill_level: str


class GenerationServed(Fact, frozen=True):
    """A generation of the handlers became current."""

    generation: int
    content_hash: str
    types: list[str]
    pool: str = "default"


class Watching(Fact, frozen=True):
    """From now on, saves in this handlers directory are noticed."""

    pool: str
    directory: str
    by: str
    """`events` of the file system, with a look every few seconds; or `looks`, one per second."""
    file_system: str


class WorkerBorn(Fact, frozen=True):
    """A worker can take jobs."""

    slot: int
    pid: int
    generation: int


class HooksSaid(Fact, frozen=True):
    """What `on_worker_start` or `on_worker_stop` printed in a worker."""

    slot: int
    pid: int
    text: str


class WorkerDied(Fact, frozen=True):
    """A worker was reaped."""

    slot: int
    pid: int
    signal: int | None
    exit_code: int


class TreeCleared(Fact, frozen=True):
    """A killed worker's tree is gone. `lateness_ms` is what lies between deadline + grace and the last death."""

    slot: int
    pid: int
    job_id: int | None = None
    lateness_ms: float | None = None


class AttemptEnded(Fact, frozen=True):
    """An attempt that did not succeed was handed to the ledger."""

    job_id: int
    job_type: str
    fence: int
    outcome: str
    error: str | None = None


class JobPrinted(Fact, frozen=True):
    """What an attempt printed, as it is stored with its end: the last part of it. Logged with `log_job_output`."""

    job_id: int
    job_type: str
    fence: int
    text: str


class LinesLeftOut(Fact, frozen=True):
    """So many facts about jobs and workers were not logged, because of `log_lines_per_second`."""

    number: int


class NodeFreed(Fact, frozen=True):
    """The jobs of a dead node were freed."""

    node: str
    jobs: int


class Maintained(Fact, frozen=True):
    """This node did a round of maintenance in which there was something to do."""

    done: dict[str, int]
    """What was done -> how often."""


class RenewalFailed(Fact, frozen=True):
    """The node's lease could not be renewed; it is tried again. Told once, until it is renewed."""

    problem: str


class Renewed(Fact, frozen=True):
    """The node's lease is renewed again."""

    after_seconds: float
    """Since the last good renewal."""


class Rejoined(Fact, frozen=True):
    """The node's row was gone; it is a new node now, in the same process."""

    node: str
    before: str


class StoreAway(Fact, frozen=True):
    """A transaction failed; it is tried again, outcomes are kept."""

    problem: str


class StoreBack(Fact, frozen=True):
    """The store answers again."""

    kept: int
    """Outcomes that had to wait."""


class Alerted(Fact, frozen=True):
    """Something that an operator should know."""

    text: str
    pool: str | None = None
    """Whose code it is about; None: it is about the node."""


class Leaving(Fact, frozen=True):
    """The supervisor was asked to stop."""

    signal: str


class Left(Fact, frozen=True):
    """The supervisor has ended in order."""

    jobs_ended: int


_listeners: list[Callable[[Fact], None]] = []


def listen(listener: Callable[[Fact], None]) -> Callable[[], None]:
    """Call `listener` with every fact from now on, in the emitting thread; it must not raise or block.

    Returns a function that ends it.
    """
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def emit(fact: Fact) -> None:
    """Tell all listeners."""
    for listener in _listeners:
        listener(fact)


def name_of(fact: Fact) -> str:
    """`WorkerDied` -> `worker_died`."""
    name = type(fact).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
