"""Starts templates by exec and has them fork workers; knows every process that is rightly ours.

Templates must be started from the main thread: their parent-death signal follows the thread (prctl(2)). The
supervisor itself never forks.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from jobwarden.errors import DistrustedError, FrameError
from jobwarden.settings.pool import HANDLER_ENVIRONMENT
from jobwarden.strict_modes import Guard
from jobwarden.supervisor.channel import Channel
from jobwarden.supervisor.configured import bounds_of
from jobwarden.supervisor.copy_folder import prepare_copies
from jobwarden.supervisor.identity import holds_passed_on_rights, identity_of, own_identity, trusted_in
from jobwarden.supervisor.interpreter import Interpreter
from jobwarden.supervisor.priority import set_priority
from jobwarden.wire import messages
from jobwarden.wire.frames import FrameReader, frame
from jobwarden.wire.template_terms import TemplateTerms, write_terms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jobwarden.settings.pool import PoolSettings
    from jobwarden.supervisor.census import Census
    from jobwarden.supervisor.cgroup import Leaves

_CONTROL, _PAGE, _SNAPSHOT, _DUMP = 3, 4, 5, 6
"""Descriptor numbers in the template."""
_ABOVE_TARGETS = 64
"""Sources are duplicated to numbers above the targets first, so that no dup2 overwrites another one's source."""
_NO_STDIN = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
"""The daemon's may be the terminal of somebody with more rights."""
_READ_BYTES = 262_144
_LARGEST_STACK = 65_536

NODE_MARKER = "JOBWARDEN_NODE"
"""In the environment of templates, and so of all their descendants that keep it: which node they belong to."""
PLACE_MARKER = "JOBWARDEN_STATE_DIR"
"""And which state directory; a new supervisor sweeps what an earlier one left there."""
_KEEP_BLOCK = {"SPT_NOENV": "1"}
"""setproctitle writes titles over the environment otherwise, and /proc/PID/environ shows no marker any more."""


def template_environment(
    pool: PoolSettings, *, state_dir: Path, node_id: str, environment: Mapping[str, str]
) -> dict[str, str]:
    """The built environment of a pool's templates: an allow-list and the markers; no secret ever enters it."""
    patterns = (*HANDLER_ENVIRONMENT, *pool.worker_environment)
    built = {name: value for name, value in environment.items() if any(fnmatchcase(name, each) for each in patterns)}
    return {**built, **_KEEP_BLOCK, NODE_MARKER: node_id, PLACE_MARKER: str(state_dir.resolve())}


class Template:
    """One template process as the supervisor sees it."""

    def __init__(self, generation: int, *, pool: str, pid: int, control: socket.socket, dump: int) -> None:
        """`control` is our end of its stream, `dump` the memfd for the stack of a load that fails."""
        self.generation = generation
        self.pool = pool
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.control = control
        self.loaded = False
        self.importing: str | None = None
        """The file whose code runs, or ran last."""
        self.ended_because: str | None = None
        self._dump = dump
        self.forking: set[int] = set()
        """Slots whose Fork it has not answered."""
        self._reader = FrameReader()

    def receive(self) -> tuple[list[messages.FromTemplate], bool]:
        """Messages, and whether the stream has ended. Raises FrameError for garbage.

        Descriptors that come with them are not taken, so the kernel closes them: the code of a handler file may have
        written here as well as the template.
        """
        try:
            data = self.control.recv(_READ_BYTES)
        except BlockingIOError:
            return [], False
        except ConnectionResetError:
            return [], True
        if not data:
            return [], True
        try:
            found = [messages.decode_from_template(each) for each in self._reader.feed(data)]
        except ValueError as error:
            text = f"the template of generation {self.generation} wrote no message of ours: {error}"
            raise FrameError(text) from error
        self.importing = next(
            (each.file for each in reversed(found) if isinstance(each, messages.Importing)), self.importing
        )
        return found, False

    def require_owed(self, slot: int) -> None:
        """Raise FrameError unless it was asked for a worker for this slot, and has not answered."""
        if slot not in self.forking:
            text = f"the template of generation {self.generation} spoke of slot {slot}, for which nobody is to be born"
            raise FrameError(text)

    def kill(self) -> None:
        """End it at once; it holds nothing that could be lost."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def stack(self) -> str:
        """Where its load stood when it crashed or took too long, as faulthandler writes it; else empty."""
        return os.pread(self._dump, _LARGEST_STACK, 0).decode(errors="replace")

    def close(self) -> None:
        """Give all descriptors back."""
        self.control.close()
        os.close(self.pidfd)
        os.close(self._dump)


class _Setup:
    """How templates are started under one configuration."""

    def __init__(self, pool: PoolSettings, *, state_dir: Path, node_id: str, serves: bool) -> None:
        """Raises InvalidSettingsError for an unknown user or group."""
        self.pool = pool
        self.identity = identity_of(pool) or (own_identity() if holds_passed_on_rights() else None)
        self.trusted = trusted_in(pool)
        self.interpreter = Interpreter(pool.python, identity=self.identity)
        self.copies = prepare_copies(state_dir, pool=pool.name, identity=self.identity) if serves else None
        inherited = template_environment(pool, state_dir=state_dir, node_id=node_id, environment=os.environ)
        self.environment = self.interpreter.environment(inherited, asked=pool.worker_environment)

    def require_safe(self) -> None:
        """Raise OSError with our sentence if users who are not trusted can change the Python that the pool names."""
        if self.trusted is not None and self.pool.python is not None:
            try:
                Guard(self.trusted).require_way(self.interpreter.path)
            except DistrustedError as error:
                raise OSError(None, str(error)) from error

    def command(self, generation: int, *, restore: bool, without: tuple[str, ...]) -> list[str]:
        """The template's command line."""
        pool = self.pool
        terms = TemplateTerms(
            control_fd=_CONTROL,
            page_fd=_PAGE,
            snapshot_fd=_SNAPSHOT,
            # Absolute for another user, who may not be able to stand in the daemon's working directory.
            handlers=str(pool.handlers if self.identity is None else pool.handlers.absolute()),
            generation=generation,
            supervisor_pid=os.getpid(),
            max_output_bytes=pool.max_output_bytes,
            pool=pool.name,
            copies=None if self.copies is None else str(self.copies),
            restore=restore,
            without=without,
            dump_fd=_DUMP,
            load_seconds=pool.load_seconds,
            bounds=bounds_of(pool),
            trusted=self.trusted,
        )
        return self.interpreter.command(write_terms(terms), control=_CONTROL)


