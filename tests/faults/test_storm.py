"""Must show 2 of issue 5, in short; `python -m tests.faults.storm` saves a thousand times."""

from __future__ import annotations

import pytest

from tests.faults.storm.audit import audit
from tests.faults.storm.storm import Plan, Storm
from tests.faults.storm.table import table_of
from tests.support.site import Site

pytestmark = pytest.mark.timeout(300)


def test_whatever_is_saved_the_last_good_code_is_served_and_no_job_pays(site: Site) -> None:
    """Good and broken saves in every manner, without a pause, while jobs run: none is lost, nothing grows."""
    plan = Plan(saves=24, share_broken=0.7, pause_seconds=0.1, checkpoint_every=12, load_seconds=3, workers=2, seed=5)
    storm = Storm(plan, site)
    storm.run()

    findings = audit(storm, site)

    assert not findings, table_of(plan, storm, findings)
