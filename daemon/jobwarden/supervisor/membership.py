"""This node as the store knows it: its id, its row, and (where nodes share a kernel) the file whose flock is its life.

`join` registers it and frees the jobs of nodes that are dead for certain. A node whose row was taken away joins again
under a new id, in the same process (decision 013): the marks of its processes, the keeper and the locks stay. Shared
by the ledger, which joins, and the lease, which renews; what either learns of the old id later must change nothing.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from jobwarden import events
from jobwarden.store.life import lock_path
from jobwarden.store.work import GiveBack, Work
from jobwarden.supervisor.inputs import NodeGone
from jobwarden.supervisor.sweep import sweep_node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobwarden.clock import Clock
    from jobwarden.store.deaths import Dead
    from jobwarden.store.work import NodeStart
    from jobwarden.store.writer import Writer
    from jobwarden.supervisor.identity import Identity
    from jobwarden.supervisor.mailbox import Mailbox
    from jobwarden.supervisor.trust import TrustWindow


_AGAIN = "."
"""In an id, between that with which the supervisor started and what tells its later ones apart."""


class Membership:
    """One per supervisor."""

    def __init__(
        self,
        start: NodeStart,
        *,
        window: TrustWindow,
        mailbox: Mailbox,
        clock: Clock,
        jitter: Callable[[], float],
        node_lock: str | None,
        users: Sequence[Identity] = (),
    ) -> None:
        """`node_lock` is the path of the node's own locked file; None where its lease is its life.

        `users` are those as whom pools run: what a dead node left may run as one of them.
        """
        self._start = start
        self._window = window
        self._mailbox = mailbox
        self._clock = clock
        self._jitter = jitter
        self._node_lock = None if node_lock is None else Path(node_lock)
        self.users = users
        self._guard = threading.Lock()
        self._missed = False
        self._leaving = False

    @property
    def node_id(self) -> str:
        """The id under which it claims now."""
        return self._start.node_id

    @property
    def name(self) -> str:
        """`host:pid`."""
        return self._start.name

    @property
    def start(self) -> NodeStart:
        """What its row says."""
        return self._start

    def join(self, writer: Writer) -> None:
        """Register. Raises StoreError."""
        began_ns = self._clock.boottime_ns()
        writer.register(self._start, now_us=self._clock.now_us())
        self._window.open(since_ns=began_ns)

    def rejoin(self, writer: Writer) -> None:
        """Register under a new id; what still runs under the old one in the store is freed. Raises StoreError.

        Only when nothing of the old id runs here any more. Each try has an id of its own: the answer to an earlier one
        may have been lost, and a row that nobody renews is found like that of any dead node.
        """
        began_ns = self._clock.boottime_ns()
        marker = marker_of(self._start.node_id)
        fresh = msgspec.structs.replace(self._start, node_id=f"{marker}{_AGAIN}{secrets.token_hex(4)}")
        self._rename_lock(fresh.node_id)
        writer.register(fresh, now_us=self._clock.now_us())
        with self._guard:  # still missed: the pool hears of the new id when all of this is done, and not before
            old, self._start, self._missed = self._start.node_id, fresh, True
        events.emit(events.Rejoined(node=fresh.node_id, before=old))
        self.free(writer, old)
        with self._guard:
            self._missed = False
            self._window.open(since_ns=began_ns)

    def free(self, writer: Writer, node_id: str, *, beat: int | None = None) -> None:
        """Bury a dead node and say so. Raises StoreError."""
        jobs = writer.free_node(node_id, now_us=self._clock.now_us(), jitter=self._jitter, beat=beat)
        events.emit(events.NodeFreed(node=node_id, jobs=jobs))

    def free_all(self, writer: Writer, dead: Sequence[Dead]) -> None:
        """Bury these. Raises StoreError.

        Who is dead for certain was killed with its keeper, perhaps before they could end what had run away from its
        jobs: that is done here, or those would meet their next attempts.
        """
        for node_id, beat in dead:
            if beat is None:
                sweep_node(marker_of(node_id), users=self.users)
            self.free(writer, node_id, beat=beat)

    def renewed(self, node_id: str, *, since_ns: int) -> None:
        """The row of this id was there, and its beat was raised, by a renewal that began then."""
        with self._guard:
            if node_id == self._start.node_id and not self._missed:
                self._window.open(since_ns=since_ns)

    def missed(self, node_id: str) -> None:
        """The row of this id was not there. The first time, if it is still ours, the pool is told."""
        with self._guard:
            if self._leaving or self._missed or node_id != self._start.node_id:
                return
            self._missed = True
            if self._node_lock is None:  # else the window says nothing about the row
                self._window.shut()
        self._mailbox.post(NodeGone())

    def sign_off(self, writer: Writer) -> bool:
        """Take the row off; whether jobs came free by it. Raises StoreError.

        Its last worker is gone and all ends are written: what the store still holds as processing under it came by a
        claim whose answer was lost, and goes back at no cost. Without a row nobody would find it.
        """
        with self._guard:
            self._leaving = True
        node_id, now_us = self.node_id, self._clock.now_us()
        unknown = [GiveBack(*attempt) for attempt in writer.processing_of(node_id)]
        if unknown:
            writer.transact(Work(now_us=now_us, node_id=node_id, node_name=self.name, give_backs=unknown))
        writer.remove_node(node_id)
        return bool(unknown)

    def remove_lock(self) -> None:
        """The node is gone with all that was its own, and so is its file."""
        if self._node_lock is not None:
            self._node_lock.unlink(missing_ok=True)

    def _rename_lock(self, node_id: str) -> None:
        """The flock belongs to the opened file, which keeper and supervisor hold, under whatever name it has.

        One that somebody tidied away cannot come back: such a node is judged by its beat.
        """
        if self._node_lock is not None:
            path = lock_path(self._node_lock.parent, node_id)
            with contextlib.suppress(OSError):
                self._node_lock.rename(path)
            self._node_lock = path


def marker_of(node_id: str) -> str:
    """The id that the processes of this node are marked with: that with which its supervisor started."""
    return node_id.partition(_AGAIN)[0]
