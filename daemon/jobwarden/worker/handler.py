"""`@handler`: how a function says which job type it serves, and with which defaults.

While the loader imports a file, the decorator also enters the function into that file's list; anywhere else it only
attaches its definition, so that handler files can be imported and unit-tested like any module. The function itself is
never wrapped. Must stay light: every handler file imports this.
"""

from __future__ import annotations

import inspect
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
_collecting: ContextVar[list[HandlerDefinition] | None] = ContextVar("_collecting", default=None)


class InvalidHandlerError(JobwardenError):
    """A handler was declared in a way that cannot work. `way_out` says what would be right."""

    def __init__(self, problem: str, way_out: str) -> None:
        """Both are one sentence."""
        self.problem = problem
        self.way_out = way_out
        super().__init__(f"{problem}; {way_out}")


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
    _check_number(
        "timeout_ms", timeout_ms, low=1, high=LARGEST_TIMEOUT_MS, whole="a whole number of milliseconds"
    )
    _check_number("max_attempts", max_attempts, low=1, high=MOST_ATTEMPTS, whole="a whole number of tries")
    _check_number("retry_delay", retry_delay, low=0, high=LONGEST_DELAY_SECONDS)

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
    if not isinstance(job_type, str):
        raise InvalidHandlerError(
            f"@handler was given {job_type!r} instead of a job type", 'write @handler("name_of_the_job_type")'
        )
    if not 1 <= len(job_type) <= LONGEST_NAME or not job_type.isprintable():
        raise InvalidHandlerError(
            f"{job_type[:40]!r} is no job type", f"a job type is 1 to {LONGEST_NAME} printable characters"
        )


def _check_number(name: str, value: object, *, low: int, high: int, whole: str | None = None) -> None:
    if value is None:
        return
    wanted: tuple[type, ...] = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not low <= value <= high:
        raise InvalidHandlerError(
            f"{name}={value!r} is not possible", f"give {whole or 'a number of seconds'} from {low} to {high}"
        )


def _read_signature(job_type: str, function: Callable[..., object]) -> tuple[str, bool]:
    """The name of the payload's parameter, and whether there is one more for the context."""
    way_out = (
        "a handler is `def name(payload, ctx)` or `async def name(payload, ctx)`, the ctx being optional"
    )
    if inspect.isclass(function) or not inspect.isroutine(inspect.unwrap(function)):
        raise InvalidHandlerError(f"@handler({job_type!r}) stands on something that is no function", way_out)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidHandlerError(
            f"the handler of {job_type!r} is a generator", "return a value instead of yielding"
        )
    parameters = list(inspect.signature(function).parameters.values())
    places = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
    ]
    if not places or len(set(needed) - {p.name for p in places[:2]}):
        names = ", ".join(needed) or "none"
        raise InvalidHandlerError(f"the handler of {job_type!r} takes the parameters: {names}", way_out)
    if _names_context(places[0]):
        raise InvalidHandlerError(f"the first parameter of {job_type!r} is a JobContext", way_out)
    return places[0].name, len(places) > 1 and (
        places[1].default is inspect.Parameter.empty or _names_context(places[1])
    )


def _names_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return name.rpartition(".")[2] == "JobContext"
