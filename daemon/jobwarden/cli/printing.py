"""Putting things on a screen: JSON as it is, text without control characters, tables by rich.

Payloads, captured output and error messages come from strangers: a terminal must not obey what they contain.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import Console, RenderableType

PIPE_WIDTH = 200
"""Characters per line where standard output is no terminal."""


def print_json(value: object) -> None:
    """One JSON document; indented on a terminal, on one line elsewhere."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, ensure_ascii=False, indent=indent))


def json_text(value: object, *, longest: int | None = None) -> str:
    """A JSON value as one line of text, cut after `longest` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def printable(text: str) -> str:
    """The text with all control characters but line ends and tabs made visible."""
    return "".join(each if each.isprintable() or each in "\n\t" else _visible(each) for each in text)


def screen(*, errors: bool = False) -> Console:
    """Standard output, or standard error, for rich; takes nothing that it prints for markup or emoji."""
    from rich.console import Console

    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> RenderableType:
    """A table without a frame; None is shown as a dash."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(*headings, title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    for row in rows:
        grid.add_row(*(Text("-" if cell is None else printable(str(cell))) for cell in row))
    return grid


def moment(when: datetime | None) -> str | None:
    """A moment in the machine's own time zone, to the second."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else None


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `3 m 20 s`."""
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f} s"
    for unit, name, smaller, its_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name} {seconds % unit // smaller:.0f} {its_name}"
    return f"{seconds:.1f} s"


def _visible(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()
