"""What all tests find without an import: the site on which daemons run, and their logs when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.processes import subreaper
from tests.support.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A folder with a database and daemons; after the test, all of them end and the invariants are checked."""
    with subreaper():
        made = Site(tmp_path)
        try:
            yield made
        finally:
            made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - the hook's signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the daemons said when a test, or the check after it, fails."""
    report = yield
    made = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(made, Site):
        report.sections.append(("logs of the daemons", made.logs()))
    return report