class Launcher:
    """Makes the templates and workers of one pool, and enters them in the census."""

    def __init__(
        self,
        pool: PoolSettings,
        *,
        state_dir: Path,
        node_id: str,
        page: int,
        census: Census,
        leaves: Leaves,
        serves: bool = True,
    ) -> None:
        """`page` is the descriptor of the shared page; what does not serve runs nothing, it only loads.

        Raises InvalidSettingsError for an unknown user or group.
        """
        self.census = census
        self.leaves = leaves
        self._page = page
        self._set_up = partial(_Setup, state_dir=state_dir, node_id=node_id, serves=serves)
        self._now = self._served = self._set_up(pool)
        self._started: dict[int, _Setup] = {}
        """By generation: with what a template was started that may serve yet."""

    @property
    def pool(self) -> PoolSettings:
        """The settings with which the next generation is loaded."""
        return self._now.pool

    def change(self, pool: PoolSettings) -> None:
        """The configuration was read again; what serves stays as it is. Raises InvalidSettingsError."""
        self._now = self._set_up(pool)

    def serve(self, generation: int) -> None:
        """It became current: when it is restored, it is started as it was, whatever the configuration says by then."""
        self._served = self._started.get(generation, self._served)
        self._started = {generation: self._served}

    def why_unfit(self, unfit: messages.Unfit) -> str:
        """One sentence: what is wrong with the pool's interpreter or user, and the way out."""
        return self._now.interpreter.why_unfit(unfit)

    def why_not_started(self, error: OSError) -> str:
        """One sentence for an error of `start_template`."""
        if isinstance(error, FileNotFoundError | PermissionError):
            return self._now.interpreter.why_not_started(str(error.strerror))
        return f"its template was not started: {error.strerror}"

    def start_template(
        self, generation: int, *, snapshot: int, restore: bool = False, without: tuple[str, ...] = ()
    ) -> Template:
        """Start a template by posix_spawn. Main thread only.

        It keeps the bytes that it loads in the memfd `snapshot`; with `restore` it loads those that are there, with the
        settings with which they have served. Files in `without` are not imported.
        """
        setup = self._started[generation] = self._served if restore else self._now
        setup.require_safe()
        dump = os.memfd_create("jobwarden-load", os.MFD_CLOEXEC)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        given = {theirs.fileno(): _CONTROL, self._page: _PAGE, snapshot: _SNAPSHOT, dump: _DUMP}
        sources = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _ABOVE_TARGETS) for each in given]
        command = setup.command(generation, restore=restore, without=without)
        self.census.asked += 1
        try:
            pid = os.posix_spawn(
                command[0],
                command,
                setup.environment,
                file_actions=[
                    _NO_STDIN,
                    *((os.POSIX_SPAWN_DUP2, *pair) for pair in zip(sources, given.values(), strict=True)),
                ],
                setsigmask=[],
                setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
            )
            self.census.known.add(pid)
            set_priority(pid, pool=setup.pool)
        except OSError:
            ours.close()
            os.close(dump)
            raise
        finally:
            self.census.answered += 1
            theirs.close()
            for source in sources:
                os.close(source)
        ours.settimeout(0)
        return Template(generation, pool=self.pool.name, pid=pid, control=ours, dump=dump)

    def fork(self, template: Template, slot: int) -> Channel:
        """Ask the template for a worker; answered by Forked or ForkFailed, or by the template's death."""
        tail_bytes = self.pool.captured_output_bytes
        channel = Channel(slot, generation=template.generation, tail_bytes=tail_bytes, leaf=self.leaves.make(slot))
        self.census.asked += 1
        template.forking.add(slot)
        message = frame(messages.encode(messages.Fork(slot, channel.nonce)))
        try:
            socket.send_fds(template.control, [message], channel.worker_ends())
        except OSError:  # dead, or it takes no more: its end answers for this slot and the others that it owes
            template.kill()
        return channel

    def fork_answered(self, template: Template, slot: int, *, pid: int | None) -> None:
        """The birth of this slot is decided."""
        template.forking.discard(slot)
        if pid is not None:
            self.census.known.add(pid)
        self.census.answered += 1
