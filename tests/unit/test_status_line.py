"""The line that a service manager shows of the daemon."""

from __future__ import annotations

from typing import Any

import pytest

from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.pools import Pools
from jobwarden.supervisor.report import report_of
from jobwarden.supervisor.status_line import LONGEST, status_line
from tests.support.pool_world import TERMS

NOW = seen.Moment(1, 1)


def report(*pools: dict[str, Any], busy: int = 0, **more: Any) -> dict[str, Any]:
    """Of one pool that is well, unless something else is said."""
    well = {"name": "default", "generation": 4, "types": ["a", "b"], "problems": [], "workers": 3}
    slots = [{"job_id": 7}] * busy + [{"job_id": None}]
    made = [{**well, **pool} for pool in pools or ({},)]
    return {"stopping": False, "trusted": True, "slots": slots, "pools": made, **more}


def test_it_tells_what_serves_and_how_busy_it_is() -> None:
    """One pool by its generation, several by their number."""
    assert status_line(report(busy=1)) == "generation 4 serves 2 job types; 1 of 3 workers busy"
    two = report({"types": ["a"], "workers": 1}, {"name": "heavy", "types": [], "generation": None})
    assert status_line(two) == "1 of 2 pools serve 1 job type; 0 of 4 workers busy"


def test_broken_code_comes_first_with_its_place() -> None:
    """File, line and error, and what serves on; of many problems the first."""
    broken = {"problems": ["greet.py:3: SyntaxError: invalid syntax", "b.py:1: NameError"]}
    first = "greet.py:3: SyntaxError: invalid syntax (and 1 problem more)"
    assert status_line(report(broken)) == f"{first}; generation 4 serves 2 job types; 0 of 3 workers busy"
    assert status_line(report({}, {**broken, "name": "heavy"})).startswith(f"pool heavy: {first}; 2 of 2 pools")


def test_a_broken_configuration_and_a_store_that_is_away_come_first() -> None:
    """What an operator has to do something about; the rest follows."""
    broken = report(problems=["the configuration stays as it was: workers: abc", "restart needed"])
    assert status_line(broken).startswith("the configuration stays as it was: workers: abc (and 1 problem more); gen")
    away = status_line(broken, store_problem="postgresql://db/jobs: no server answers there")
    assert away.startswith("the database does not answer: postgresql://db/jobs: no server answers there; the conf")
    leaving = status_line(report(busy=1, stopping=True), store_problem="jobs.db: the disk is full")
    assert leaving == "the database does not answer: jobs.db: the disk is full; stopping; 1 job still running"


@pytest.mark.parametrize(
    ("depth", "told"),
    [(0, "0 jobs wait"), (1, "1 job waits"), (99, "99 jobs wait"), (100, "100 jobs or more wait")],
)
def test_it_tells_how_many_jobs_wait(depth: int, told: str) -> None:
    """As far as they were counted; nothing where that is not known."""
    assert status_line(report(), depth=depth, most=100).endswith(f"; 0 of 3 workers busy; {told}")


def test_a_daemon_that_leaves_or_may_not_work_says_so() -> None:
    """Whatever else is so."""
    assert status_line(report(busy=2, stopping=True)) == "stopping; 2 jobs still running"
    assert status_line(report(trusted=False)).startswith("has lost its lease and starts no jobs; generation 4")


def test_it_is_one_line_that_no_terminal_obeys() -> None:
    """Errors of handler code may be long, of many lines, and contain anything."""
    line = status_line(report({"problems": ["a.py:1: Error: first\nsecond \x1b[2J" + "x" * 1_000]}))
    assert line.startswith("a.py:1: Error: first second ?[2Jxxx")
    assert len(line) == LONGEST


def test_it_is_made_of_the_report_of_real_pools() -> None:
    """The two agree about names; nothing is loaded yet."""
    pools = Pools([TERMS], jitter=lambda: 1.0)
    assert status_line(report_of(pools, NOW, kill_level_of=str)) == "nothing is served; 0 of 2 workers busy"
