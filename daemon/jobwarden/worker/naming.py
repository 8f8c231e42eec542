"""How an error of user code is called: one sentence that every store and wire takes.

Its text is user code as well: whatever `__str__` does, the outcome must not be lost with it. Runs in the worker.
"""

from __future__ import annotations

LONGEST_MESSAGE = 2_000
_MOST_NAMED = 8


def clean(text: str) -> str:
    """Text that every store and wire takes: no lone surrogates, no NUL, of bounded length."""
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[:LONGEST_MESSAGE]}…"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def text_of(error: BaseException) -> str:
    """What it says, empty if nothing."""
    try:
        return clean(str(error))
    except BaseException as second:  # noqa: BLE001 - its own __str__
        return f"(cannot be shown: {type(second).__name__})"


def named(error: BaseException) -> str:
    """Its class and what it says; of a group (`asyncio.TaskGroup`) also those of what it holds."""
    text = text_of(error)
    name = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        name = f"{name}: {'; '.join(named(each) for each in single_errors(error)[:_MOST_NAMED])}"
    return clean(name)


def single_errors(error: BaseException) -> list[BaseException]:
    """What a group holds, groups within it taken apart; else the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [single for each in error.exceptions for single in single_errors(each)]
