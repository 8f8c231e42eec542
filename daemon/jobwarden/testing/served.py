"""Which handler a test means: what `@handler` has attached to a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.worker.handler import definitions_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobwarden.worker.handler import HandlerDefinition


def definition_of(function: Callable[..., object], *, job_type: str | None = None) -> HandlerDefinition:
    """The one that serves `job_type`, or the only one. Raises TypeError if there is none, or no saying which."""
    found = definitions_of(function)
    matching = [each for each in found if job_type in {None, each.job_type}]
    if len(matching) == 1:
        return matching[0]
    name = getattr(function, "__name__", repr(function))
    if not found:
        message = f"{name} is no handler: put @handler above it, or hand in the function that has it"
    elif matching:
        message = f"{name} serves {', '.join(each.job_type for each in found)}: say which with job_type="
    else:
        message = f"{name} does not serve {job_type}, but {', '.join(each.job_type for each in found)}"
    raise TypeError(message)
