"""The executables of one generation: which files they are, what their side files say, and what keeps one from running.

What stands at the top of the handlers directory is served, what stands deeper only with a side file beside it: folders
hold all sorts of tools. Nothing is run here. Called by the loader.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from jobwarden.sources.belonging import SCRIPT_SUFFIXES, job_type_of, may_run, side_files_of
from jobwarden.sources.copies import make_copy
from jobwarden.sources.side_file import SideFile, read_side_file
from jobwarden.wire.messages import Problem
from jobwarden.worker.executable import Executable
from jobwarden.worker.handler import HandlerDefinition
from jobwarden.worker.side_options import side_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobwarden.sources.tree import SourceFile, SourceTree
    from jobwarden.worker.side_options import SideOptions

_ELF = b"\x7fELF"
_SCRIPT = b"#!"
_LONGEST_FIRST_LINE = 255
"""Bytes that the kernel reads of it (execve(2))."""


@dataclass(slots=True)
class Executables:
    """What was found, each with the file that serves it, and every problem."""

    definitions: list[tuple[SourceFile, HandlerDefinition]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def move(self, tree: SourceTree, copies: Path) -> None:
        """Have all run from a copy of `tree` in the folder `copies`; without one none of them is served."""
        if not self.definitions:
            return
        try:
            place = make_copy(tree, copies)
        except OSError as error:
            self.problems += [_no_copy(file, copies, error) for file, _definition in self.definitions]
            self.definitions = []
        else:
            self.definitions = [(file, _moved(definition, place, file)) for file, definition in self.definitions]


def find_executables(tree: SourceTree) -> Executables:
    """Everything in `tree` that is a handler without being Python, to be run from where it stands."""
    found = Executables()
    for relative, file in tree.files.items():
        sides = [tree.files[each] for each in side_files_of(relative) if each in tree.files]
        if not _is_handler(file, has_side=bool(sides)):
            continue
        problems = list(_problems_of(file, sides))
        side, more = _read(sides[0]) if sides and not problems else (None, [])
        options, wrong = side_options(side, job_type=job_type_of(relative))
        found.problems += [*problems, *more, *wrong]
        if not (problems or more or wrong):
            run = Executable(path=file.path, directory=tree.root, rules=options.rules)
            found.definitions.append((file, _definition(run, options)))
    return found


def _is_handler(file: SourceFile, *, has_side: bool) -> bool:
    path = PurePosixPath(file.relative)
    if path.suffix == ".py" or any(part.startswith("_") for part in path.parts):
        return False
    if not may_run(path.name, executable=file.executable):
        return has_side and _begins_as_program(file)  # somebody forgot chmod
    if len(path.parts) > 1 and not has_side:
        return False
    return _begins_as_program(file) or has_side or not path.suffix or path.suffix in SCRIPT_SUFFIXES


def _begins_as_program(file: SourceFile) -> bool:
    return file.data.startswith((_ELF, _SCRIPT))


def _problems_of(file: SourceFile, sides: list[SourceFile]) -> Iterator[Problem]:
    if len(sides) > 1:
        error = f"{sides[0].relative} has the options of {file.relative} already"
        yield _problem(sides[1], error, "remove one of the two")
    if not file.executable:
        error = f"it has a side file ({sides[0].relative}), but it is not executable"
        yield _problem(file, error, f"chmod +x {file.relative}")
    elif not _begins_as_program(file):
        error = "it is executable, but neither a program (ELF) nor a script with an interpreter in its first line"
        yield _problem(file, error, "let it begin with a line like #!/bin/sh, or chmod -x it", line=1)
    elif file.data.startswith(_SCRIPT):
        yield from _problems_of_first_line(file)


def _problems_of_first_line(file: SourceFile) -> Iterator[Problem]:
    line = file.data[len(_SCRIPT) :].split(b"\n", 1)[0][:_LONGEST_FIRST_LINE]
    words = os.fsdecode(line).split()
    if line.endswith(b"\r"):
        yield _problem(file, "its lines end with CR LF, so no interpreter is found", "save it with LF alone", line=1)
    elif not words:
        yield _problem(file, "its first line names no interpreter", "write one, as in #!/bin/sh", line=1)
    elif not os.access(words[0], os.X_OK):
        yield _missing(file, words[0])
    elif _looked_up(words) and shutil.which(words[1]) is None:
        yield _missing(file, f"{words[1]} (on PATH={os.environ.get('PATH', '')})")


def _looked_up(words: list[str]) -> bool:
    """Whether the interpreter is one that `env` looks for, without any of its options."""
    return (
        PurePosixPath(words[0]).name == "env"
        and len(words) > 1
        and not words[1].startswith("-")
        and "=" not in words[1]
    )


def _moved(definition: HandlerDefinition, place: str, file: SourceFile) -> HandlerDefinition:
    run = replace(cast("Executable", definition.function), path=f"{place}/{file.relative}")
    return replace(definition, function=run)


def _no_copy(file: SourceFile, copies: Path, error: OSError) -> Problem:
    way_out = f"let the user of this pool reach and write {copies}, or set another state_dir"
    return _problem(file, f"no copy of it can be made, to run from: {error.strerror}", way_out)


def _missing(file: SourceFile, what: str) -> Problem:
    return _problem(file, f"its interpreter {what} is not there", "install it, or correct the first line", line=1)


def _problem(file: SourceFile, error: str, way_out: str, *, line: int | None = None) -> Problem:
    return Problem(file=file.relative, line=line, error=error, way_out=way_out)


def _read(side: SourceFile) -> tuple[SideFile | None, list[Problem]]:
    read = read_side_file(side.relative, side.data)
    return (read, []) if isinstance(read, SideFile) else (None, [read])


def _definition(run: Executable, options: SideOptions) -> HandlerDefinition:
    return HandlerDefinition(
        job_type=options.job_type,
        function=run,
        timeout_ms=options.timeout_ms,
        max_attempts=options.max_attempts,
        retry_delay=options.retry_delay,
        heartbeat_timeout_ms=options.heartbeat_timeout_ms,
        max_concurrency=options.max_concurrency,
        secret=options.secret,
        payload_parameter="payload",
        takes_context=True,
    )
