"""Makes one generation: reads the handlers directory, imports it, and says what is wrong with which file.

Every Python file is imported, except files and folders whose name begins with `_` (those are there to be imported by
others) or with `.` (those are not read at all). A file that fails is a problem of its own; the others are served.
Executables are served as they are, from the generation's own copy.
Called once in the life of a template, and by `jobwarden check` in a process of its own.
"""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from jobwarden.sources.tree import read_tree
from jobwarden.wire.messages import HandlerInfo, Problem
from jobwarden.worker.connections import Connections
from jobwarden.worker.declaring import InvalidHandlerError
from jobwarden.worker.executable import Executable
from jobwarden.worker.hooks import HookKind
from jobwarden.worker.modules import MemoryFinder
from jobwarden.worker.payload import Converter, converter_of
from jobwarden.worker.problems import problem_of
from jobwarden.worker.secret_fields import told_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from jobwarden.sources.tree import SourceFile, SourceTree
    from jobwarden.worker.context import JobContext
    from jobwarden.worker.handler import HandlerDefinition
    from jobwarden.worker.hooks import Hook
    from jobwarden.worker.modules import Declared


_AS_TEXT = Converter(lambda payload: payload)
"""Executables read JSON themselves."""


@dataclass(frozen=True, slots=True)
class LoadedHandler:
    """A definition made ready to run."""

    definition: HandlerDefinition
    converter: Converter
    file: str
    """Relative to the handlers directory."""

    def call(self, payload: str, context: JobContext) -> object:
        """Convert the payload and call the function; an async one gives its coroutine."""
        value = self.converter.convert(payload)
        function = self.definition.function
        return function(value, context) if self.definition.takes_context else function(value)

    def info(self) -> HandlerInfo:
        """What the supervisor is told."""
        definition = self.definition
        return HandlerInfo(
            job_type=definition.job_type,
            file=self.file,
            timeout_ms=definition.timeout_ms,
            max_attempts=definition.max_attempts,
            retry_delay=definition.retry_delay,
            heartbeat_timeout_ms=definition.heartbeat_timeout_ms,
            max_concurrency=definition.max_concurrency,
            schema=self.converter.schema,
            secret=told_names({*definition.secret, *self.converter.secret}),
        )


@dataclass(frozen=True, slots=True)
class LoadedHook:
    """A hook, and the file that it stands in, relative to the handlers directory."""

    hook: Hook
    file: str


@dataclass(slots=True)
class LoadedCode:
    """What one reading of the handlers directory gave."""

    content_hash: str
    root: str
    """The handlers directory, absolute."""
    handlers: dict[str, LoadedHandler] = field(default_factory=dict)
    hooks: list[LoadedHook] = field(default_factory=list)
    """Of all kinds, in the order in which their files ran: a file that is imported by another one comes before it."""
    problems: list[Problem] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    """Python threads that handler modules started."""
    threads_of: str | None = None
    """The first file that did."""


def load(directory: str) -> LoadedCode:
    """Read and import everything under `directory`. Never raises for what stands in there."""
    return load_tree(read_tree(directory))


def load_tree(
    tree: SourceTree,
    *,
    copies: Path | None = None,
    without: Collection[str] = (),
    importing: Callable[[str], None] = lambda _file: None,
) -> LoadedCode:
    """Import everything in `tree`, then do what its files want done before the first fork.

    Executables run from a copy of `tree` in the folder `copies`; None: from where they stand. Files in `without` are
    passed over. `importing` is told of each file whose code is about to run.
    """
    code = LoadedCode(tree.content_hash, tree.root, problems=list(tree.problems))
    loading = _Loading(tree, code, importing=importing)
    threads_before = set(threading.enumerate())
    loading.import_all(without)
    loading.warm_up()
    loading.make_ready()
    loading.add_executables(copies)
    code.threads = [thread.name for thread in threading.enumerate() if thread not in threads_before]
    return code


