"""A trial: handlers are imported in a template that never serves, for `jobwarden reload --check`.

Its template has the interpreter, the environment and the user of its pool, so it finds what a reload would find. Its
bytes are thrown away with it. Runs in the loop's thread; one at a time, as its template takes as much memory as one
that serves.
"""

from __future__ import annotations

import contextlib
import os
import selectors
from typing import TYPE_CHECKING

from jobwarden.clock import SECOND_NS
from jobwarden.errors import FrameError, InvalidSettingsError
from jobwarden.supervisor.killer import Removal, end_group
from jobwarden.supervisor.refusal import describe, failure_of, refusal_of
from jobwarden.supervisor.visits import Found
from jobwarden.wire.messages import Loaded, Unfit

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.clock import Clock
    from jobwarden.supervisor.killer import Killer
    from jobwarden.supervisor.launcher import Launcher, Template
    from jobwarden.supervisor.visits import Trial

NO_GENERATION = 0
"""A trial has no number among the generations."""
_MOST_READS = 4


class Trials:
    """Begins one trial at a time."""

    def __init__(
        self,
        launcher_of: Callable[[str], Launcher],
        killer: Killer,
        selector: selectors.BaseSelector,
        *,
        clock: Clock,
    ) -> None:
        """`launcher_of` makes a launcher for one trial of this pool; it raises InvalidSettingsError."""
        self._launcher_of = launcher_of
        self._killer = killer
        self._selector = selector
        self._clock = clock
        self._current: TemplateTrial | None = None

    def begin(self, pool: str) -> Trial | None:
        """Start the template of this pool's trial; None while another one is there."""
        if self._current is not None and not self._current.gone:
            return None
        try:
            launcher = self._launcher_of(pool)
        except InvalidSettingsError as error:
            return StillbornTrial(pool, str(error))
        snapshot = os.memfd_create("jobwarden-trial", os.MFD_CLOEXEC)
        try:
            template = launcher.start_template(NO_GENERATION, snapshot=snapshot)
        except OSError as error:
            return StillbornTrial(str(launcher.pool.handlers), launcher.why_not_started(error))
        finally:
            os.close(snapshot)
        self._current = TemplateTrial(template, launcher, self._killer, self._selector, clock=self._clock)
        return self._current


class StillbornTrial:
    """One that could not even begin."""

    def __init__(self, handlers: str, why: str) -> None:
        self.handlers = handlers
        self._why = why

    def look(self) -> Found:
        """Why."""
        return Found([], [self._why])

    def abandon(self) -> None:
        """There is nothing to end."""


class TemplateTrial:
    """One template that is looked at and ended."""

    def __init__(
        self,
        template: Template,
        launcher: Launcher,
        killer: Killer,
        selector: selectors.BaseSelector,
        *,
        clock: Clock,
    ) -> None:
        """It has been started and has `load_seconds`."""
        self.gone = False
        self.handlers = str(launcher.pool.handlers)
        self._template = template
        self._launcher = launcher
        self._killer = killer
        self._selector = selector
        self._clock = clock
        self._until_ns = clock.monotonic_ns() + int(launcher.pool.load_seconds * SECOND_NS)
        self._found: Found | None = None
        selector.register(template.control, selectors.EVENT_READ, self._hear)
        selector.register(template.pidfd, selectors.EVENT_READ, self._see_dead)

    def look(self) -> Found | None:
        """What was found, once the template is gone; one that takes too long is ended."""
        if not self.gone and self._found is None and self._clock.monotonic_ns() >= self._until_ns:
            self._template.ended_because = f"it did not load within {self._launcher.pool.load_seconds:g} s"
            self._end()
        return self._found if self.gone else None

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        if not self.gone:
            self._end()

    def _hear(self) -> bool:
        if self.gone:
            return False
        try:
            found, ended = self._template.receive()
        except FrameError as error:
            self._fail(str(error))
            return False
        for message in found:
            if isinstance(message, Loaded):
                self._take(message)
            elif isinstance(message, Unfit):
                self._fail(self._launcher.why_unfit(message))
        if ended:
            self._unwatch(self._template.control)
            self._end()
        return bool(found)

    def _take(self, loaded: Loaded) -> None:
        why = refusal_of(loaded)
        if why is not None:
            self._fail(why)
            return
        self._found = Found(loaded.handlers, [describe(each) for each in loaded.problems])
        self._end()

    def _fail(self, why: str) -> None:
        self._found = Found([], [why])
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._template.kill()

    def _see_dead(self) -> None:
        end_group(self._template.pid)
        pid, status, _usage = os.wait4(self._template.pid, os.WNOHANG)
        if not pid:
            return
        for _ in range(_MOST_READS):
            if not self._hear():
                break
        self._unwatch(self._template.control)
        self._unwatch(self._template.pidfd)
        self._launcher.census.known.discard(pid)
        if self._found is None:
            code, handlers = os.waitstatus_to_exitcode(status), self._launcher.pool.handlers
            self._found = Found([], [describe(failure_of(self._template, exit_code=code, handlers=handlers))])
        self._template.close()
        self._killer.remove(Removal(0, pid=pid, pidfd=None, dump=None))
        self.gone = True

    def _unwatch(self, what: object) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(what)  # type: ignore[arg-type]
