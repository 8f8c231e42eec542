"""Beats for this node and looks which other nodes are dead. A thread of its own.

On SQLite all nodes share one kernel, so the right to jobs is the flock on the node's file: held by supervisor and
keeper, free exactly when both and so all workers are gone (R3, R6). The beat is written by the ledger, for people to
see and for the case that a node's file is missing. That alone says nothing: somebody may have tidied up under a
living node. The trust window is not this thread's: it reads files and the database, which may stall.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS
from jobwarden.errors import StoreError
from jobwarden.store.life import is_free, lock_path
from jobwarden.supervisor.entries import Entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobwarden.clock import Clock
    from jobwarden.store.store import Store
    from jobwarden.store.work import NodeView
    from jobwarden.supervisor.ledger import Ledger

LOOKS_PER_LEASE = 30
BEATS_PER_LEASE = 5
RECONCILES_PER_LEASE = 1


class Renewal(threading.Thread):
    """Extends trust, beats, and has dead nodes' jobs freed."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        *,
        node_id: str,
        lease_seconds: float,
        clock: Clock,
        report: Callable[[], str],
    ) -> None:
        """`report` gives the JSON that people see of this node; it is called in this thread."""
        super().__init__(name="renewal", daemon=True)
        self._store = store
        self._ledger = ledger
        self._node_id = node_id
        self._lease_ns = int(lease_seconds * SECOND_NS)
        self._pause = lease_seconds / LOOKS_PER_LEASE
        self._clock = clock
        self._report = report
        self._left = threading.Event()
        self._beats: dict[str, tuple[int, int]] = {}
        """Nodes without a file: the beat that was seen of each, and since when (CLOCK_BOOTTIME)."""
        self._judged: set[Path] = set()
        """The files of nodes that were found dead; they are removed when the rows are."""
        self._turn = 0

    def leave(self) -> None:
        """Stop renewing; only when the last worker is gone."""
        self._left.set()

    def run(self) -> None:
        """Renew until `leave`."""
        while not self._left.wait(self._pause):
            self._turn += 1
            beat = self._turn % (LOOKS_PER_LEASE // BEATS_PER_LEASE) == 0
            reconcile = self._turn % (LOOKS_PER_LEASE // RECONCILES_PER_LEASE) == 0
            dead = self.dead_nodes()
            if beat or dead or reconcile:
                report = self._report() if beat else None
                self._ledger.submit(Entries(report=report, free_nodes=dead, reconcile=reconcile))

    def dead_nodes(self) -> list[str]:
        """Other nodes whose lock is free, or missing for a lease without a beat (R6).

        An unreachable store says nothing about anybody.
        """
        try:
            nodes = self._store.nodes()
            folder = self._store.side_dir("nodes")
        except StoreError:
            return []
        if folder is None:
            return []
        others = {lock_path(folder, node.node_id): node for node in nodes if node.node_id != self._node_id}
        dead = {path: node for path, node in others.items() if self._is_dead(node, path)}
        self._remove_files(self._judged - others.keys())
        self._judged = set(dead)
        return [node.node_id for node in dead.values()]

    def _is_dead(self, node: NodeView, path: Path) -> bool:
        if path.exists():
            return is_free(path)
        now_ns = self._clock.boottime_ns()
        beat, since_ns = self._beats.get(node.node_id, (None, now_ns))
        if beat != node.beat:
            self._beats[node.node_id] = node.beat, now_ns
            return False
        return now_ns - since_ns >= self._lease_ns

    @staticmethod
    def _remove_files(paths: set[Path]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()
