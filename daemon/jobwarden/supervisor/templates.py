"""All living templates: starts them, reads what they write while they load and fork, sees them die.

Part of the nursery, which hears of workers through `births`; turns everything else into facts through `feed`. Decides
nothing. Runs in the loop's thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
from functools import partial
from typing import TYPE_CHECKING, Protocol

from jobwarden import events
from jobwarden.errors import FrameError
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.killer import Removal, end_group
from jobwarden.supervisor.refusal import describe, failure_of, ready_of, refusal_of
from jobwarden.supervisor.snapshots import Snapshots
from jobwarden.wire import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobwarden.supervisor.killer import Killer
    from jobwarden.supervisor.launcher import Launcher, Template

_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Errors that have nothing to do with the code, nor with the configuration."""
_MOST_READS = 4
"""Of one stream in a row; one takes what the buffer holds. A child that writes on and on must not hold the loop."""


class Births(Protocol):
    """Who is told of the workers that templates fork."""

    def forked(self, template: Template, forked: messages.Forked) -> None:
        """The worker exists. Raises FrameError if it does not."""

    def unborn(self, template: Template, slot: int, why: str) -> None:
        """It does not, and will not."""


class Templates:
    """By their generations."""

    def __init__(
        self,
        launchers: Mapping[str, Launcher],
        killer: Killer,
        selector: selectors.BaseSelector,
        *,
        births: Births,
        feed: Callable[[seen.Input], None],
    ) -> None:
        """`launchers` by the names of their pools; `feed` takes facts for the pools."""
        self._living: dict[int, Template] = {}
        self._snapshots = Snapshots()
        self._launchers = launchers
        self._killer = killer
        self._selector = selector
        self._births = births
        self._feed = feed

    def get(self, generation: int) -> Template | None:
        """The template of this generation, if it lives."""
        return self._living.get(generation)

    def start(self, generation: int, *, pool: str, restore: bool, without: tuple[str, ...] = ()) -> None:
        """Start loading this generation, from the disk or from the bytes of the one that the pool serves."""
        try:
            snapshot = self._snapshots.of(generation, pool=pool, restore=restore)
            template = self._launchers[pool].start_template(
                generation, snapshot=snapshot, restore=restore, without=without
            )
        except OSError as error:  # no process, memory or descriptor is to be had: a fork bomb, for example
            why, again = self._launchers[pool].why_not_started(error), error.errno in _PASSING
            self._feed(seen.TemplateFailed(generation, why, again=again))
            return
        self._living[generation] = template
        self._watch(template.control, partial(self._hear, template))
        self._watch(template.pidfd, partial(self._see_dead, template))

    def end(self, generation: int, *, why: str | None = None) -> None:
        """It is not needed any more; or it is ended before it has loaded, for this reason."""
        template = self._living.get(generation)
        if template is not None:
            template.ended_because = why or template.ended_because
            with contextlib.suppress(ProcessLookupError):
                template.kill()

    def serve(self, generation: int, *, pool: str) -> None:
        """It became current: its bytes, and its settings, are those to restore."""
        self._snapshots.keep_only(generation, pool=pool)
        self._launchers[pool].serve(generation)

    def _hear(self, template: Template) -> bool:
        try:
            found, ended = template.receive()
            for message in found:
                self._take(template, message)
        except FrameError as error:
            events.emit(events.Alerted(text=f"{error}; it is ended", pool=template.pool))
            self._unwatch(template.control)
            self.end(template.generation, why=str(error))
            return False
        if ended:
            self._unwatch(template.control)
            self.end(template.generation)
        return bool(found)

    def _take(self, template: Template, message: messages.FromTemplate) -> None:
        match message:
            case messages.Began():
                self._feed(seen.TemplateBegan(template.generation, message.content_hash))
            case messages.Importing():
                pass  # the template has noted it
            case messages.Loaded():
                self._take_loaded(template, message)
            case messages.Unfit():
                template.loaded = True  # as far as it goes: what is wrong is told
                self._refuse(template, self._launchers[template.pool].why_unfit(message))
            case messages.Forked():
                template.require_owed(message.slot)
                self._births.forked(template, message)
            case messages.ForkFailed():
                template.require_owed(message.slot)
                self._births.unborn(template, message.slot, message.error)

    def _take_loaded(self, template: Template, loaded: messages.Loaded) -> None:
        template.loaded = True
        why = refusal_of(loaded)
        if why is not None:
            self._refuse(template, why, file=loaded.threads_of)
        else:
            self._feed(ready_of(template.generation, loaded))

    def _refuse(self, template: Template, why: str, *, file: str | None = None) -> None:
        self._feed(seen.TemplateFailed(template.generation, why, file))
        self.end(template.generation)

    def _see_dead(self, template: Template) -> None:
        end_group(template.pid)
        pid, status, _usage = os.wait4(template.pid, os.WNOHANG)
        if not pid:
            return
        for _ in range(_MOST_READS):
            if not self._hear(template):
                break
        self._unwatch(template.control)
        self._unwatch(template.pidfd)
        self._launchers[template.pool].census.known.discard(template.pid)
        for slot in list(template.forking):
            self._births.unborn(template, slot, "its template died")
        handlers = self._launchers[template.pool].pool.handlers
        failure = failure_of(template, exit_code=os.waitstatus_to_exitcode(status), handlers=handlers)
        del self._living[template.generation]
        template.close()
        self._killer.remove(Removal(0, pid=template.pid, pidfd=None, dump=None))
        if template.loaded:
            self._feed(seen.TemplateGone(template.generation))
        else:
            self._feed(seen.TemplateFailed(template.generation, describe(failure), template.importing))

    def _watch(self, what: object, react: Callable[[], object]) -> None:
        self._selector.register(what, selectors.EVENT_READ, react)  # type: ignore[arg-type]

    def _unwatch(self, what: object) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(what)  # type: ignore[arg-type]