class _Loading:
    """One load. A file with a problem serves nothing, and none of its hooks is called."""

    def __init__(self, tree: SourceTree, code: LoadedCode, *, importing: Callable[[str], None]) -> None:
        self._importing = importing
        self._threads = set(threading.enumerate())
        self._tree = tree
        self._python = tree.only_python()
        self._code = code
        self._executed: list[tuple[SourceFile, Declared]] = []
        self._connections = Connections()
        self._broken: set[str] = set()

    def import_all(self, without: Collection[str]) -> None:
        finder = MemoryFinder(self._python, lambda file, found: self._executed.append((file, found)))
        finder.install()
        for relative in self._python.files:
            if _is_served(relative) and relative not in without:
                self._try(relative, partial(importlib.import_module, finder.name_of(relative)))

    def warm_up(self) -> None:
        for file, found in self._executed:
            for hook in found.hooks:
                if hook.kind is HookKind.WARM_UP and file.relative not in self._broken:
                    self._try(file.relative, hook.function, doing=f"@warm_up {hook.name} failed: ", line=hook.line)

    def make_ready(self) -> None:
        for file, found in self._executed:
            if file.relative in self._broken:
                continue
            for definition in found.handlers:
                _make_ready(file, definition, code=self._code)
            self._code.hooks += [LoadedHook(hook, file.relative) for hook in found.hooks]

    def add_executables(self, copies: Path | None) -> None:
        if len(self._python.files) == len(self._tree.files):
            return
        # Here, because most directories hold no executable, and all workers share what the template has imported.
        from jobwarden.worker.executables import find_executables  # noqa: PLC0415

        found = find_executables(self._tree)
        if copies is not None:
            found.move(self._tree, copies)
        self._code.problems += found.problems
        for file, definition in found.definitions:
            _make_ready(file, definition, code=self._code)

    def _try(self, relative: str, work: Callable[[], object], *, doing: str = "", line: int | None = None) -> None:
        self._importing(relative)
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - user code at the edge: also SystemExit costs one file only
            self._report(problem_of(relative, error, root=self._tree.root, doing=doing))
        for peer in self._connections.new():
            self._report(_connected(relative, peer, line=line))
        if self._code.threads_of is None and set(threading.enumerate()) - self._threads:
            self._code.threads_of = relative

    def _report(self, problem: Problem) -> None:
        self._broken.add(problem.file)
        self._code.problems.append(problem)


def _is_served(relative: str) -> bool:
    return not any(part.startswith("_") for part in relative.split("/"))


def _connected(relative: str, peer: str, *, line: int | None) -> Problem:
    error = f"while it was loaded it opened a connection to {peer}, which all workers would share"
    way_out = "open it in a function with @on_worker_start, or in the handler"
    return Problem(file=relative, line=line, error=error, way_out=way_out)


def _make_ready(file: SourceFile, definition: HandlerDefinition, *, code: LoadedCode) -> None:
    other = code.handlers.get(definition.job_type)
    if other is not None:
        code.problems.append(_claimed_twice(file, definition, other))
        return
    try:
        converter = _AS_TEXT if isinstance(definition.function, Executable) else converter_of(definition)
    except InvalidHandlerError as error:
        code.problems.append(
            Problem(file=file.relative, line=definition.line, error=error.problem, way_out=error.way_out)
        )
        return
    code.handlers[definition.job_type] = LoadedHandler(definition, converter, file.relative)


def _claimed_twice(file: SourceFile, definition: HandlerDefinition, other: LoadedHandler) -> Problem:
    line = other.definition.line
    there = other.file if line is None else f"{other.file} (line {line})"
    return Problem(
        file=file.relative,
        line=definition.line,
        error=f"the job type {definition.job_type!r} is served by {there} already",
        way_out=f"rename one of the two job types, or remove it from {file.relative} or {other.file}",
    )
