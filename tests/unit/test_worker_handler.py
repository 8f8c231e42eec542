"""`@handler`: what it accepts, what it refuses and with which sentence."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Optional

import pytest

from jobwarden import JobContext, JobTimeout, RetryLater, handler
from jobwarden.worker.declaring import InvalidHandlerError
from jobwarden.worker.handler import collecting, definitions_of
from jobwarden.worker.rules import NO_RULES


def plain(payload: object) -> object:
    return payload


def with_context(payload: object, anything: JobContext) -> object:
    return payload, anything


def test_the_function_stays_what_it_is() -> None:
    """A decorated function is returned unwrapped, so that it can be called and tested directly."""
    assert handler("plain")(plain) is plain


def test_a_definition_is_attached_and_nothing_is_registered_outside_a_loader() -> None:
    """Importing a handler file without the daemon has no effect beyond the file."""

    def fresh(payload: object) -> object:
        return payload

    handler("fresh", timeout_ms=5, max_attempts=2, retry_delay=0.5)(fresh)
    (definition,) = definitions_of(fresh)
    assert (definition.job_type, definition.timeout_ms) == ("fresh", 5)
    assert (definition.max_attempts, definition.retry_delay) == (2, 0.5)
    assert definition.line == fresh.__code__.co_firstlineno


def test_rules_of_retries_stand_in_the_definition() -> None:
    """One class or several, in any collection; without any, the definition carries none."""

    def fresh(payload: object) -> object:
        return payload

    handler("ruled", retry_on=ConnectionError, fail_on=[KeyError, ValueError], max_concurrency=2)(fresh)
    handler("plain", heartbeat_timeout_ms=500)(fresh)
    ruled, unruled = definitions_of(fresh)
    assert (ruled.rules.retry_on, ruled.rules.fail_on) == ((ConnectionError,), (KeyError, ValueError))
    assert (ruled.max_concurrency, ruled.heartbeat_timeout_ms) == (2, None)
    assert (unruled.rules, unruled.heartbeat_timeout_ms) == (NO_RULES, 500)


def test_a_loader_collects_what_is_decorated_within_its_block() -> None:
    """Only what is decorated while a file is imported belongs to that file; blocks nest."""
    with collecting() as outer:
        handler("outer")(plain)
        with collecting() as inner:
            handler("inner")(plain)
    handler("neither")(plain)
    assert [definition.job_type for definition in outer] == ["outer"]
    assert [definition.job_type for definition in inner] == ["inner"]


def test_one_function_may_serve_several_types() -> None:
    """Decorators stack."""
    with collecting() as found:
        handler("second")(handler("first")(plain))
    assert [definition.job_type for definition in found] == ["first", "second"]


def defaulted(payload: object, retries: int = 3) -> object:
    return payload, retries


def defaulted_context(payload: object, ctx: JobContext | None = None) -> object:
    return payload, ctx


def optional_context(payload: object, ctx: Optional[JobContext] = None) -> object:  # noqa: UP045 - what is tested
    return payload, ctx


def unannotated(payload, ctx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - what is tested
    return payload, ctx


@pytest.mark.parametrize(
    ("function", "takes_context"),
    [
        (plain, False),
        (with_context, True),
        (defaulted, False),
        (defaulted_context, True),
        (optional_context, True),
        (unannotated, True),
    ],
)
def test_the_context_is_given_to_a_second_parameter(function: Callable[..., object], *, takes_context: bool) -> None:
    """Any second parameter gets the context, unless it has a default of its own and no JobContext in its annotation."""
    with collecting() as found:
        handler("any")(function)
    assert found[0].takes_context is takes_context


def test_a_wrapped_function_is_judged_by_what_it_wraps() -> None:
    """A user's own decorator made with functools.wraps does not hide the signature."""

    @functools.wraps(with_context)
    def wrapper(*arguments: Any) -> object:
        return with_context(*arguments)

    with collecting() as found:
        handler("wrapped")(wrapper)
    assert (found[0].payload_parameter, found[0].takes_context) == ("payload", True)


async def later(_attempt: int, _error: BaseException) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"job_type": ""}, "that is no job type; give a text of 1 to 255"),
        ({"job_type": "a\nb"}, "that is no job type"),
        ({"job_type": 7}, "that is no job type"),
        ({"job_type": plain}, 'it has no job type; write @handler("plain")'),
        ({"job_type": "a", "timeout_ms": 0}, "timeout_ms=0 is not possible; give a whole number from 1"),
        ({"job_type": "a", "timeout_ms": 1.5}, "timeout_ms=1.5 is not possible"),
        ({"job_type": "a", "max_attempts": True}, "max_attempts=True is not possible"),
        ({"job_type": "a", "max_attempts": "3"}, "max_attempts='3' is not possible"),
        ({"job_type": "a", "retry_delay": -1}, "retry_delay=-1 is not possible; give a number of seconds from 0"),
        ({"job_type": "a", "retry_delay": float("nan")}, "retry_delay=nan is not possible"),
        ({"job_type": "a", "heartbeat_timeout_ms": 0}, "heartbeat_timeout_ms=0 is not possible"),
        ({"job_type": "a", "max_concurrency": 10_001}, "max_concurrency=10001 is not possible; give a whole number"),
        ({"job_type": "a", "retry_on": ()}, "retry_on is empty; leave it out, or write max_attempts=1"),
        ({"job_type": "a", "fail_on": []}, "fail_on is empty; leave it out"),
        ({"job_type": "a", "retry_on": "ValueError"}, "retry_on holds 'ValueError'; give exception classes"),
        ({"job_type": "a", "retry_on": (ValueError, int)}, "retry_on holds int; give exception classes"),
        ({"job_type": "a", "fail_on": ValueError("x")}, "fail_on holds ValueError('x'); give exception classes"),
        ({"job_type": "a", "fail_on": RetryLater}, "fail_on holds RetryLater, which says itself what follows"),
        ({"job_type": "a", "retry_on": JobTimeout}, "retry_on holds JobTimeout, which says itself what follows"),
        ({"job_type": "a", "delay": 3}, "delay=3 is no function; give a function like"),
        ({"job_type": "a", "delay": lambda attempt: attempt}, "delay does not take two arguments"),
        ({"job_type": "a", "delay": later}, "delay is an async function"),
    ],
)
def test_arguments_that_cannot_work_are_refused_with_the_way_out(arguments: dict[str, Any], sentence: str) -> None:
    """One sentence names the argument, its value and what would be right."""
    with pytest.raises(InvalidHandlerError) as caught:
        handler(**arguments)
    assert sentence in str(caught.value)


def none() -> None: ...


def three(payload: object, ctx: object, more: object) -> object:
    return payload, ctx, more


def context_first(ctx: JobContext) -> object:
    return ctx


def yields(payload: object) -> Iterator[object]:
    yield payload


async def yields_async(payload: object) -> AsyncIterator[object]:
    yield payload


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (none, "it takes the parameters none"),
        (three, "it takes the parameters payload, ctx, more"),
        (context_first, "its first parameter is a JobContext"),
        (yields, "it yields"),
        (yields_async, "it yields"),
        (dict, "it stands on something that is no function"),
    ],
)
def test_functions_that_cannot_be_handlers_are_refused(function: Callable[..., object], sentence: str) -> None:
    """The signature is judged when the file is imported, not when the first job comes."""
    with pytest.raises(InvalidHandlerError, match=sentence):
        handler("job")(function)
