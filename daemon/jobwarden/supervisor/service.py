"""The composition root: all parts of the supervisor are made here, started in their order, and ended in theirs.

It decides nothing: what runs when is the pools', how a process becomes a supervisor is `serving`'s, its only caller.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.clock import SECOND_NS, SECOND_US, SYSTEM_CLOCK
from jobwarden.store.deaths import DeathWatch
from jobwarden.supervisor.announcing import open_announcing
from jobwarden.supervisor.awaiting import Awaiting
from jobwarden.supervisor.census import Census
from jobwarden.supervisor.cgroup import Leaves
from jobwarden.supervisor.clerk import Clerk
from jobwarden.supervisor.configured import rules_of, terms_of
from jobwarden.supervisor.identity import other_users
from jobwarden.supervisor.joining import join, node_start
from jobwarden.supervisor.killer import Killer
from jobwarden.supervisor.launcher import Launcher
from jobwarden.supervisor.ledger import Ledger
from jobwarden.supervisor.loop import Loop
from jobwarden.supervisor.mailbox import Mailbox
from jobwarden.supervisor.maintenance import Maintenance
from jobwarden.supervisor.membership import Membership
from jobwarden.supervisor.meter import Meter
from jobwarden.supervisor.office import open_desk
from jobwarden.supervisor.pools import Pools
from jobwarden.supervisor.reconfiguring import Reconfiguring
from jobwarden.supervisor.renewal import BEATS_PER_LEASE
from jobwarden.supervisor.renewing import renewing_threads
from jobwarden.supervisor.signs import Vigil
from jobwarden.supervisor.start import open_for_daemon
from jobwarden.supervisor.sweep import sweep_leftovers
from jobwarden.supervisor.trust import TrustWindow
from jobwarden.supervisor.watcher import Watcher
from jobwarden.wire.page import STOPPING, SharedPage, seal

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Sequence

    from jobwarden.settings import Settings
    from jobwarden.store.bell import Bell
    from jobwarden.supervisor.desk import Desk
    from jobwarden.supervisor.handover import Handover
    from jobwarden.supervisor.log import LogLines
    from jobwarden.supervisor.redaction import Redaction
    from jobwarden.supervisor.systemd import Notifier

EXIT_STORE_AWAY = 1
_LONGEST_PERIOD_SECONDS = 5.0
"""Between two rounds of maintenance, however long the lease."""
_QUIET_SECONDS = 120.0
"""Between two rounds on a server while nothing happens there."""
_LAST_WRITES_SECONDS = 30.0
_LEAVING_USEC = 2 * int(_LAST_WRITES_SECONDS) * SECOND_US
"""The last writes may take so long."""


class Service:
    """All parts of one supervisor, composed."""

    def __init__(
        self, settings: Settings, handover: Handover, *, lines: LogLines, redaction: Redaction, notifier: Notifier
    ) -> None:
        """Make every part, once the store is there; nothing runs yet. Raises StoreError."""
        self._settings = settings
        self._notifier = notifier
        self._handover = handover
        self._users = other_users(settings.pools)
        self._desk: Desk | None = None
        page = self._page = SharedPage(handover.page, writable=True)
        seal(handover.page)  # the keeper has mapped it long since
        self._awaiting = Awaiting(notifier, page=page, clock=SYSTEM_CLOCK, waits=handover.errand is None)
        self._store = self._awaiting.until_done(partial(open_for_daemon, settings))
        self._bell = self._store.bell
        self._ears = _listen(self._bell)
        mailbox = Mailbox()
        pools = self.pools = Pools(terms_of(settings, errand=handover.errand), jitter=draw_jitter)
        census = Census()
        leaves = self._leaves = Leaves(None if handover.cgroup is None else Path(handover.cgroup))
        self._make_launcher = partial(
            Launcher,
            state_dir=settings.state_dir,
            node_id=handover.node_id,
            page=handover.page,
            census=census,
            leaves=leaves,
        )
        launchers = self._launchers = {each.name: self._make_launcher(each) for each in settings.pools}
        stuck_ns = int(settings.kill_stuck_seconds * SECOND_NS)
        killer = Killer(census, mailbox, clock=SYSTEM_CLOCK, stuck_ns=stuck_ns)
        self._killer = killer
        self._meter = Meter(mailbox)
        self._maintenance = Maintenance(
            rules_of(settings),
            period_seconds=min(settings.lease_seconds / BEATS_PER_LEASE, _LONGEST_PERIOD_SECONDS),
            clock=SYSTEM_CLOCK,
            quiet_seconds=None if self._store.shares_kernel else _QUIET_SECONDS,
        )
        self._window = TrustWindow(page, lease_seconds=settings.lease_seconds)
        self._membership = Membership(
            node_start(settings, handover),
            window=self._window,
            mailbox=mailbox,
            clock=SYSTEM_CLOCK,
            jitter=draw_jitter,
            node_lock=handover.node_lock,
            users=self._users,
        )
        self._ledger = Ledger(
            self._store.writer,
            mailbox,
            membership=self._membership,
            clock=SYSTEM_CLOCK,
            bell=self._bell,
            watch_seconds=lambda: self._store.watch_seconds,
            maintenance=self._maintenance,
        )
        self._reconfiguring = Reconfiguring(
            settings, handover, launchers=launchers, followers=(lines.change, redaction.change, self._reconfigure)
        )
        self._clerk = Clerk(self._store, mailbox, clock=SYSTEM_CLOCK, patience_seconds=settings.lock_timeout_seconds)
        self._loop = Loop(
            pools,
            ledger=self._ledger,
            launchers=launchers,
            killer=killer,
            meter=self._meter,
            clerk=self._clerk,
            mailbox=mailbox,
            page=page,
            clock=SYSTEM_CLOCK,
            doorbell=self._ears,
            redaction=redaction,
            reload_terms=self._reconfiguring.read_again,
            connection_mode=lambda: self._store.connection_mode,
        )
        redaction.job_of = pools.job_of
        self._loop.reporting.remarks = lambda: self._reconfiguring.remarks
        watched = settings.pools if handover.errand is None else ()  # an errand ends on the code with which it began
        self._watcher = Watcher(watched, post=mailbox.post, clock=SYSTEM_CLOCK)
        self._deaths = DeathWatch(self._store, lease_seconds=settings.lease_seconds, clock=SYSTEM_CLOCK)
        self._renewing = renewing_threads(
            self._store,
            self._membership,
            self._deaths,
            ledger=self._ledger,
            mailbox=mailbox,
            window=self._window,
            lease_seconds=settings.lease_seconds,
            report=lambda: self._loop.reporting.text,
        )

    def run(self) -> int:
        """Join the store, serve, leave in order; returns the exit code."""
        self._window.open(since_ns=SYSTEM_CLOCK.boottime_ns())
        sweep_leftovers(self._settings.state_dir, own_node=self._handover.node_id, users=self._users)
        self._awaiting.until_done(self._join)
        if self._handover.no_cgroup is not None:
            events.emit(events.Alerted(text=f"jobs are killed without cgroup.kill: {self._handover.no_cgroup}"))
        own = (self._ledger, self._clerk, self._killer, self._leaves.usher, self._meter, self._watcher)
        for thread in (*self._renewing, *own):
            thread.start()
        self._announce(own)
        self._open_desk()
        code = self._loop.run()
        return self._leave(code)

    def _join(self) -> None:
        join(self._store, self._membership, self._deaths, settings=self._settings, kill_level=self._leaves.level)

    def _announce(self, threads: Sequence[threading.Thread]) -> None:
        """From now on the service manager is told how it goes."""
        signs = {each.name: each.sign for each in (*self._renewing, self._ledger, self._clerk)}
        vigil = Vigil((*self._renewing, *threads), signs, bound_seconds=self._settings.hung_seconds)
        self._loop.reporting.announcing = open_announcing(
            self.pools,
            self._notifier,
            self._store,
            vigil=vigil,
            watchdog_usec=self._handover.watchdog_usec,
            commits=lambda: self._ledger.commits,
            clock=SYSTEM_CLOCK,
        )

    def _open_desk(self) -> None:
        """An errand answers nobody: it ends on the code with which it began."""
        if self._handover.errand is None:
            self._desk = open_desk(
                self._settings.state_dir,
                self._loop,
                self._launchers,
                killer=self._killer,
                reconfiguring=self._reconfiguring,
                make_launcher=self._make_launcher,
                clock=SYSTEM_CLOCK,
            )

    def _leave(self, code: int) -> int:
        """Write what is left, then give up the node: its last worker is gone."""
        self._notifier.tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={_LEAVING_USEC}")
        if self._desk is not None:
            self._desk.close()
        self._watcher.leave()
        self._page[STOPPING] = 1  # the loop is silent from now on, but not hung
        self._clerk.finish(timeout_seconds=_LAST_WRITES_SECONDS)
        written = self._ledger.finish(timeout_seconds=_LAST_WRITES_SECONDS)
        for thread in self._renewing:
            thread.leave()
        if self._ears is not None and self._bell is not None:
            self._bell.leave(self._ears)
        events.emit(events.Left(jobs_ended=self._loop.recorded))
        if not written:
            return code or EXIT_STORE_AWAY
        self._membership.remove_lock()
        self._store.close()
        return code

    def _reconfigure(self, settings: Settings) -> None:
        """What is live beside the pools and the log."""
        self._maintenance.change(rules_of(settings))
        self._killer.change(stuck_ns=int(settings.kill_stuck_seconds * SECOND_NS))
        self._membership.users = (*self._users, *other_users(settings.pools))
        if self._handover.errand is None:
            self._watcher.change(each for each in settings.pools if each.name in self.pools.by_name)


def _listen(bell: Bell | None) -> socket.socket | None:
    """The doorbell; without one (a file system that holds no sockets) the ledger's own looks find new jobs."""
    try:
        return None if bell is None else bell.listen("node")
    except OSError as error:
        events.emit(events.Alerted(text=f"no doorbell, new jobs are found a little later: {error}"))
        return None


def draw_jitter() -> float:
    """A number in [0.5, 1]."""
    return random.uniform(0.5, 1)  # noqa: S311 - spreads retries, guards nothing
