"""`@warm_up`, `@on_worker_start`, `@on_worker_stop`: what a handler file wants done around its jobs, once.

As with `@handler`, the loader collects what a file decorates while it is imported; anywhere else the decorators do
nothing, and the functions stay what they are. Must stay light: handler files import this through `jobwarden`.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from jobwarden.worker.declaring import InvalidHookError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Function = TypeVar("_Function", bound="Callable[[], object]")

_collecting: ContextVar[list[Hook] | None] = ContextVar("_collecting", default=None)


class HookKind(StrEnum):
    """When a hook is called; the values are the names of the decorators."""

    WARM_UP = "warm_up"
    START = "on_worker_start"
    STOP = "on_worker_stop"


@dataclass(frozen=True, slots=True)
class Hook:
    """One decorated function."""

    kind: HookKind
    function: Callable[[], object]

    @property
    def name(self) -> str:
        """As the function is called in its file."""
        return getattr(self.function, "__name__", repr(self.function))

    @property
    def line(self) -> int | None:
        """Where the function begins in its file."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return None if code is None else code.co_firstlineno


def on_worker_start(function: _Function) -> _Function:
    """Call this in each new worker before its first job: open connections, load what each worker has for itself.

    The function, sync or async, takes nothing. If it raises, or does not come back within `spawn_seconds`, the worker
    is no worker: log and `status` name the line, and a new one is tried after a pause. Raises InvalidHookError.
    """
    return _register(HookKind.START, function)


def on_worker_stop(function: _Function) -> _Function:
    """Call this in a worker that is not needed any more: new code, a drain, a smaller pool, enough jobs done.

    It has `kill_grace_seconds`, and must not matter: a worker that is killed (limit, cancel, crash, memory, the end of
    the daemon or the machine) never calls it. The last hooks are called first. Raises InvalidHookError.
    """
    return _register(HookKind.STOP, function)


def warm_up(function: _Function) -> _Function:
    """Call this once for each generation, in the template, before any worker is forked from it.

    For what all workers can share: read a table, compile patterns, import something large. The workers get the memory,
    and nothing else: threads and connections do not survive the fork and are refused. Raises InvalidHookError.
    """
    if inspect.iscoroutinefunction(function):
        way_out = "make it a plain function: an event loop cannot be shared by the workers that are forked afterwards"
        raise InvalidHookError(HookKind.WARM_UP, function, problem="it is async", way_out=way_out)
    return _register(HookKind.WARM_UP, function)


@contextmanager
def collecting_hooks() -> Iterator[list[Hook]]:
    """Within this block, decorated functions are also put into the list that it gives. The loader's side."""
    found: list[Hook] = []
    token = _collecting.set(found)
    try:
        yield found
    finally:
        _collecting.reset(token)


def _register(kind: HookKind, function: _Function) -> _Function:
    problem = _problem_of(function)
    if problem is not None:
        raise InvalidHookError(kind, function, problem=problem, way_out=f"write `@{kind}` above `def name():`")
    found = _collecting.get()
    if found is not None:
        found.append(Hook(kind, function))
    return function


def _problem_of(function: Callable[[], object]) -> str | None:
    if inspect.isclass(function) or not inspect.isroutine(inspect.unwrap(function)):
        return "it stands on something that is no function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "it yields"
    parameters = inspect.signature(function).parameters.values()
    optional = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in optional]
    return f"it takes the parameters {', '.join(needed)}" if needed else None
