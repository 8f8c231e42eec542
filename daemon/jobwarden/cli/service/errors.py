"""What keeps `jobwarden service` from doing what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.errors import JobwardenError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ServiceError(JobwardenError):
    """The sentence names what is in the way, and the way out."""

    def __init__(self, thing: str, problem: str) -> None:
        """`thing` is an option, a path or a command; `problem` says what is wrong and what would be right."""
        super().__init__(f"{thing}: {problem}")


class StepFailedError(ServiceError):
    """A command that belongs to the plan ended with an error; what was done before it stays done."""

    def __init__(self, words: Sequence[str], how: str, *, hint: str = "") -> None:
        """`how` says how it ended, `hint` where to look."""
        command = " ".join(words)
        super().__init__(
            f"`{command}`", f"{how}{hint}; what was done before it stays, and the same again goes on there"
        )
