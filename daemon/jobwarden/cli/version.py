"""`jobwarden version`."""

from __future__ import annotations

from jobwarden.cli.places import AsJson
from jobwarden.cli.printing import print_json


def version_command(*, as_json: AsJson = False) -> None:
    """Print the version of jobwarden."""
    from jobwarden import __version__

    if as_json:
        print_json({"version": __version__})
    else:
        print(f"jobwarden {__version__}")
