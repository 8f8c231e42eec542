"""`store.upkeep`: expiry, retention, repair; by the daemon each round, and by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.store.access import Access


class Upkeep:
    """Made by `Store`."""

    def __init__(self, access: Access) -> None:
        self._access = access
