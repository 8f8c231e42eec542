"""Waiting in tests: for a condition of the machine that sends no event, with a generous limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK

LIMIT_SECONDS = 30.0
_LOOK_SECONDS = 0.005

_Value = TypeVar("_Value")


def eventually(condition: Callable[[], _Value | None], *, what: str, seconds: float = LIMIT_SECONDS) -> _Value:
    """The first true value of `condition`; fails with `what` after the limit."""
    until_ns = SYSTEM_CLOCK.monotonic_ns() + int(seconds * SECOND_NS)
    pause = threading.Event()
    while not (value := condition()):
        assert SYSTEM_CLOCK.monotonic_ns() < until_ns, f"not within {seconds:g} s: {what}"
        pause.wait(_LOOK_SECONDS)
    return value
