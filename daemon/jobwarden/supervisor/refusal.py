"""What is said of a template that has loaded, or has not: to the pool as facts, to people as sentences."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from jobwarden.supervisor import inputs as seen
from jobwarden.wire import messages

if TYPE_CHECKING:
    from pathlib import Path

    from jobwarden.supervisor.launcher import Template

_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)
_TO_LOOK = "look at its standard error above"
_TO_REMEDY = "correct what it does when it is imported, or move it into the handler"


def refusal_of(loaded: messages.Loaded) -> str | None:
    """Why nothing may be forked from what this template has loaded; None if something may."""
    if loaded.wire_version != messages.WIRE_VERSION:
        return "its interpreter has another version of jobwarden; install the same one there"
    if loaded.threads:
        names = ", ".join(loaded.threads)
        return f"handler modules started threads at import ({names}); start them inside a handler or an on_worker_start"
    return None


def ready_of(generation: int, loaded: messages.Loaded) -> seen.TemplateReady:
    """What the pool is told of a template that can fork."""
    return seen.TemplateReady(
        generation,
        loaded.content_hash,
        tuple(loaded.handlers),
        problems=tuple(describe(each) for each in loaded.problems),
        broken=tuple(each.file for each in loaded.problems),
        starts=loaded.starts,
    )


def describe(problem: messages.Problem) -> str:
    """One sentence: place, error, way out."""
    place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
    return f"{place}: {problem.error}" + (f"; {problem.way_out}" if problem.way_out else "")


def failure_of(template: Template, *, exit_code: int, handlers: Path) -> messages.Problem:
    """Why a template that is dead has not loaded: which file, which line of it if that is known, and what happened."""
    file = template.importing
    if file is None:
        what = template.ended_because or f"its template process {_ending(exit_code)} while loading"
        return messages.Problem(file=str(handlers), line=None, error=what, way_out=_TO_LOOK)
    what = template.ended_because or f"importing it, its process {_ending(exit_code)}"
    places = _places(template.stack(), root=os.path.realpath(handlers))
    line = next((number for where, number in places if where == file), None)
    if places and places[0][0] != file:
        what += f" (in {places[0][0]}, line {places[0][1]})"
    return messages.Problem(file=file, line=line, error=what, way_out=_TO_REMEDY)


def _places(stack: str, *, root: str) -> list[tuple[str, int]]:
    """Which lines of the handlers directory are in the stack, the innermost first."""
    inside = root + os.sep
    found = ((path, int(line)) for path, line in _FRAME.findall(stack))
    return [(path.removeprefix(inside), line) for path, line in found if path.startswith(inside)]


def _ending(code: int) -> str:
    """How a process ended, from what `os.waitstatus_to_exitcode` makes of its status."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
