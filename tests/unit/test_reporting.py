"""When the report of a node is made, and when it is written without waiting for the next beat."""

from __future__ import annotations

import json
from typing import Any

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.pools import Pools
from jobwarden.supervisor.reporting import Reporting
from tests.support.pool_world import TERMS


class Book:
    """A ledger that only keeps what is handed to it."""

    busy_ns = 0
    commits = 0
    maintained: Any = None

    def __init__(self) -> None:
        self.reports: list[str | None] = []

    def submit(self, entries: Entries) -> None:
        """Keep the report."""
        self.reports.append(entries.report)


def made() -> tuple[Reporting, Book]:
    """The report of a pool to which nothing has happened, and its ledger."""
    book = Book()
    pools = Pools([TERMS], jitter=lambda: 1.0)
    return Reporting(pools, book, clock=SYSTEM_CLOCK, connection_mode=lambda: "looking"), book  # type: ignore[arg-type]


def at(seconds: float) -> seen.Moment:
    """A moment so long after the start."""
    return seen.Moment(int(seconds * SECOND_NS) + 1, 1)


def test_the_report_is_made_once_a_second_and_left_to_the_beat() -> None:
    """Nothing is written for its own sake."""
    reporting, book = made()
    texts = []
    for seconds in (0, 0.5, 0.999, 1.0):
        reporting.tend(at(seconds), recorded=int(seconds * 1_000))
        texts.append(json.loads(reporting.text)["recorded"])
    assert texts == [0, 0, 0, 1_000]
    assert book.reports == []


def test_what_people_wait_for_is_written_at_once() -> None:
    """A reload: with the next turn, once."""
    reporting, book = made()
    reporting.tend(at(0), recorded=0)
    reporting.hurry()
    reporting.tend(at(0.001), recorded=1)
    reporting.tend(at(0.002), recorded=2)
    assert book.reports == [reporting.text]
    assert json.loads(reporting.text)["recorded"] == 1


def test_an_alert_is_written_with_the_next_report() -> None:
    """Many of them cost one commit a second at the most."""
    reporting, book = made()
    reporting.tend(at(0), recorded=0)
    for _ in range(100):
        reporting.note()
        reporting.tend(at(0.5), recorded=1)
    assert book.reports == []
    reporting.tend(at(1), recorded=2)
    reporting.tend(at(2), recorded=3)
    assert len(book.reports) == 1


def test_remarks_are_told_as_long_as_they_hold() -> None:
    """They are asked for each time."""
    reporting, _book = made()
    reporting.remarks = lambda: ["restart needed for database_url"]
    reporting.tend(at(0), recorded=0)
    assert json.loads(reporting.text)["problems"] == ["restart needed for database_url"]
