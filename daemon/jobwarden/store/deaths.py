"""Who is dead, as one node sees it where all nodes share a kernel: by the flock on a node's file (R3, R6).

A file that is missing says nothing by itself, somebody may have tidied up under a living node; then the beat decides,
watched over a whole lease. Asked by the renewal of a daemon and by clients that take jobs themselves.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS
from jobwarden.errors import StoreError
from jobwarden.store.life import is_free, lock_path

if TYPE_CHECKING:
    from pathlib import Path

    from jobwarden.clock import Clock
    from jobwarden.store.store import Store
    from jobwarden.store.work import NodeView


class DeathWatch:
    """The eyes of one node. Used by one thread at a time."""

    def __init__(self, store: Store, *, node_id: str, lease_seconds: float, clock: Clock) -> None:
        self._store = store
        self._node_id = node_id
        self._lease_ns = int(lease_seconds * SECOND_NS)
        self._clock = clock
        self._beats: dict[str, tuple[int, int]] = {}
        """Nodes without a file: the beat that was seen of each, and since when (CLOCK_BOOTTIME)."""
        self._judged: set[Path] = set()
        """The files of nodes that were found dead; they are removed when the rows are."""

    def dead_nodes(self) -> list[str]:
        """Other nodes whose lock is free, or missing for a lease without a beat.

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
