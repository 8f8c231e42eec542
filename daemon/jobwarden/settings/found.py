"""What was found about options, and where: the data between those who read places and those who judge values. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Found(NamedTuple):
    """One value and the place where it was found, in words."""

    value: object
    place: str


class Table(NamedTuple):
    """One `[[pool]]`."""

    place: str
    """`FILE, [[pool]] "NAME"`."""
    name: str | None
    """None: it has none that could be one, which is among the problems."""
    options: dict[str, Found]


class Contents(NamedTuple):
    """What stands in a file, or in several."""

    options: dict[str, Found]
    tables: list[Table]


class Gathered(NamedTuple):
    """All that was said about options, weaker places already left out."""

    options: dict[str, Found]
    tables: list[Table]
    said: dict[str, Found]
    """What a flag or a variable says: it wins over every table too."""
