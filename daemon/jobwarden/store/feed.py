"""`store.feed`: events of all jobs in the order of their commits, after a cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.store.access import Access


class Feed:
    """Made by `Store`."""

    def __init__(self, access: Access) -> None:
        self._access = access
