"""What may stand in a decorator: each argument is checked when the handler file is imported.

Called by `handler`; must stay light, and must never call what it checks.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from jobwarden.errors import FailPermanently, JobStopped, JobwardenError, RetryLater

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_NAME = 255
MOST_NAMES = 100
"""Secret fields of one handler that it names; those of its type come on top."""

_ALWAYS_WIN = (RetryLater, FailPermanently, JobStopped)


class InvalidHandlerError(JobwardenError):
    """A handler was declared in a way that cannot work. `way_out` says what would be right."""

    def __init__(self, job_type: object, *, problem: str, way_out: str) -> None:
        """`job_type` is what `@handler` was given."""
        self.problem = f"handler {str(job_type)[:60]!r}: {problem}"
        self.way_out = way_out
        super().__init__(f"{self.problem}; {way_out}")


class InvalidHookError(InvalidHandlerError):
    """A function around the jobs was declared in a way that cannot work."""

    def __init__(self, kind: str, function: object, *, problem: str, way_out: str) -> None:
        """`kind` is the name of the decorator."""
        self.problem = f"@{kind} {getattr(function, '__name__', repr(function))[:60]}: {problem}"
        self.way_out = way_out
        JobwardenError.__init__(self, f"{self.problem}; {way_out}")


def check_name(job_type: object) -> None:
    """A job type; the decorator without one is a common slip."""
    if callable(job_type):
        name = getattr(job_type, "__name__", job_type)
        raise InvalidHandlerError(name, problem="it has no job type", way_out=f'write @handler("{name}")')
    if not isinstance(job_type, str) or not 1 <= len(job_type) <= LONGEST_NAME or not job_type.isprintable():
        way_out = f"give a text of 1 to {LONGEST_NAME} printable characters"
        raise InvalidHandlerError(job_type, problem="that is no job type", way_out=way_out)


def check_number(job_type: str, name: str, value: float | None, *, high: int, low: int = 1, whole: bool = True) -> None:
    """A number within bounds; None leaves the default."""
    if value is None:
        return
    wanted = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not low <= value <= high:
        way_out = f"give a {'whole number' if whole else 'number of seconds'} from {low} to {high}"
        raise InvalidHandlerError(job_type, problem=f"{name}={value!r} is not possible", way_out=way_out)


def checked_names(job_type: str, name: str, given: object) -> tuple[str, ...]:
    """Names of payload fields, one or several."""
    names = tuple(given) if isinstance(given, tuple | list | set | frozenset) else (given,)
    right = all(isinstance(each, str) and 1 <= len(each) <= LONGEST_NAME and each.isprintable() for each in names)
    if not right or len(names) > MOST_NAMES:
        way_out = f'give names of payload fields, {MOST_NAMES} at most, as in {name}=("password", "token")'
        raise InvalidHandlerError(job_type, problem=f"{name} holds what is no name of a field", way_out=way_out)
    return tuple(map(str, names))


def checked_errors(job_type: str, name: str, given: object) -> tuple[type[BaseException], ...] | None:
    """The exception classes of `retry_on` or `fail_on`, one or several; None if nothing was said."""
    if given is None:
        return None
    classes = tuple(given) if isinstance(given, tuple | list | set | frozenset) else (given,)
    if not classes:
        way_out = "leave it out, or write max_attempts=1 for no retries" if name == "retry_on" else "leave it out"
        raise InvalidHandlerError(job_type, problem=f"{name} is empty", way_out=way_out)
    for each in classes:
        if not (inspect.isclass(each) and issubclass(each, BaseException)):
            way_out = f"give exception classes, as in {name}=(ConnectionError, TimeoutError)"
            raise InvalidHandlerError(job_type, problem=f"{name} holds {_shown(each)}", way_out=way_out)
        if issubclass(each, _ALWAYS_WIN):
            problem = f"{name} holds {each.__name__}, which says itself what follows"
            raise InvalidHandlerError(job_type, problem=problem, way_out="leave it out")
    return classes


def check_delay(job_type: str, delay: object) -> None:
    """A plain function of the attempt's number and the error."""
    if delay is None:
        return
    way_out = "give a function like `def delay(attempt, error): return 2.0 ** attempt`, in seconds"
    if not callable(delay) or inspect.isclass(delay):
        raise InvalidHandlerError(job_type, problem=f"delay={_shown(delay)} is no function", way_out=way_out)
    if inspect.iscoroutinefunction(delay):
        raise InvalidHandlerError(job_type, problem="delay is an async function", way_out=way_out)
    if not _takes_two(delay):
        raise InvalidHandlerError(job_type, problem="delay does not take two arguments", way_out=way_out)


def _takes_two(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(1, Exception())
    except ValueError:  # a builtin that does not tell
        return True
    except TypeError:
        return False
    return True


def _shown(value: object) -> str:
    return value.__name__ if inspect.isclass(value) else f"{value!r:.60}"
