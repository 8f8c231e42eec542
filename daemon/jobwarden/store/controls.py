"""`store.controls`: pauses, limits and rates, editable at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.store.access import Access


class Controls:
    """Made by `Store`."""

    def __init__(self, access: Access) -> None:
        self._access = access
