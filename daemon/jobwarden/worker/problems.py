"""Why a handler file cannot be served: an error of its code as one sentence with the file, the line and the way out.

Called by the loader for what fails at import and in a warm-up, and by a worker for a hook that fails.
"""

from __future__ import annotations

import os
import traceback

from jobwarden.wire.messages import Problem
from jobwarden.worker.declaring import InvalidHandlerError
from jobwarden.worker.naming import clean, text_of

LONGEST_ERROR = 2_000


def problem_of(relative: str, error: BaseException, *, root: str, doing: str = "") -> Problem:
    """What is wrong with the file `relative` of the directory `root`; `doing` begins the sentence, where it helps."""
    places = _places(error, root=root)
    line = next((number for where, number in reversed(places) if where == relative), None)
    text = doing + (error.problem if isinstance(error, InvalidHandlerError) else _sentence(error))
    if places and places[-1][0] != relative:
        text += f" (in {places[-1][0]}, line {places[-1][1]})"
    return Problem(file=relative, line=line, error=text[:LONGEST_ERROR], way_out=_way_out(error, doing=doing))


def _places(error: BaseException, *, root: str) -> list[tuple[str, int | None]]:
    """Which lines of the handlers directory the error went through, the innermost last."""
    inside = root + os.sep
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    return [(path.removeprefix(inside), line) for path, line in frames if path.startswith(inside)]


def _sentence(error: BaseException) -> str:
    text = clean(str(error.msg)) if isinstance(error, SyntaxError) else text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _way_out(error: BaseException, *, doing: str) -> str:
    match error:
        case InvalidHandlerError():
            return error.way_out
        case SyntaxError():
            return "correct the line and save the file"
        case ModuleNotFoundError():
            return f"install {error.name!r} where the daemon runs, or correct the import"
        case _ if doing:
            return "correct it, or what it needs"
        case SystemExit():
            return "a handler file is imported, not run: move the exit under `if __name__ == '__main__'`"
        case _:
            return "a handler file must import without an error: correct it, or move the work into the handler"
