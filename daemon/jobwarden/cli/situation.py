"""What `status` shows, read from the store in one go and put into JSON or tables.

A supervisor's report is what that supervisor said of itself; an older or newer one may leave out entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobwarden.cli.complaints import told_by, unserved, unserved_in_words
from jobwarden.cli.control import HEADINGS, control_rows
from jobwarden.cli.printing import duration, moment, printable, table
from jobwarden.clock import SECOND_US, SYSTEM_CLOCK, to_datetime, to_us
from jobwarden.jobs import JobStatus
from jobwarden.jobs.filter import RETRYING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from jobwarden.jobs.control import Control
    from jobwarden.store.people.reading import RunningJob
    from jobwarden.store.store import Store
    from jobwarden.store.work import NodeView

_OF_HOST = ("kill level", "connection")
"""How far a kill of this node reaches, and how it hears of news: by notifications or by looking."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """The store at one moment."""

    now_us: int
    nodes: Sequence[NodeView]
    running: Sequence[RunningJob]
    queue: Mapping[str, Mapping[str, int]]
    """Number of jobs by type and status."""
    controls: Sequence[Control]

    def as_json(self) -> dict[str, object]:
        """The document of `status --json`; times are ISO 8601 UTC, ages in seconds."""
        return {
            "nodes": [self._node_json(node) for node in self.nodes],
            "running": [self._running_json(job) for job in self.running],
            "queue": self.queue,
            "controls": [control.model_dump(by_alias=True, mode="json") for control in self.controls],
            "unserved": self._unserved(),
            "problems": list(self.problems()),
        }

    def chapters(self) -> Iterator[RenderableType]:
        """The tables for people."""
        of_nodes = ("daemon", "host", "started", "last beat", "lease", "generation", "busy", *_OF_HOST, "state")
        yield from _chapter("daemons", of_nodes, map(self._node_row, self.nodes))
        of_pools = ("daemon", "pool", "generation", "busy", "waiting for a worker", "types")
        yield from _chapter("pools", of_pools, self._pool_rows())
        headings = ("daemon", "slot", "pid", "generation", "state", "job", "type", "since")
        yield from _chapter("slots", headings, self._slot_rows())
        yield from _chapter("running", ("job", "type", "daemon", "since"), map(self._running_row, self.running))
        shown = [each for each in (*JobStatus, RETRYING) if any(each in row for row in self.queue.values())]
        counts = [(job_type, *(row.get(each, 0) for each in shown)) for job_type, row in self.queue.items()]
        yield from _chapter("jobs", ("type", *shown), counts)
        yield from self._maintenance()
        yield from _chapter("limits and pauses", HEADINGS, control_rows(self.controls))

    def problems(self) -> Iterator[str]:
        """What somebody should look at, one sentence each."""
        if not self.nodes:
            yield "no daemon runs on this store; start one with `jobwarden run`"
        for node in self.nodes:
            report = node.report or {}
            if self._silent(node):
                yield f"{node.name}: has not been heard of for {duration(self._age_seconds(node))}"
            if report.get("trusted") is False:
                yield f"{node.name}: has lost its lease and starts no jobs"
            yield from (f"{node.name}: {printable(text)}" for text in told_by(report))
            stuck = [slot.get("pid") for slot in _slots(node) if slot.get("stuck")]
            yield from (f"{node.name}: worker {pid} was killed but does not die" for pid in stuck)
        yield from map(printable, unserved_in_words(self._unserved()))

    def _unserved(self) -> dict[str, int]:
        return unserved(self.queue, [node for node in self.nodes if not self._silent(node)])

    def _age_seconds(self, node: NodeView) -> float:
        return max(0.0, (self.now_us - node.beat_us) / SECOND_US)

    def _silent(self, node: NodeView) -> bool:
        return self._age_seconds(node) > node.lease_seconds

    def _node_json(self, node: NodeView) -> dict[str, object]:
        return {
            "id": node.node_id,
            "name": node.name,
            "host": node.host,
            "pid": node.pid,
            "stateDir": node.state_dir,
            "version": node.version,
            "startedAt": to_datetime(node.started_us).isoformat(),
            "beat": node.beat,
            "beatAgeSeconds": self._age_seconds(node),
            "leaseSeconds": node.lease_seconds,
            "silent": self._silent(node),
            "report": node.report,
        }

    def _node_row(self, node: NodeView) -> tuple[object, ...]:
        report, slots = node.report or {}, _slots(node)
        busy = sum(slot.get("job_id") is not None for slot in slots)
        state = "silent" if self._silent(node) else "stopping" if report.get("stopping") else "running"
        return (
            node.name,
            node.host,
            moment(to_datetime(node.started_us)),
            f"{duration(self._age_seconds(node))} ago",
            duration(node.lease_seconds),
            report.get("generation"),
            f"{busy} of {len(slots)}",
            *(report.get(name.replace(" ", "_")) for name in _OF_HOST),
            state,
        )

    def _running_row(self, job: RunningJob) -> tuple[object, ...]:
        since = None if job.locked_at is None else self._age(to_us(job.locked_at))
        return job.id, job.job_type, job.locked_by, since

    def _running_json(self, job: RunningJob) -> dict[str, object]:
        since = None if job.locked_at is None else job.locked_at.isoformat()
        return {"id": job.id, "jobType": job.job_type, "locked_by": job.locked_by, "locked_at": since}

    def _age(self, since_us: int) -> str:
        return duration(max(0, self.now_us - since_us) / SECOND_US)

    def _maintenance(self) -> Iterator[str]:
        """Who did the last round, and what the last one did that found anything to do."""
        told = ((node, (node.report or {}).get("maintenance")) for node in self.nodes)
        rounds = [(node, said) for node, said in told if isinstance(said, dict) and "at_us" in said]
        if not rounds:
            return
        node, last = max(rounds, key=lambda each: each[1]["at_us"])
        line = f"maintenance: last round {self._age(last['at_us'])} ago by {node.name}"
        busy = [said for _node, said in rounds if said.get("done")]
        if busy:
            said = max(busy, key=lambda each: each["done_at_us"])
            done = ", ".join(f"{name} {number:,}" for name, number in said["done"].items())
            line += f"; {self._age(said['done_at_us'])} ago: {done}"
        yield printable(line)

    def _pool_rows(self) -> Iterator[tuple[object, ...]]:
        """Where there is only one it is what the daemon's own line says."""
        for node in self.nodes:
            pools = _listed(node, "pools")
            for pool in pools if len(pools) > 1 else ():
                own = [slot for slot in _slots(node) if slot.get("pool") == pool.get("name")]
                busy = f"{sum(slot.get('job_id') is not None for slot in own)} of {pool.get('workers')}"
                types = ", ".join(map(str, pool.get("types") or ())) or "none"
                yield node.name, pool.get("name"), pool.get("generation"), busy, pool.get("backlog"), types

    def _slot_rows(self) -> Iterator[tuple[object, ...]]:
        for node in self.nodes:
            for slot in _slots(node):
                since = slot.get("since_us")
                age = None if since is None else self._age(since)
                names = ("slot", "pid", "generation", "state", "job_id", "job_type")
                yield (node.name, *(slot.get(name) for name in names), age)


def observe(store: Store) -> Situation:
    """Read what `status` shows."""
    now_us = SYSTEM_CLOCK.now_us()
    return Situation(
        now_us=now_us,
        nodes=store.nodes(),
        running=store.running(),
        queue=store.counts(),
        controls=store.controls.list(now_us=now_us),
    )


def _chapter(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[RenderableType]:
    """A table, or nothing where there are no rows."""
    listed = list(rows)
    if listed:
        yield table(headings, listed, title=title)
        yield ""


def _slots(node: NodeView) -> list[dict[str, Any]]:
    return _listed(node, "slots")


def _listed(node: NodeView, name: str) -> list[dict[str, Any]]:
    """A list of the report; empty if this daemon's version does not tell it."""
    found = (node.report or {}).get(name)
    return found if isinstance(found, list) else []
