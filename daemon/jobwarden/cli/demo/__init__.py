"""`jobwarden demo`: real work on a real daemon in a temporary folder, then what was promised beside what was seen.

stage     the temporary folder: handlers and database
daemon    the daemon under test, a process of its own, and what is left of it afterwards
receiver  the server that the webhooks go to
work      what is asked of the daemon
follow    live progress until all of it has ended
findings  the rows of the final table, each compared with an independent source
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson
from jobwarden.cli.printing import print_json, screen, table

if TYPE_CHECKING:
    from jobwarden.cli.demo.play import Played


def demo_command(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary folder: database, log, archive.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run real work on a temporary daemon, and show what was promised and what was seen."""
    from jobwarden.cli.demo.errors import DemoError
    from jobwarden.cli.demo.play import play
    from jobwarden.cli.shipped import ShippedFilesMissingError

    try:
        played = play(keep=keep)
    except (DemoError, ShippedFilesMissingError) as error:
        print(f"jobwarden: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("jobwarden: interrupted; the demo's daemon and folder are gone", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print_json(played.as_json())
    else:
        _print(played)
    raise typer.Exit(0 if played.kept else 1)


def _print(played: Played) -> None:
    marks = {True: "yes", False: "NO"}
    rows = [(row.promised, row.seen, marks[row.kept]) for row in played.rows]
    to_screen = screen()
    to_screen.print(table(("promised", "seen", "kept"), rows))
    kept = sum(row.kept for row in played.rows)
    print(f"\n{kept} of {len(rows)} promises kept, in {played.seconds:.1f} s")
    if played.folder is not None:
        print(f"kept the folder {played.folder}")
