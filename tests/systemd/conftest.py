"""The shipped unit under a real systemd, booted once for all tests of this folder that are content with that."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.support.systemd_service import UNIT, Service, installed_service


@pytest.fixture(scope="package")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The unit in a lab, as it is shipped, but for a shorter pause before a restart."""
    with installed_service(tmp_path_factory.mktemp("lab")) as service:
        yield service


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The same, serving; the test may leave it in any state."""
    installed.ensure_started()
    yield installed
    installed.cancel_all()
    assert installed.overlaps() == "", "two attempts of one job ran at the same time"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - the hook's signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the journal when a test fails."""
    report = yield
    found = [each for each in getattr(item, "funcargs", {}).values() if isinstance(each, Service)]
    if report.failed and found:
        journal = found[0].lab.run("journalctl", "--no-pager", "--lines=60", "--unit", UNIT, check=False)
        report.sections.append(("the journal of the unit", journal.stdout))
    return report
