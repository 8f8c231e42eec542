"""`store.bulk`: what people do to many jobs at once, by filter; and editing and removing single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.store import counting, paging

if TYPE_CHECKING:
    from jobwarden.jobs.filter import JobFilter
    from jobwarden.store.access import Access
    from jobwarden.store.paging import Page


class Bulk:
    """Made by `Store`. Every verb is one transaction: all of it happens, or nothing."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def find(
        self,
        wanted: JobFilter,
        *,
        order: str = paging.NEWEST_FIRST,
        limit: int,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page:
        """At most `limit` jobs (at least 1) that match, in one of `paging.ORDERS`.

        `cursor`, of an earlier page of the same order, begins after that page whatever came or went meanwhile;
        `offset` is then counted from there. Raises InvalidJobError for an unknown order or another order's cursor.
        """
        with self._access.reading() as connection:
            return paging.find_page(connection, wanted, order=order, limit=limit, offset=offset, cursor=cursor)

    def count(self, wanted: JobFilter) -> int:
        """How many jobs match; without looking at any if only types and states are asked for."""
        with self._access.reading() as connection:
            return counting.count_matching(connection, wanted)
