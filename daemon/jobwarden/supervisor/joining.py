"""How this node comes into the store, before anything is claimed: its row, and the jobs of nodes dead for certain.

Used by `service`, once per start.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.store.deaths import predecessors
from jobwarden.store.work import NodeStart
from jobwarden.supervisor.locks import identity_of
from jobwarden.version import __version__

if TYPE_CHECKING:
    from jobwarden.settings import Settings
    from jobwarden.store import Store
    from jobwarden.store.deaths import Dead, DeathWatch
    from jobwarden.supervisor.handover import Handover
    from jobwarden.supervisor.membership import Membership


def node_start(settings: Settings, handover: Handover) -> NodeStart:
    """What the row of this node says; called in the supervisor."""
    return NodeStart(
        node_id=handover.node_id,
        name=f"{platform.node()}:{os.getpid()}",
        host=platform.node(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        pid=os.getpid(),
        state_dir=str(settings.state_dir.resolve()),
        state_lock=identity_of(handover.locks[0]),
        lease_seconds=settings.lease_seconds,
        doorbell=None,
        version=__version__,
    )


def join(store: Store, membership: Membership, deaths: DeathWatch, *, settings: Settings, kill_level: str) -> None:
    """Register this node, free the jobs of dead ones, and say so. Raises StoreError; then it may be done again."""
    writer = store.writer()
    try:
        writer.remove_node(membership.node_id)  # of a try whose answer was lost
        membership.join(writer)
        membership.free_all(writer, _dead_for_certain(store, membership, deaths))
    finally:
        writer.close()
    events.emit(
        events.Started(
            node=membership.name,
            pid=os.getpid(),
            database=store.url_shown,
            handlers=", ".join(str(pool.handlers) for pool in settings.pools),
            workers=sum(pool.workers for pool in settings.pools),
            kill_level=kill_level,
        )
    )


def _dead_for_certain(store: Store, membership: Membership, deaths: DeathWatch) -> list[Dead]:
    if store.shares_kernel:
        return deaths.dead_nodes(own=membership.node_id)
    return predecessors(store.nodes(), membership.start)
