"""All templates and workers as processes and sockets: starts them, reads what they write, sees them die.

Turns everything into facts through `feed`; decides nothing. Runs in the loop's thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
from functools import partial
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.clock import SECOND_NS
from jobwarden.errors import FrameError
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.cgroup import level_of
from jobwarden.supervisor.killer import end_group, open_child
from jobwarden.supervisor.refusal import describe
from jobwarden.supervisor.templates import Templates
from jobwarden.wire import messages
from jobwarden.wire.exits import EXIT_UNTRUSTED
from jobwarden.wire.page import SWEEP_BEGAN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.supervisor.channel import Channel
    from jobwarden.supervisor.killer import Killer
    from jobwarden.supervisor.launcher import Launcher, Template
    from jobwarden.wire.page import SharedPage

_SIGKILL = 9
_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
_MOST_READS = 4
"""Of one stream in a row; one takes what the buffer holds. A child that writes on and on must not hold the loop."""


class Nursery:
    """The registry of living workers (by slot), and the templates that fork them."""

    def __init__(
        self,
        launchers: Mapping[str, Launcher],
        killer: Killer,
        selector: selectors.BaseSelector,
        *,
        page: SharedPage,
        feed: Callable[[seen.Input], None],
    ) -> None:
        """`launchers` by the names of their pools; `feed` takes facts for the pools."""
        self.channels: dict[int, Channel] = {}
        self._launchers = launchers
        self._killer = killer
        first = next(iter(launchers.values()))
        self.leaves, self._census = first.leaves, first.census
        self._selector = selector
        self._page = page
        self._feed = feed
        self._tend_at_ns = 0
        self.templates = Templates(launchers, killer, selector, births=self, feed=feed)

    def fork(self, slot: int, generation: int) -> None:
        """Have this generation's template fork a worker."""
        template = self.templates.get(generation)
        if template is None:
            self._feed(seen.Unborn(slot, f"the template of generation {generation} is gone"))
            return
        try:
            self.channels[slot] = self._launchers[template.pool].fork(template, slot)
        except OSError as error:
            self._feed(seen.Unborn(slot, f"no sockets for it: {error.strerror}"))

    def unborn(self, template: Template, slot: int, why: str) -> None:
        """By the templates: no worker was born, nor will be, for this slot."""
        self._launchers[template.pool].fork_answered(template, slot, pid=None)
        self.forget(slot)
        self._feed(seen.Unborn(slot, why))

    def forked(self, template: Template, forked: messages.Forked) -> None:
        """By the templates: the worker exists. Raises FrameError if it is no child of ours, or one of another name.

        A handler file can write in its template's name; what is killed and waited for is what the kernel calls ours.
        """
        pidfd = None if forked.pid in self._census.known else open_child(forked.pid)
        if pidfd is None:
            text = f"the template of generation {template.generation} called process {forked.pid} its worker"
            raise FrameError(text)
        self._launchers[template.pool].fork_answered(template, forked.slot, pid=forked.pid)
        channel = self.channels[forked.slot]
        channel.born(forked.pid, pidfd, usher=self.leaves.usher)
        channel.sweep_seen = self._page[SWEEP_BEGAN]
        self._watch(channel.control, partial(self._hear_worker, channel))
        self._watch(channel.talk, partial(self.hear_talk, channel))
        self._watch(channel.capture.descriptor, partial(self._hear_capture, channel))
        self._watch(channel.pidfd or 0, partial(self._see_worker_dead, channel))
        self._feed(seen.Born(forked.slot, forked.pid))

    def send(self, slot: int, job: ClaimedJob) -> None:
        """Send the job to this worker; what its stream does not take now follows.

        BlockingIOError: its queue is full, or it is dead, which the pool is about to hear.
        """
        channel = self.channels[slot]
        if channel.reaped:
            raise BlockingIOError
        channel.send(job)
        self._send_the_rest(channel)

    def answer(self, slot: int, answer: messages.Answer) -> None:
        """Send what the slot's job has asked for; nothing if it is gone."""
        channel = self.channels.get(slot)
        if channel is not None and not channel.reaped:
            channel.answer(answer)
            self._send_the_rest(channel)

    def _send_the_rest(self, channel: Channel) -> None:
        if channel.unsent:
            self._await(channel, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _await(self, channel: Channel, wanted: int) -> None:
        with contextlib.suppress(KeyError):  # its stream has ended, its death follows
            key = self._selector.get_key(channel.control)
            self._selector.modify(channel.control, wanted, key.data)

    def _hear_capture(self, channel: Channel) -> None:
        channel.capture.read_some()
        if channel.capture.ended:  # a handler closed everything; an ended pipe is readable for ever
            self._unwatch(channel.capture.descriptor)

    def hear_talk(self, channel: Channel) -> None:
        """What the worker asks about its time."""
        try:
            found = channel.hear_talk()
        except FrameError as error:
            events.emit(events.Alerted(text=f"{error}; it is killed"))
            self._unwatch(channel.talk)
            channel.kill()
            return
        except EOFError:
            self._unwatch(channel.talk)
            return
        # Whoever asks has written the end of the job before it: the pool must hear of that first.
        self._hear_worker_out(channel)
        for each in found:
            self._feed(seen.ProlongAsked(channel.slot, (each.job_id, each.fence), each.ms))

    def _hear_worker_out(self, channel: Channel) -> None:
        """All that it has written so far; what a child of it goes on writing has to wait."""
        for _ in range(_MOST_READS):
            if not self._hear_worker(channel):
                return

    def _hear_worker(self, channel: Channel) -> bool:
        if channel.unsent and channel.flush():
            self._await(channel, selectors.EVENT_READ)
        try:
            found, ended = channel.receive()
            for message in found:
                self._take_from_worker(channel, message)
        except FrameError as error:
            events.emit(events.Alerted(text=f"{error}; it is killed"))
            self._unwatch(channel.control)
            channel.kill()
            return False
        if ended:  # dead, or it closed our socket: useless in both cases
            self._unwatch(channel.control)
            channel.kill()
        return bool(found)

    def tend(self, now: seen.Moment) -> None:
        """Now and then: end workers whose sockets a job has put out of step for good."""
        if now.ns < self._tend_at_ns:
            return
        self._tend_at_ns = now.ns + SECOND_NS
        for channel in self.channels.values():
            if channel.is_torn():
                events.emit(events.Alerted(text=f"worker {channel.pid} does not end a message; it is killed"))
                channel.kill()

    def _take_from_worker(self, channel: Channel, message: messages.FromWorker) -> None:
        match message:
            case messages.Done():
                captured = channel.capture.cut(message.fence) if message.marked else None
                self._feed(seen.Reported(channel.slot, message, captured))
            case messages.Progress():
                self._feed(seen.ProgressMade(channel.slot, message.fence, message.percent))
            case messages.Heartbeat():
                self._feed(seen.Beaten(channel.slot, message.fence))
            case messages.Ask():
                channel.note_ask()
                self._feed(seen.Asked(channel.slot, message.fence, message.number, message.verb, message.arguments))
            case messages.Hello():
                self._greet(channel, message)
            case messages.Unready():
                channel.tell_hooks_at_start(marked=message.marked)
                self._feed(seen.Unready(channel.slot, describe(message.problem)))

    def _greet(self, channel: Channel, hello: messages.Hello) -> None:
        channel.tell_hooks_at_start(marked=hello.marked)
        self._feed(seen.Ready(channel.slot, hello.takes_leave, hello.memory_kb, hello.processes))
        events.emit(events.WorkerBorn(slot=channel.slot, pid=hello.pid, generation=channel.generation))

    def retire(self, slot: int) -> None:
        """Tell this idle worker that it is not needed any more."""
        self.channels[slot].retire()
        self._send_the_rest(self.channels[slot])

    def _see_worker_dead(self, channel: Channel) -> None:
        if channel.leaf is not None and channel.leaf.entering:
            return  # in a few milliseconds; until then its pid must stay its own
        end_group(channel.pid or 0)
        pid, status, usage = os.wait4(channel.pid or 0, os.WNOHANG)
        if not pid:
            return
        channel.reaped = True
        self._hear_worker_out(channel)
        for watched in (channel.control, channel.talk, channel.capture.descriptor, channel.pidfd or 0):
            self._unwatch(watched)
        self._census.known.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        number = -code if code < 0 else None
        swept = number == _SIGKILL and self._page[SWEEP_BEGAN] != channel.sweep_seen
        self._feed(
            seen.Died(
                channel.slot,
                signal=number,
                exit_code=code if code >= 0 else None,
                cpu_ms=int((usage.ru_utime + usage.ru_stime) * 1000),
                peak_rss_kb=usage.ru_maxrss,
                fenced=swept or code == EXIT_UNTRUSTED,
                captured=channel.last_words(),
            )
        )
        events.emit(events.WorkerDied(slot=channel.slot, pid=pid, signal=number, exit_code=max(code, 0)))
        # After Died, or the pool would take the dead worker for an idle one and send it the next job.
        self._feed(seen.TookBack(channel.slot, channel.take_back()))

    def kill_level_of(self, slot: int) -> str:
        """How far a kill of this slot's worker reaches."""
        channel = self.channels.get(slot)
        return level_of(None if channel is None else channel.leaf)

    def forget(self, slot: int) -> None:
        """Nothing of this worker is left: give its descriptors back."""
        channel = self.channels.pop(slot, None)
        if channel is not None:
            channel.close()

    # the selector

    def _watch(self, what: object, react: Callable[[], object]) -> None:
        self._selector.register(what, selectors.EVENT_READ, react)  # type: ignore[arg-type]

    def _unwatch(self, what: object) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(what)  # type: ignore[arg-type]
