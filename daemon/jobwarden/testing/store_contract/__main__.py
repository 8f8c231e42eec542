"""`python -m jobwarden.testing.store_contract URL [--yes] [arguments of pytest]`: the suite on somebody's store.

Ends with pytest's exit code, or with 2 and one sentence when the suite cannot run. Touches no database but the one at
URL, and that one only if it is empty or `--yes` was said.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.errors import JobwardenError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pytest

    from jobwarden.testing.store_contract.ground import Ground

USAGE = """usage: python -m jobwarden.testing.store_contract URL [--yes] [arguments of pytest]

Runs the suite of all stores on the one that URL leads to. The database is emptied before each test."""
CANNOT_RUN = 2


def main(words: Sequence[str]) -> int:
    """Run it; the exit code."""
    if not words or words[0] in {"-h", "--help"}:
        print(USAGE)
        return 0 if words else CANNOT_RUN
    missing = [name for name in ("pytest", "hypothesis") if find_spec(name) is None]
    if missing:
        return _refuse(f"the suite needs {' and '.join(missing)}; install it with: pip install 'jobwarden[testing]'")
    url, *rest = words
    try:
        held = _held(url)
    except JobwardenError as error:
        return _refuse(str(error))
    if held and "--yes" not in rest:
        return _refuse(f"the database holds {held}; the suite would delete all jobs in it: name an empty one, or --yes")
    return _run(url, [word for word in rest if word != "--yes"])


def suite() -> Path:
    """The folder of the tests: in the package, or in the repository that this is part of."""
    here = Path(__file__).parent
    places = (here / "suite", here.parents[3] / "tests" / "store")
    return next(place for place in places if place.is_dir())


def _held(url: str) -> str | None:
    from jobwarden.testing.store_contract.ground import held_at  # noqa: PLC0415 - needs pytest

    return held_at(url)


def _run(url: str, rest: list[str]) -> int:
    import pytest  # noqa: PLC0415 - only who installed the extra has it

    from jobwarden.testing.store_contract import plugin  # noqa: PLC0415 - as above

    # No configuration but the suite's own, wherever the command happens to be started.
    folder = str(suite())
    plain = ["-c", os.devnull, "--rootdir", folder, "--confcutdir", folder, "-p", "no:cacheprovider"]
    return int(pytest.main([*plain, "-m", "not nightly", folder, *rest], plugins=[_GivenUrl(url), plugin]))


class _GivenUrl:
    """The plugin that hands the one database to the suite, and leaves out what would not touch it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def pytest_configure(self, config: pytest.Config) -> None:
        from jobwarden.testing.store_contract.ground import GROUNDS, GivenDatabase  # noqa: PLC0415 - needs pytest

        scheme = self._url.partition(":")[0]
        grounds: Mapping[str, Callable[[], Ground]] = {scheme: lambda: GivenDatabase(self._url)}
        config.stash[GROUNDS] = grounds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if "ground" in getattr(item, "fixturenames", ())]


def _refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
