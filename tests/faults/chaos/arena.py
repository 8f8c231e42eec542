"""What the chaos run needs of a store: addresses for everybody, faults of its own, and nothing left at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tests.faults.chaos.faults import Fault


class Arena(Protocol):
    """One database in a folder."""

    whole_tree_seconds: float
    """How long a whole daemon may be stopped: where leases rule, it must be back before its own runs out."""
    one_host: bool
    """Whether all daemons share a host by what the store knows of them."""
    left_out: list[str]
    """Kinds of faults that are not possible here, and why."""

    def open(self) -> None:
        """Make the database."""

    def url(self, daemon: int) -> str:
        """Where this daemon finds it."""

    @property
    def adder_url(self) -> str:
        """Where the adder finds it."""

    @property
    def true_url(self) -> str:
        """A way that no fault stands in."""

    def clock(self, daemon: int) -> Path:
        """The file that moves the wall clock of this daemon."""

    def faults(self) -> list[Fault]:
        """The faults of this store."""

    def own_children(self) -> set[int]:
        """Children of this process that belong to the store."""

    def numbers(self) -> dict[str, int]:
        """What else of the faults is worth a line in the table."""

    def leftovers(self) -> list[str]:
        """What daemons should have taken away, one sentence each."""

    def close(self) -> None:
        """End everything."""
