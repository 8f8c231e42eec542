"""The files that come with jobwarden beside its code: handlers, configuration, units.

In a wheel they lie in the package, in a clone (an editable install) at their place in the repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jobwarden
from jobwarden.errors import JobwardenError

if TYPE_CHECKING:
    from collections.abc import Iterable


class ShippedFilesMissingError(JobwardenError):
    """This installation has lost files that come with jobwarden."""

    def __init__(self, what: str, places: Iterable[Path]) -> None:
        """`places` are the folders in which they could have been."""
        super().__init__(f"no {what} in {' or '.join(map(str, places))}; install jobwarden again")


def shipped_folder(what: str) -> Path:
    """The folder of that name in the repository: `handlers`, `config` or `systemd`."""
    package = Path(jobwarden.__file__).parent
    places = (package / f"shipped_{what}", package.parents[1] / what)
    for place in places:
        if place.is_dir():
            return place
    raise ShippedFilesMissingError(what, places)
