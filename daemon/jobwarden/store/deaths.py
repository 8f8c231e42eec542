"""Who is dead, as one node sees it.

Where all nodes share a kernel: by the flock on a node's file (R3, R6). A file that is missing says nothing by itself,
somebody may have tidied up under a living node. Then, and where nodes are anywhere, the beat decides: a node is dead
when this very observer has seen the same beat for that node's whole lease on its own CLOCK_BOOTTIME. No wall clock,
nobody's, takes part. Asked by the renewal of a daemon and by clients that take jobs themselves.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from jobwarden.clock import SECOND_NS
from jobwarden.errors import StoreError
from jobwarden.store.life import is_free, lock_files, lock_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from jobwarden.clock import Clock
    from jobwarden.store.store import Store
    from jobwarden.store.work import NodeStart, NodeView


BEATS_PER_LEASE = 5
LONGEST_PAUSE_SECONDS = 5.0
"""However long the lease: the renewal is also the net under lost rings."""
_PAUSES_PER_GAP = 2.5


def pause_seconds(lease_seconds: float) -> float:
    """Between two renewals, each with a look at the others."""
    return min(lease_seconds / BEATS_PER_LEASE, LONGEST_PAUSE_SECONDS)


class Dead(NamedTuple):
    """A node that is seen to be dead, as `Writer.free_node` wants to hear of it."""

    node_id: str
    beat: int | None = None
    """The beat that stood still: it is buried only if its row still shows that. None: its death is certain."""


class Beats:
    """The beats that one observer has seen, and since when each stands still."""

    def __init__(self, *, pause_seconds: float, clock: Clock) -> None:
        """`pause_seconds` lie between two looks: if the last one was much longer ago, the observer begins anew.

        Else the first to reach a database that was away for everybody would take all others for dead, those with a
        shorter lease than its own above all.
        """
        self._longest_gap_ns = int(_PAUSES_PER_GAP * pause_seconds * SECOND_NS)
        self._clock = clock
        self._seen: dict[str, tuple[int, int]] = {}
        self._looked_ns: int | None = None

    def still(self, nodes: Iterable[tuple[str, int, float]]) -> list[Dead]:
        """Of these others (node id, beat, lease in seconds): those whose beat stood still for their whole lease."""
        now_ns = self._clock.boottime_ns()
        if self._looked_ns is not None and now_ns - self._looked_ns > self._longest_gap_ns:
            self._seen.clear()
        self._looked_ns = now_ns
        before, self._seen = self._seen, {}
        dead = []
        for node_id, beat, lease_seconds in nodes:
            known_beat, since_ns = before.get(node_id, (None, now_ns))
            since_ns = since_ns if known_beat == beat else now_ns
            self._seen[node_id] = beat, since_ns
            if now_ns - since_ns >= lease_seconds * SECOND_NS:
                dead.append(Dead(node_id, beat))
        return dead


class DeathWatch:
    """The eyes of one node. Used by one thread at a time."""

    def __init__(self, store: Store, *, lease_seconds: float, clock: Clock) -> None:
        """`lease_seconds` is the observer's own."""
        self._store = store
        pause = lease_seconds / BEATS_PER_LEASE if store.shares_kernel else pause_seconds(lease_seconds)
        self._beats = Beats(pause_seconds=pause, clock=clock)
        self._free: set[Path] = set()
        """The files that nobody held at the last look: removed if nobody does now and there is no row, or not any more.

        Who died before it had a row left one too.
        """

    def dead_nodes(self, *, own: str) -> list[Dead]:
        """Other nodes than `own` whose lock is free, or whose beat stood still where no lock shows anything.

        An unreachable store says nothing about anybody.
        """
        try:
            others = [node for node in self._store.nodes() if node.node_id != own]
            folder = self._store.side_dir("nodes")
        except StoreError:
            return []
        if folder is None:
            return self._beats.still(map(_pulse_of, others))
        return self._by_locks(others, folder)

    def by_beats(self, nodes: Iterable[tuple[str, int, float]], *, own: str) -> list[Dead]:
        """The same from what a renewal has seen, where there are no locks."""
        return self._beats.still(each for each in nodes if each[0] != own)

    def _by_locks(self, others: Sequence[NodeView], folder: Path) -> list[Dead]:
        paths = {node.node_id: lock_path(folder, node.node_id) for node in others}
        files = set(lock_files(folder))
        free = {path for path in files if is_free(path)}
        dead = [Dead(node_id) for node_id, path in paths.items() if path in free]
        dead += self._beats.still(_pulse_of(node) for node in others if paths[node.node_id] not in files)
        self._remove_files((self._free & free) - set(paths.values()))
        self._free = free
        return dead

    @staticmethod
    def _remove_files(paths: set[Path]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()


def predecessors(nodes: Iterable[NodeView], start: NodeStart) -> list[Dead]:
    """Nodes of the same host and state directory as the one that starts: dead for certain.

    Its lock was held until nobody of theirs was left, and is held by this one now. The boot id is the host's, device
    and inode name the locked file on it; another boot, or another file, says nothing.
    """
    if start.state_lock is None:
        return []
    place = start.boot_id, start.state_lock
    return [
        Dead(node.node_id)
        for node in nodes
        if (node.boot_id, node.state_lock) == place and node.node_id != start.node_id
    ]


def _pulse_of(node: NodeView) -> tuple[str, int, float]:
    return node.node_id, node.beat, node.lease_seconds
