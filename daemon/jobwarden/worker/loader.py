"""Makes one generation: reads the handlers directory, imports it, and says what is wrong with which file.

Every Python file is imported, except files and folders whose name begins with `_` (those are there to be imported by
others) or with `.` (those are not read at all). A file that fails is a problem of its own; the others are served.
Called once in the life of a template, and by `jobwarden check` in a process of its own.
"""

from __future__ import annotations

import importlib
import os
import threading
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobwarden.sources.tree import read_tree
from jobwarden.wire.messages import HandlerInfo, Problem
from jobwarden.worker.declaring import InvalidHandlerError
from jobwarden.worker.modules import MemoryFinder
from jobwarden.worker.payload import converter_of

if TYPE_CHECKING:
    from jobwarden.sources.tree import SourceFile, SourceTree
    from jobwarden.worker.context import JobContext
    from jobwarden.worker.handler import HandlerDefinition
    from jobwarden.worker.payload import Converter

LONGEST_ERROR = 2_000


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
        )


@dataclass(slots=True)
class LoadedCode:
    """What one reading of the handlers directory gave."""

    content_hash: str
    handlers: dict[str, LoadedHandler] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    """Python threads that handler modules started."""


def load(directory: str) -> LoadedCode:
    """Read and import everything under `directory`. Never raises for what stands in there."""
    return load_tree(read_tree(directory))


def load_tree(tree: SourceTree) -> LoadedCode:
    """Import everything in `tree`."""
    code = LoadedCode(tree.content_hash, problems=list(tree.problems))
    registered: list[tuple[SourceFile, HandlerDefinition]] = []
    finder = MemoryFinder(tree, lambda file, found: registered.extend((file, each) for each in found))
    finder.install()
    threads_before = set(threading.enumerate())
    for relative in tree.files:
        if _is_served(relative):
            _import(finder.name_of(relative), tree.files[relative], tree=tree, code=code)
    for file, definition in registered:
        _make_ready(file, definition, code=code)
    code.threads = [thread.name for thread in threading.enumerate() if thread not in threads_before]
    return code


def _is_served(relative: str) -> bool:
    return not any(part.startswith("_") for part in relative.split("/"))


def _import(name: str, file: SourceFile, *, tree: SourceTree, code: LoadedCode) -> None:
    try:
        importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 - user code at the edge: also SystemExit costs one file only
        code.problems.append(_problem_of(file, error, tree=tree))


def _make_ready(file: SourceFile, definition: HandlerDefinition, *, code: LoadedCode) -> None:
    other = code.handlers.get(definition.job_type)
    if other is not None:
        code.problems.append(_claimed_twice(file, definition, other))
        return
    try:
        converter = converter_of(definition)
    except InvalidHandlerError as error:
        code.problems.append(
            Problem(file=file.relative, line=definition.line, error=error.problem, way_out=error.way_out)
        )
        return
    code.handlers[definition.job_type] = LoadedHandler(definition, converter, file.relative)


def _claimed_twice(file: SourceFile, definition: HandlerDefinition, other: LoadedHandler) -> Problem:
    return Problem(
        file=file.relative,
        line=definition.line,
        error=f"the job type {definition.job_type!r} is served by {other.file} (line {other.definition.line}) already",
        way_out=f"rename one of the two job types, or remove it from {file.relative} or {other.file}",
    )


def _problem_of(file: SourceFile, error: BaseException, *, tree: SourceTree) -> Problem:
    places = _places(error, tree=tree)
    line = next((number for where, number in reversed(places) if where == file.relative), None)
    text = error.problem if isinstance(error, InvalidHandlerError) else _sentence(error)
    if places and places[-1][0] != file.relative:
        text += f" (in {places[-1][0]}, line {places[-1][1]})"
    return Problem(file=file.relative, line=line, error=text[:LONGEST_ERROR], way_out=_way_out(error))


def _places(error: BaseException, *, tree: SourceTree) -> list[tuple[str, int | None]]:
    """Which lines of the handlers directory the error went through, the innermost last."""
    inside = tree.root + os.sep
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    return [(path.removeprefix(inside), line) for path, line in frames if path.startswith(inside)]


def _sentence(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _way_out(error: BaseException) -> str:
    match error:
        case InvalidHandlerError():
            return error.way_out
        case SyntaxError():
            return "correct the line and save the file"
        case ModuleNotFoundError():
            return f"install {error.name!r} where the daemon runs, or correct the import"
        case SystemExit():
            return "a handler file is imported, not run: move the exit under `if __name__ == '__main__'`"
        case _:
            return "a handler file must import without an error: correct it, or move the work into the handler"
