"""How SQLite reads a set: one JSON array parameter becomes a table of entries, its columns named by a layout."""

from __future__ import annotations

from jobwarden.store import entries


def with_entries(layout: tuple[str, ...]) -> str:
    """The WITH clause under which `e` is a table of the entries, its columns named by the layout."""
    fields = ", ".join(f"raw.value ->> {place} AS {name}" for place, name in enumerate(layout))
    return (
        "WITH raw AS MATERIALIZED (SELECT value FROM json_each(:entries)), "
        f"e AS NOT MATERIALIZED (SELECT {fields} FROM raw)"
    )


WITH_ATTEMPTS = with_entries(entries.ATTEMPT)

FREED = "node_id = NULL, claim_batch = NULL, locked_at = NULL, locked_by = NULL"
"""What every way out of `processing` sets."""
