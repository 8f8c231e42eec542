"""`@handler`: how a function says which job type it serves, and with which defaults.

While the loader imports a file, the decorator also enters the function into that file's list; anywhere else it only
attaches its definition, so that handler files can be imported and unit-tested like any module. The function itself is
never wrapped. Must stay light: every handler file imports this.
"""

from __future__ import annotations

import inspect
import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from jobwarden.errors import JobwardenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Function = TypeVar("_Function", bound="Callable[..., object]")

LONGEST_NAME = 255
LARGEST_TIMEOUT_MS = 2**40
MOST_ATTEMPTS = 10_000
LONGEST_DELAY_SECONDS = 31_622_400

_ATTACHED = "__jobwarden_handlers__"
_RIGHT_FORM = "write `def name(payload, ctx)` or `async def name(payload, ctx)`, without ctx if it needs none"
_CONTEXT = re.compile(
    r"(?:[\w.]+\.)?(?:Optional\[(?:[\w.]+\.)?JobContext\]|JobContext(?: *\| *None)?|None *\| *(?:[\w.]+\.)?JobContext)"
)
"""Annotations that mean the context; as text, because they may be imported for the type checker alone."""
_collecting: ContextVar[list[HandlerDefinition] | None] = ContextVar("_collecting", default=None)


class InvalidHandlerError(JobwardenError):
    """A handler was declared in a way that cannot work. `way_out` says what would be right."""

    def __init__(self, job_type: object, *, problem: str, way_out: str) -> None:
        """`job_type` is what `@handler` was given."""
        self.problem = f"handler {str(job_type)[:60]!r}: {problem}"
        self.way_out = way_out
        super().__init__(f"{self.problem}; {way_out}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerDefinition:
    """What a decorated function declared. None leaves the daemon's default."""

    job_type: str
    function: Callable[..., object]
    timeout_ms: int | None
    max_attempts: int | None
    retry_delay: float | None
    """Seconds."""
    payload_parameter: str
    takes_context: bool

    @property
    def line(self) -> int | None:
        """Where the function begins in its file."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return None if code is None else code.co_firstlineno


def handler(
    job_type: str,
    *,
    timeout_ms: int | None = None,
    max_attempts: int | None = None,
    retry_delay: float | None = None,
) -> Callable[[_Function], _Function]:
    """Register a function, sync or async, for a job type. What a job says itself wins over these defaults.

    The function takes the payload and, if it wants, a `JobContext`; its return value is the job's output. The payload
    is checked against the annotation of the first parameter: a pydantic model, a dataclass, a TypedDict, or `dict`.

    Args:
        job_type: the name that jobs ask for, at most 255 characters.
        timeout_ms: milliseconds after which an attempt is stopped.
        max_attempts: tries in all, the first included.
        retry_delay: seconds before the first retry.

    Raises:
        InvalidHandlerError: an argument or the function's signature cannot work.
    """
    _check_name(job_type)
    _check_number(job_type, "timeout_ms", timeout_ms, high=LARGEST_TIMEOUT_MS)
    _check_number(job_type, "max_attempts", max_attempts, high=MOST_ATTEMPTS)
    _check_number(job_type, "retry_delay", retry_delay, low=0, high=LONGEST_DELAY_SECONDS, whole=False)

    def register(function: _Function) -> _Function:
        parameter, takes_context = _read_signature(job_type, function)
        definition = HandlerDefinition(
            job_type=job_type,
            function=function,
            timeout_ms=timeout_ms,
            max_attempts=max_attempts,
            retry_delay=retry_delay,
            payload_parameter=parameter,
            takes_context=takes_context,
        )
        setattr(function, _ATTACHED, (*definitions_of(function), definition))
        found = _collecting.get()
        if found is not None:
            found.append(definition)
        return function

    return register


def definitions_of(function: Callable[..., object]) -> tuple[HandlerDefinition, ...]:
    """What `@handler` declared for this function; empty for any other function."""
    attached: tuple[HandlerDefinition, ...] = getattr(function, _ATTACHED, ())
    return attached


@contextmanager
def collecting() -> Iterator[list[HandlerDefinition]]:
    """Within this block, decorated functions are also put into the list that it gives. The loader's side."""
    found: list[HandlerDefinition] = []
    token = _collecting.set(found)
    try:
        yield found
    finally:
        _collecting.reset(token)


def _check_name(job_type: object) -> None:
    if callable(job_type):
        name = getattr(job_type, "__name__", job_type)
        raise InvalidHandlerError(name, problem="it has no job type", way_out=f'write @handler("{name}")')
    if not isinstance(job_type, str) or not 1 <= len(job_type) <= LONGEST_NAME or not job_type.isprintable():
        way_out = f"give a text of 1 to {LONGEST_NAME} printable characters"
        raise InvalidHandlerError(job_type, problem="that is no job type", way_out=way_out)


def _check_number(
    job_type: str, name: str, value: float | None, *, high: int, low: int = 1, whole: bool = True
) -> None:
    if value is None:
        return
    wanted = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not low <= value <= high:
        way_out = f"give a {'whole number' if whole else 'number of seconds'} from {low} to {high}"
        raise InvalidHandlerError(job_type, problem=f"{name}={value!r} is not possible", way_out=way_out)


def _read_signature(job_type: str, function: Callable[..., object]) -> tuple[str, bool]:
    """The name of the payload's parameter, and whether there is one more for the context."""
    problem = _problem_of(function)
    parameters = [] if problem else list(inspect.signature(function).parameters.values())
    places = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    if not problem and (not places or set(needed) - {p.name for p in places[:2]}):
        problem = f"it takes the parameters {', '.join(needed) or 'none'}"
    if not problem and _names_context(places[0]):
        problem = "its first parameter is a JobContext"
    if problem:
        raise InvalidHandlerError(job_type, problem=problem, way_out=_RIGHT_FORM)
    return places[0].name, len(places) > 1 and _wants_context(places[1])


def _problem_of(function: Callable[..., object]) -> str | None:
    if inspect.isclass(function) or not inspect.isroutine(inspect.unwrap(function)):
        return "it stands on something that is no function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "it yields"
    return None


def _wants_context(parameter: inspect.Parameter) -> bool:
    """A second parameter with a default of its own is the function's own affair."""
    return parameter.default is inspect.Parameter.empty or _names_context(parameter)


def _names_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    text = getattr(annotation, "__name__", "") if inspect.isclass(annotation) else str(annotation)
    return _CONTEXT.fullmatch(text) is not None
