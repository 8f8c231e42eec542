"""What all tests find without an import: sites on which daemons run, and their logs when a test fails; stores."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobwarden.testing.store_contract import plugin
from jobwarden.testing.store_contract.ground import GROUNDS
from tests.support import grounds
from tests.support.processes import subreaper
from tests.support.site import Site

PROCESS_HEAVY = tuple(
    map(
        re.compile,
        (
            "tests/faults/",
            "tests/integration/test_[a-d]",
            "tests/integration/test_[e-l]",
            "tests/integration/test_[m-q]",
            "tests/integration/",
            "tests/systemd/",
        ),
    )
)
"""Pieces whose tests fill the machine with processes: of each, one test at a time. The first that fits counts.

About equally long, but for the last: the longest one is what a run takes at least.
"""


def pytest_configure(config: pytest.Config) -> None:
    """The suite of the stores runs on each of ours."""
    config.stash[GROUNDS] = grounds.chosen()
    config.pluginmanager.register(plugin)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With xdist, each piece that starts daemons stays in one worker, its tests one after the other."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # noqa: PLC0415 - if it is used

    class PiecesInOneWorker(LoadScopeScheduling):  # type: ignore[misc]
        """These pieces come first, being the largest; all other tests are dealt out one by one."""

        def _split_scope(self, nodeid: str) -> str:
            return next((piece.pattern for piece in PROCESS_HEAVY if piece.match(nodeid)), nodeid)

    return PiecesInOneWorker(config, log)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A folder with a database and daemons; after the test, all of them end and the invariants are checked."""
    with subreaper():
        made = Site(tmp_path)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def shared_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with one running daemon for all tests of a module, which may say `SERVED_WITH` which flags it has."""
    with subreaper():
        made = Site(tmp_path_factory.mktemp("shared"))
        try:
            made.start(**getattr(request.module, "SERVED_WITH", {}))
            yield made
        finally:
            made.close()


@pytest.fixture
def served(shared_site: Site) -> Iterator[Site]:
    """The shared site, for tests that only ask its daemon to do its work; the invariants are checked after each."""
    yield shared_site
    shared_site.check()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - the hook's signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the daemons said when a test, or the check after it, fails."""
    report = yield
    found = [each for each in getattr(item, "funcargs", {}).values() if isinstance(each, Site)]
    if report.failed and found:
        report.sections.append(("logs of the daemons", found[0].logs()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have recorded with `record_property`."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name != plugin.PROPERTY:
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {name} {value}")
