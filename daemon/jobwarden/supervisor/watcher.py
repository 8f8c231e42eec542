"""The watcher: a thread that notices saves under the handlers directories of all pools and asks for a reload.

Events say when to look; looks say what has changed, once it has come to rest; a hash says whether that is other code.
A look now and then finds what no event told of: a swapped link above the directory, another host's work on a network
drive. It reads files to hash them, but never runs or keeps what it reads: it may have more rights than the handlers
have. Started and ended by the service; posts `ReloadAsked`.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from jobwarden import events
from jobwarden.clock import MILLISECOND_NS, SECOND_NS
from jobwarden.sources.look import look
from jobwarden.sources.mounts import kind_of, tells_of_changes
from jobwarden.sources.tree import fingerprint
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.file_events import FileEvents
from jobwarden.supervisor.identity import trusted_in
from jobwarden.supervisor.quiet import Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jobwarden.clock import Clock
    from jobwarden.settings.pool import PoolSettings
    from jobwarden.sources.look import Identity, Look

RESCAN_NS = 5 * SECOND_NS
"""Between two looks without any sign, where the file system tells of changes."""
POLL_NS = SECOND_NS
"""And where it does not, or where `watch = "poll"` says so."""
_GLANCE_NS = 250 * MILLISECOND_NS
"""Between two glances at the directory itself, which a swapped link replaces without an event in it."""
_SHARE = 20
"""A look that took so long is followed by a pause that many times as long."""
_LEAVE_SECONDS = 2.0


class _Wanted(NamedTuple):
    """One pool's directory as it is to be watched."""

    pool: str
    directory: str
    polled: bool
    trusted: tuple[int, ...] | None


@dataclass(slots=True)
class _Watched:
    """One pool's directory."""

    wanted: _Wanted
    """As it was asked for."""
    pool: str
    directory: str
    polled: bool
    trusted: tuple[int, ...] | None
    quiet: Quiet = field(default_factory=Quiet)
    asked: str | None = None
    """The hash of the code for which a reload was asked last."""
    restless: bool = False
    """That was told."""
    hidden: bool = False
    """As was that the daemon's user may not see what is there."""
    look_at_ns: int = 0
    """The next look, if nothing happens before."""
    not_before_ns: int = 0


