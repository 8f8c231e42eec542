"""`jobwarden backup`: a copy of an SQLite database while daemons and clients work on it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, find_url
from jobwarden.cli.printing import print_json, printable, screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def backup_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file; there must be none.", show_default=False)],
    *,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Copy the SQLite database to a file.

    While it is worked on, as it is at one moment, and whatever version of jobwarden made it. What runs at that moment
    runs again where the copy is put in the database's place.
    """
    from jobwarden.store.dialects import StoreOptions, dialect_for

    dialect = dialect_for(find_url(database_url, config), StoreOptions())
    try:
        with _progress() as told:
            dialect.back_up(file, told=told)
    finally:
        dialect.close()
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size})
    else:
        print(printable(f"{file}: {size} bytes, checked and on the disk"))


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _whole: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("backup"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=screen(errors=True), transient=True) as progress:
        bar = progress.add_task("backup", total=None)
        yield lambda done, whole: progress.update(bar, completed=done, total=whole)
