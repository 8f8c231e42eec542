"""The sentences about a generation that is not served, or a file of it that is broken. Called by the nursery."""

from __future__ import annotations

from jobwarden.wire import messages


def refusal_of(loaded: messages.Loaded) -> str | None:
    """Why nothing may be forked from what this template has loaded; None if something may."""
    if loaded.wire_version != messages.WIRE_VERSION:
        return "its interpreter has another version of jobwarden; install the same one there"
    if loaded.threads:
        names = ", ".join(loaded.threads)
        return f"handler modules started threads at import ({names}); start them inside a handler or an on_worker_start"
    return None


def describe(problem: messages.Problem) -> str:
    """One sentence: place, error, way out."""
    place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
    return f"{place}: {problem.error}" + (f"; {problem.way_out}" if problem.way_out else "")


def ending(code: int) -> str:
    """How a process ended, from what `os.waitstatus_to_exitcode` makes of its status."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
