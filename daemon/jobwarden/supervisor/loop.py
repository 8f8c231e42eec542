"""The loop: one selector turns readiness and time into facts for the pool and performs what the pool wants.

It holds no policy and never touches the database. Everything that it does is non-blocking. Runs in the main thread,
which is the only one that starts templates and reaps known children.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections import deque
from typing import TYPE_CHECKING, Any

from jobwarden import events
from jobwarden.clock import MILLISECOND_NS, SECOND_NS
from jobwarden.errors import JobwardenError
from jobwarden.store.bell import drain
from jobwarden.store.work import GiveBack, ProgressNote, ProlongNote
from jobwarden.supervisor import effects as do
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.clerk import refusal
from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.killer import Killer, Removal
from jobwarden.supervisor.nursery import Nursery
from jobwarden.supervisor.publishing import published_types
from jobwarden.supervisor.redaction import OUT_OF_TIME
from jobwarden.supervisor.reporting import Reporting
from jobwarden.supervisor.signals import KEEPER_LOST, catch_signals
from jobwarden.supervisor.telling import tell_end
from jobwarden.wire.page import ALIVE, TRUSTED_UNTIL

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from jobwarden.clock import Clock
    from jobwarden.supervisor.clerk import Clerk
    from jobwarden.supervisor.launcher import Launcher
    from jobwarden.supervisor.ledger import Ledger
    from jobwarden.supervisor.mailbox import Mailbox
    from jobwarden.supervisor.meter import Meter
    from jobwarden.supervisor.pools import Pools
    from jobwarden.supervisor.redaction import Redaction
    from jobwarden.wire.page import SharedPage

_LONGEST_TURN_NS = SECOND_NS // 2
_LOOK_EVERY_NS = 2 * MILLISECOND_NS
"""The store is looked at once per 2 ms at most, however often the doorbell rings."""
_ASKED_TOO_LATE = "this attempt of the job is not running any more, so nothing is done for it"
EXIT_KEEPER_LOST = 71


class Loop:
    """Owns the selector; `run` is the supervisor's main thread."""

    def __init__(
        self,
        pools: Pools,
        *,
        ledger: Ledger,
        launchers: Mapping[str, Launcher],
        killer: Killer,
        meter: Meter,
        clerk: Clerk,
        mailbox: Mailbox,
        page: SharedPage,
        clock: Clock,
        doorbell: socket.socket | None,
        redaction: Redaction,
        reload_terms: Callable[[], list[seen.TermsChanged]],
        connection_mode: Callable[[], str],
    ) -> None:
        """`reload_terms` reads the configuration again; empty if that is not valid now.

        `connection_mode` says how the store tells of news, for people.
        """
        self.pools = pools
        self.exit_code = 0
        self._keeper_pid = os.getppid()
        self.recorded = 0
        self.after_turn: Callable[[], None] = lambda: None
        self.reporting = Reporting(pools, ledger, clock=clock, connection_mode=connection_mode)
        self._ledger = ledger
        self._killer = killer
        self._clerk = clerk
        self._mailbox = mailbox
        self._page = page
        self._clock = clock
        self._doorbell = doorbell
        self.redaction = redaction
        self._reload_terms = reload_terms
        self.selector = selectors.DefaultSelector()
        self._facts: deque[seen.Input] = deque()
        self._entries = Entries()
        self._look_at_ns: int | None = None
        self._last_look_ns = 0
        self._running = True
        self.nursery = Nursery(launchers, killer, self.selector, page=page, feed=self._facts.append)
        self.reporting.kill_level = self.nursery.leaves.level
        self.reporting.kill_level_of = self.nursery.kill_level_of
        self._perform: dict[type, Callable[[Any], None]] = {
            do.AskClaim: self._ask_claim,
            do.Dispatch: self._dispatch,
            do.TakeBack: self._take_back,
            do.StopSoftly: self._stop_softly,
            do.AnswerProlong: self._answer_prolong,
            do.AskStore: self._ask_store,
            do.RefuseAsk: lambda it: self.nursery.answer(it.slot, refusal(it.number, JobwardenError(_ASKED_TOO_LATE))),
            do.Retire: lambda it: self.nursery.retire(it.slot),
            do.KillTree: self._kill_tree,
            do.Measure: meter.measure,
            do.SweepTree: self._sweep_tree,
            do.Record: self._record,
            do.GiveBackJob: lambda it: self._entries.give_backs.append(GiveBack(it.job_id, it.fence)),
            do.NoteProgress: lambda it: self._entries.progress.append(ProgressNote(it.job_id, it.fence, it.percent)),
            do.NoteProlonged: lambda it: self._entries.prolongs.append(ProlongNote(it.job_id, it.fence, it.ms)),
            do.NoteCleared: self._note_cleared,
            do.ForkWorker: lambda it: self.nursery.fork(it.slot, it.generation),
            do.StartTemplate: lambda it: self.nursery.templates.start(
                it.generation, pool=it.pool, restore=it.restore, without=it.without
            ),
            do.EndTemplate: lambda it: self.nursery.templates.end(it.generation, why=it.why),
            do.NoteServed: self._note_served,
            do.Rejoin: self._rejoin,
            do.Alert: self._alert,
            do.Leave: self._leave,
        }

    def run(self) -> int:
        """Serve until the pool wants to leave; returns the exit code."""
        signals = catch_signals()
        self.selector.register(self._mailbox.descriptor, selectors.EVENT_READ, self._open_mail)
        self.selector.register(signals, selectors.EVENT_READ, lambda: self._take_signals(signals))
        if self._doorbell is not None:
            self.selector.register(self._doorbell, selectors.EVENT_READ, self._hear_doorbell)
        self._facts.append(seen.ReloadAsked())
        while self._running:
            self._turn()
        return self.exit_code

    # a turn

    def _turn(self) -> None:
        now = self._now()
        ready = self.selector.select(self._patience(now) / SECOND_NS) if not self._facts else ()
        now = self._now()
        self._page[ALIVE] = now.ns
        self._check_trust()
        for key, _events in ready:
            key.data()
        if self._look_at_ns is not None and self._look_at_ns <= now.ns:
            self._look(now)
        due = self.pools.next_ns()
        if due is not None and due <= now.ns:
            self._facts.append(seen.Ticked())
        self.nursery.tend(now)
        self._settle(now)
        self.after_turn()
        self.reporting.tend(now, recorded=self.recorded)

    def _now(self) -> seen.Moment:
        return seen.Moment(self._clock.monotonic_ns(), self._clock.now_us())

    def _patience(self, now: seen.Moment) -> int:
        waits = [at - now.ns for at in (self.pools.next_ns(), self._look_at_ns) if at is not None]
        if self.pools.trusted:
            waits.append(self._page[TRUSTED_UNTIL] - self._clock.boottime_ns())
        return max(0, min(_LONGEST_TURN_NS, *waits)) if waits else _LONGEST_TURN_NS

    def _settle(self, now: seen.Moment) -> None:
        """Handle facts until there are none; then hand what is to be written to the ledger, at once."""
        facts, handle, perform, clean = self._facts, self.pools.handle, self._perform, self.redaction.of_fact
        while facts:
            for effect in handle(clean(facts.popleft()), now):
                perform[type(effect)](effect)
        if not self._entries.empty:
            self._ledger.submit(self._entries)
            self._entries = Entries()

    def _check_trust(self) -> None:
        trusted = self._clock.boottime_ns() < self._page[TRUSTED_UNTIL]
        if trusted != self.pools.trusted:
            self._facts.append(seen.TrustBack() if trusted else seen.TrustLost())

    # what wakes it

    def _open_mail(self) -> None:
        for fact in self._mailbox.take():
            if isinstance(fact, seen.Cleared):
                self.nursery.forget(fact.slot)
            self._facts.append(fact)
        for slot, answer in self._mailbox.take_answers():
            self.nursery.answer(slot, answer)

    def _hear_doorbell(self) -> None:
        if self._doorbell is not None:
            drain(self._doorbell)
        if self._look_at_ns is None:
            self._look_at_ns = self._last_look_ns + _LOOK_EVERY_NS

    def _look(self, now: seen.Moment) -> None:
        self._look_at_ns, self._last_look_ns = None, now.ns
        self._entries.look = True
        self._facts.append(seen.Rang())

    def _take_signals(self, signals: socket.socket) -> None:
        for number in signals.recv(64):
            if number == OUT_OF_TIME or (number == KEEPER_LOST and os.getppid() == self._keeper_pid):
                continue  # anybody may send that signal
            name = signal.Signals(number).name
            if number == signal.SIGHUP:
                self.reload()
                continue
            events.emit(events.Leaving(signal="keeper lost" if number == KEEPER_LOST else name))
            if number == KEEPER_LOST:
                self.exit_code = EXIT_KEEPER_LOST
            self._facts.append(seen.StopAsked(now=number in {signal.SIGQUIT, KEEPER_LOST}))

    def reload(self, pool: str | None = None) -> None:
        """Load the handlers of one pool again, or all and the configuration."""
        self.reporting.reload_began(pool)
        if pool is None:
            self._facts.extend(self._reload_terms())
            self._entries.secrets = self.redaction.rows
        self._facts.append(seen.ReloadAsked(pool))

    # what the pool wants

    def _ask_claim(self, effect: do.AskClaim) -> None:
        self._entries.claims[effect.pool] = effect

    def _dispatch(self, effect: do.Dispatch) -> None:
        try:
            self.nursery.send(effect.slot, effect.job)
        except BlockingIOError:
            self._facts.append(seen.TookBack(effect.slot, (effect.job.attempt,)))

    def _take_back(self, effect: do.TakeBack) -> None:
        channel = self.nursery.channels.get(effect.slot)
        if channel is not None:
            self._facts.append(seen.TookBack(effect.slot, channel.take_back()))

    def _stop_softly(self, effect: do.StopSoftly) -> None:
        self.nursery.channels[effect.slot].stop_softly(effect.attempt, effect.why)

    def _answer_prolong(self, effect: do.AnswerProlong) -> None:
        channel = self.nursery.channels.get(effect.slot)
        if channel is not None:
            channel.answer_prolong(effect.attempt, granted=effect.granted)

    def _ask_store(self, effect: do.AskStore) -> None:
        channel = self.nursery.channels[effect.slot]
        self._clerk.submit(effect.slot, effect.number, effect.verb, effect.arguments, waits=lambda: not channel.reaped)

    def _kill_tree(self, effect: do.KillTree) -> None:
        channel = self.nursery.channels[effect.slot]
        dump = channel.dump if effect.dump else None
        self._killer.remove(
            Removal(effect.slot, pid=channel.pid or 0, pidfd=channel.pidfd, dump=dump, leaf=channel.leaf)
        )

    def _sweep_tree(self, effect: do.SweepTree) -> None:
        channel = self.nursery.channels[effect.slot]
        self._killer.remove(Removal(effect.slot, pid=channel.pid or 0, pidfd=None, dump=None, leaf=channel.leaf))

    def _record(self, effect: do.Record) -> None:
        ending = effect.ending
        self.recorded += 1
        self._entries.endings.append(ending)
        tell_end(ending, job_type=effect.job_type)

    def _note_cleared(self, effect: do.NoteCleared) -> None:
        events.emit(
            events.TreeCleared(slot=effect.slot, pid=effect.pid, job_id=effect.job_id, lateness_ms=effect.lateness_ms)
        )

    def _note_served(self, effect: do.NoteServed) -> None:
        self.reporting.hurry()
        self.redaction.serve(self.pools.handlers)
        self._entries.types_published = published_types(self.pools.handlers)
        self._entries.secrets = self.redaction.rows
        self.nursery.templates.serve(effect.generation, pool=effect.pool)
        events.emit(
            events.GenerationServed(
                generation=effect.generation,
                content_hash=effect.content_hash,
                types=list(effect.types),
                pool=effect.pool,
            )
        )

    def _alert(self, effect: do.Alert) -> None:
        self.reporting.note()
        events.emit(events.Alerted(text=effect.text, pool=effect.pool))

    def _rejoin(self, _effect: do.Rejoin) -> None:
        self._entries.rejoin = True

    def _leave(self, _effect: do.Leave) -> None:
        self._running = False
