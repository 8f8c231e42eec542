"""The way out of a `JobContext`: to the supervisor in a worker (`AttemptLine`), to nobody in a unit test (`Line`).

Imports nothing heavy: every handler file imports this through `jobwarden`. Must never touch a store.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from jobwarden.errors import JobwardenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class Line:
    """Without a supervisor: what is said goes nowhere, there is always more time, and nothing can be asked."""

    __slots__ = ()

    @property
    def answers(self) -> bool:
        """Whether somebody is at the other end."""
        return False

    def progress(self, percent: float) -> None:
        """Report progress."""

    def heartbeat(self) -> None:
        """Give a sign of life."""

    def prolong(self, ms: int | None) -> bool:  # noqa: ARG002 - what lines are called with
        """Move the limit; whether that was granted."""
        return True

    def is_stopped(self) -> bool:
        """Whether the attempt is to end."""
        return False

    def undisturbed(self) -> AbstractContextManager[object]:
        """Holds soft stops back while it is entered."""
        return nullcontext()

    def on_timeout(self, callback: Callable[[], None]) -> None:
        """Have this called at the limit."""

    def ask(self, verb: str, arguments: str) -> str | None:  # noqa: ARG002 - what lines are called with
        """Have the supervisor do something in the store; its answer as JSON text."""
        message = f"{verb} needs a running daemon; in a unit test, hand your function what it would answer"
        raise JobwardenError(message)


NO_LINE = Line()