class Watcher(threading.Thread):
    """One for all pools; those with `watch = "off"` are left alone."""

    def __init__(self, pools: Iterable[PoolSettings], *, post: Callable[[seen.Input], None], clock: Clock) -> None:
        """`post` takes facts for the pools, from this thread."""
        super().__init__(name="watcher", daemon=True)
        self._watched: list[_Watched] = []
        self._wanted: list[_Wanted] | None = None
        """If that has changed."""
        self._post = post
        self._clock = clock
        self._leaving = threading.Event()
        self._changed = threading.Event()
        self._events = FileEvents(self._leaving)
        self._complained: str | None = None
        self.change(pools)

    def run(self) -> None:
        """Look, wait, look again, until `leave`."""
        while not self._leaving.is_set():
            self._take_over()
            if self._watched:
                self._turn()
            else:
                self._events.listen_to({})
                self._changed.wait()
        self._events.close()

    def change(self, pools: Iterable[PoolSettings]) -> None:
        """From any thread: from now on these."""
        wanted = [pool for pool in pools if pool.watch != "off"]
        self._wanted = [
            _Wanted(pool.name, os.fspath(pool.handlers), pool.watch == "poll", trusted_in(pool)) for pool in wanted
        ]
        self._changed.set()

    def _take_over(self) -> None:
        """Of a directory that stays, what is known of it stays."""
        if not self._changed.is_set():
            return
        self._changed.clear()
        known, wanted = {each.wanted: each for each in self._watched}, self._wanted or []
        self._watched = [known.get(each) or _Watched(each, *each) for each in wanted]
        for each in self._watched:
            if each.wanted not in known:
                self._tell_how(each)

    def leave(self) -> None:
        """From any thread: end soon."""
        self._leaving.set()
        self._changed.set()
        if self.is_alive():
            self.join(_LEAVE_SECONDS)

    def _turn(self) -> None:
        for each in self._watched:
            if self._clock.monotonic_ns() >= each.look_at_ns or _was_replaced(each):
                self._look(each)
        if self._events.listen_to(self._folders()):
            self._complain()  # other folders mean unrest, so another look follows, for what happened in between
        if self._events.wait(self._patience_ns() / SECOND_NS):
            self._hurry()

    def _folders(self) -> dict[str, Identity]:
        looks = (each.quiet.last for each in self._watched if not each.polled)
        return {path: identity for found in looks if found is not None for path, identity in found.folders.items()}

    def _patience_ns(self) -> int:
        now_ns = self._clock.monotonic_ns()
        return max(0, min(_GLANCE_NS, *(each.look_at_ns - now_ns for each in self._watched)))

    def _hurry(self) -> None:
        """Something has happened: the next looks come at once, as far as they do not cost too much."""
        now_ns = self._clock.monotonic_ns()
        for each in self._watched:
            if not each.polled:
                each.look_at_ns = min(each.look_at_ns, max(now_ns, each.not_before_ns))

    def _look(self, each: _Watched) -> None:
        began_ns = self._clock.monotonic_ns()
        found = look(each.directory)
        self._tell_hidden(each, found)
        if each.quiet.saw(found, now_ns=began_ns):
            self._read(each)
        now_ns = self._clock.monotonic_ns()
        each.not_before_ns = now_ns + _SHARE * (now_ns - began_ns)
        due_ns = each.quiet.due_ns()
        rest_ns = POLL_NS if each.polled or self._events.problem else RESCAN_NS
        each.look_at_ns = max(each.not_before_ns, now_ns + rest_ns if due_ns is None else due_ns)

    def _read(self, each: _Watched) -> None:
        """It is at rest: ask for a reload if what stands there is other code than the last time."""
        found = fingerprint(each.directory, at=each.quiet.last, trusted=each.trusted)
        if found is None:
            self._tell_restless(each)
            return
        each.quiet.was_read()
        each.restless = False
        if found != each.asked:
            each.asked = found
            self._post(seen.ReloadAsked(each.pool, found))

    # what people are told

    def _tell_how(self, each: _Watched) -> None:
        kind = kind_of(each.directory)
        each.polled = each.polled or not tells_of_changes(kind)
        events.emit(
            events.Watching(
                pool=each.pool, directory=each.directory, by="looks" if each.polled else "events", file_system=kind
            )
        )

    def _tell_restless(self, each: _Watched) -> None:
        if not each.restless and each.quiet.never_rests(now_ns=self._clock.monotonic_ns()):
            each.restless = True
            text = f"{each.directory} changes all the time; its code is loaded once it comes to rest"
            events.emit(events.Alerted(text=text))

    def _tell_hidden(self, each: _Watched, found: Look | None) -> None:
        """A pool of another user's loads what it may read; without this word its saves would be missed in silence."""
        hidden = (found is None or "." in found.files) and _is_hidden(each.directory)
        if hidden and not each.hidden:
            why = f"{each.directory} may not be listed by the daemon's user, so that no save there is noticed"
            events.emit(events.Alerted(text=f"{why}; let it list and read that, or ask for each `jobwarden reload`"))
        each.hidden = hidden

    def _complain(self) -> None:
        problem = self._events.problem
        if problem is not None and problem != self._complained:
            text = f"no events of saved handler files, they are looked for every second instead: {problem}"
            events.emit(events.Alerted(text=text))
        self._complained = problem


def _is_hidden(directory: str) -> bool:
    try:
        os.listdir(directory)  # noqa: PTH208 - only whether it can be done is wanted
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _was_replaced(each: _Watched) -> bool:
    """Whether the path leads to another directory than at the last look, or to none, or to one again."""
    last = each.quiet.last
    expected = None if last is None else last.folders.get(last.root)
    try:
        found = os.stat(each.directory)  # noqa: PTH116 - four times a second
    except OSError:
        return expected is not None
    return (found.st_dev, found.st_ino) != expected
