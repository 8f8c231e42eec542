"""A short chaos run on each store; `python -m tests.faults.chaos` is the long one (issue 4, Must show 2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.chaos.campaign import ARENAS, Campaign, Plan
from tests.faults.chaos.table import table_of
from tests.support.processes import subreaper

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("store", sorted(ARENAS))
def test_whatever_breaks_nothing_is_lost_doubled_or_left(
    store: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Three daemons, every kind of fault: each accepted job ends once, visibly, and no attempt meets another one."""
    plan = Plan(store=store, seconds=9, pause_seconds=0.4, even=True, seed=4)
    with subreaper():
        report = Campaign(plan, tmp_path).run()
    assert not report.findings, table_of(plan, report)
    assert report.faults.total() > 0
    record_property("faults", report.faults.total())
    record_property("jobs", report.numbers["jobs in the store"])
    record_property("kinds that did not fit in", [name for name, number in report.faults.items() if not number])
