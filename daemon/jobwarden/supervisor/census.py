"""Who is rightly a child of the supervisor: the pids that launchers have made, and whether a birth is under way.

One for all pools. The killer asks it before it takes an unknown child for a stray; the main thread writes it.
"""

from __future__ import annotations


class Census:
    """Pids of templates and workers, from their start until they are reaped."""

    def __init__(self) -> None:
        """Nobody is there."""
        self.known: set[int] = set()
        self.asked = 0
        self.answered = 0
        """While they differ, an unknown child may be a worker that is just being born."""
