"""`store.bulk`: what people do to many jobs at once, by filter; and editing and removing single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.store.access import Access


class Bulk:
    """Made by `Store`."""

    def __init__(self, access: Access) -> None:
        self._access = access
