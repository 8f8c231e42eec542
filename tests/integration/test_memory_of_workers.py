"""Must show 5 of issue 5, the short run; `pytest -s tests/benchmarks/test_memory.py` has 32 workers, also at work."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.memory import memory_of
from tests.support.site import Site

FEW, MANY = 2, 8
MOST_MB_EACH = 5.0
Record = Callable[[str, object], None]


def test_a_further_idle_worker_costs_little(site: Site, record_property: Record) -> None:
    """What its template has loaded it shares: at most 5 MB are its own, and the supervisor's for it."""
    site.start(workers=FEW, state="few")
    few = memory_of(site)
    site.daemons[0].stop()
    site.start(workers=MANY, state="many")
    many = memory_of(site)
    each = (many["all"] - few["all"]) / (MANY - FEW)
    record_property(f"PSS in MB of {FEW} idle workers and their daemon", few)
    record_property(f"PSS in MB of {MANY} idle workers and their daemon", many)
    record_property("PSS in MB of each further idle worker", round(each, 1))
    assert each <= MOST_MB_EACH
