"""The template: loads one generation, then forks a worker for each `Fork` that the supervisor sends.

`python -P -m jobwarden.worker.template TERMS`, the terms being those of `wire.template_terms`. One thread; no database,
no network. It ends when the supervisor does or closes the control socket. It must never run a handler, and never fork
while a Python thread of a handler module lives.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import signal
import socket
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from setproctitle import setproctitle

from jobwarden.kernel import die_with_parent
from jobwarden.sources.tree import SourceTree, keep, read_tree, recall
from jobwarden.wire.exits import EXIT_ORPHANED
from jobwarden.wire.frames import FrameReader, frame
from jobwarden.wire.messages import (
    FORK_DESCRIPTORS,
    Fork,
    Forked,
    ForkFailed,
    Loaded,
    decode_to_template,
    encode,
)
from jobwarden.wire.page import SharedPage
from jobwarden.wire.template_terms import TemplateTerms, read_terms
from jobwarden.worker.account import LoadAccount
from jobwarden.worker.birth import BirthError, Surroundings, give_birth
from jobwarden.worker.descriptors import open_descriptors
from jobwarden.worker.hooks import HookKind
from jobwarden.worker.loader import LoadedCode, load_tree
from jobwarden.worker.settling import offer_to_oom_killer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_RECEIVE_BYTES = 65_536
_MOST_DESCRIPTORS = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Load, then serve until the control socket ends; the exit code is 0 then."""
    terms = _read_terms(sys.argv[1:] if arguments is None else arguments)
    die_with_parent()
    if os.getppid() != terms.supervisor_pid:
        return EXIT_ORPHANED
    setproctitle(f"jobwarden: template g{terms.generation}")
    _settle()
    before = open_descriptors()
    control = socket.socket(fileno=terms.control_fd)
    code = _load(terms, control)
    opened_by_handlers = open_descriptors() - before
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, or reaped by a module's own code, no birth would succeed
    _freeze(code)
    surroundings = Surroundings(
        code=code,
        page=SharedPage(terms.page_fd),
        supervisor_pid=terms.supervisor_pid,
        generation=terms.generation,
        max_output_bytes=terms.max_output_bytes,
        bounds=terms.bounds,
        opened_by_handlers=frozenset(opened_by_handlers),
    )
    return Template(control, surroundings).serve()


def _load(terms: TemplateTerms, control: socket.socket) -> LoadedCode:
    account = LoadAccount(control, dump_fd=terms.dump_fd, load_seconds=terms.load_seconds)
    tree = _tree_of(terms)
    account.began(tree.content_hash)
    copies = None if terms.copies is None else Path(terms.copies)
    code = load_tree(tree, copies=copies, without=terms.without, importing=account.importing)
    account.close()
    return code


def _tree_of(terms: TemplateTerms) -> SourceTree:
    if terms.restore:
        return recall(terms.snapshot_fd)
    tree = read_tree(terms.handlers, trusted=terms.trusted)
    keep(tree, terms.snapshot_fd)
    return tree


class Template:
    """Answers the supervisor's messages, one after the other."""

    def __init__(self, control: socket.socket, surroundings: Surroundings) -> None:
        control.settimeout(None)
        self._control = control
        self._surroundings = surroundings
        self._reader = FrameReader()
        self._descriptors: deque[int] = deque()

    def serve(self) -> int:
        """Report what was loaded, then fork on demand until end of file."""
        try:
            self._control.sendall(frame(encode(self._loaded())))
            while self._turn():
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        return 0

    def _loaded(self) -> Loaded:
        code = self._surroundings.code
        return Loaded(
            generation=self._surroundings.generation,
            content_hash=code.content_hash,
            handlers=[handler.info() for handler in code.handlers.values()],
            problems=code.problems,
            threads=code.threads,
            threads_of=code.threads_of,
            starts=any(each.hook.kind is HookKind.START for each in code.hooks),
        )

    def _turn(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(
            self._control, _RECEIVE_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        self._descriptors.extend(descriptors)
        for message in self._reader.feed(data):
            self._fork(decode_to_template(message))
        return bool(data)

    def _fork(self, request: Fork) -> None:
        descriptors = [self._descriptors.popleft() for _ in FORK_DESCRIPTORS]
        try:
            self._refuse_threads()
            pid, pidfd = give_birth(request, descriptors, surroundings=self._surroundings)
        except BirthError as error:
            self._control.sendall(frame(encode(ForkFailed(slot=request.slot, error=str(error)))))
        else:
            socket.send_fds(self._control, [frame(encode(Forked(slot=request.slot, pid=pid)))], [pidfd])
            os.close(pidfd)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _refuse_threads(self) -> None:
        threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        if threads:
            raise BirthError(reason=f"handler modules started threads ({', '.join(threads)}), so nothing is forked")


def _read_terms(arguments: Sequence[str]) -> TemplateTerms:
    try:
        (text,) = arguments
        return read_terms(text)
    except (ValueError, msgspec.MsgspecError) as error:
        sys.exit(f"jobwarden-template: started by the supervisor of this very version only ({error})")


def _settle() -> None:
    """Away from the terminal's signals, and into the sight of the kernel's OOM killer."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, _ignore)
    with contextlib.suppress(PermissionError):  # we lead a group already
        os.setsid()
    offer_to_oom_killer()  # what handler files allocate at import is not our choice
    gc.disable()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Only the supervisor ends a template. Not SIG_IGN: what handler modules start at import would inherit that."""


def _freeze(code: LoadedCode) -> None:
    """Do once what each worker would otherwise do again, on pages of its own (a factor of three in memory)."""
    if any(inspect.iscoroutinefunction(each.definition.function) for each in code.handlers.values()):
        from jobwarden.worker.event_loop import warm_up  # noqa: PLC0415 - see there

        warm_up()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
