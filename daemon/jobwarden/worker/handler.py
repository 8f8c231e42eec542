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

from jobwarden.worker.declaring import (
    InvalidHandlerError,
    check_delay,
    check_name,
    check_number,
    checked_errors,
    checked_names,
)
from jobwarden.worker.rules import LONGEST_DELAY_SECONDS, NO_RULES, RetryRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Function = TypeVar("_Function", bound="Callable[..., object]")

LARGEST_TIMEOUT_MS = 2**40
MOST_ATTEMPTS = 10_000
MOST_CONCURRENT = 10_000

_ATTACHED = "__jobwarden_handlers__"
_RIGHT_FORM = "write `def name(payload, ctx)` or `async def name(payload, ctx)`, without ctx if it needs none"
_CONTEXT = re.compile(
    r"(?:[\w.]+\.)?(?:Optional\[(?:[\w.]+\.)?JobContext\]|JobContext(?: *\| *None)?|None *\| *(?:[\w.]+\.)?JobContext)"
)
"""Annotations that mean the context; as text, because they may be imported for the type checker alone."""
_collecting: ContextVar[list[HandlerDefinition] | None] = ContextVar("_collecting", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerDefinition:
    """What a decorated function declared. None leaves the daemon's default."""

    job_type: str
    function: Callable[..., object]
    timeout_ms: int | None
    max_attempts: int | None
    retry_delay: float | None
    """Seconds."""
    heartbeat_timeout_ms: int | None = None
    max_concurrency: int | None = None
    secret: tuple[str, ...] = ()
    """Names of payload fields."""
    rules: RetryRules = NO_RULES
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
    retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
    fail_on: type[BaseException] | Iterable[type[BaseException]] | None = None,
    delay: Callable[[int, BaseException], float] | None = None,
    heartbeat_timeout_ms: int | None = None,
    max_concurrency: int | None = None,
    secret: str | Iterable[str] = (),
) -> Callable[[_Function], _Function]:
    """Register a function, sync or async, for a job type. What a job says itself wins over these defaults.

    The function takes the payload and, if it wants, a `JobContext`; its return value is the job's output. The payload
    is checked against the annotation of the first parameter: a pydantic model, a dataclass, a TypedDict, or `dict`.

    Args:
        job_type: the name that jobs ask for, at most 255 characters.
        timeout_ms: milliseconds after which an attempt is stopped.
        max_attempts: tries in all, the first included.
        retry_delay: seconds before the first retry.
        retry_on: only these errors are retried, every other one fails the job for good.
        fail_on: these errors fail the job for good, whatever `retry_on` says. `RetryLater` and `FailPermanently` win
            over both. A group, as asyncio.TaskGroup raises it, is judged by the errors in it: one for good is enough.
        delay: (attempt, error) -> seconds before the next attempt; where it fails, the job's own delay holds.
        heartbeat_timeout_ms: milliseconds without progress or `ctx.heartbeat()` after which an attempt is stopped.
        max_concurrency: how many jobs of this type one daemon runs at once, 1 to 10,000.
        secret: names of payload fields, at any depth, that nobody is shown; their values are also taken out of what
            such a job prints and of its errors. Fields of a type like pydantic's SecretStr are secret without it.

    Raises:
        InvalidHandlerError: an argument or the function's signature cannot work.
    """
    check_name(job_type)
    check_number(job_type, "timeout_ms", timeout_ms, high=LARGEST_TIMEOUT_MS)
    check_number(job_type, "max_attempts", max_attempts, high=MOST_ATTEMPTS)
    check_number(job_type, "retry_delay", retry_delay, low=0, high=LONGEST_DELAY_SECONDS, whole=False)
    check_number(job_type, "heartbeat_timeout_ms", heartbeat_timeout_ms, high=LARGEST_TIMEOUT_MS)
    check_number(job_type, "max_concurrency", max_concurrency, high=MOST_CONCURRENT)
    rules = _rules(job_type, retry_on, fail_on, delay)
    secret = checked_names(job_type, "secret", secret)

    def register(function: _Function) -> _Function:
        parameter, takes_context = _read_signature(job_type, function)
        definition = HandlerDefinition(
            job_type=job_type,
            function=function,
            timeout_ms=timeout_ms,
            max_attempts=max_attempts,
            retry_delay=retry_delay,
            heartbeat_timeout_ms=heartbeat_timeout_ms,
            max_concurrency=max_concurrency,
            secret=secret,
            rules=rules,
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


def _rules(
    job_type: str, retry_on: object, fail_on: object, delay: Callable[[int, BaseException], float] | None
) -> RetryRules:
    check_delay(job_type, delay)
    retried, failed = checked_errors(job_type, "retry_on", retry_on), checked_errors(job_type, "fail_on", fail_on)
    if retried is None and failed is None and delay is None:
        return NO_RULES
    return RetryRules(retry_on=retried, fail_on=failed, delay=delay)


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
