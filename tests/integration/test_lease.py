"""The lease's thread on a real PostgreSQL, one renewal at a time: what it does to the page, the pool and the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from jobwarden import events
from jobwarden.clock import SECOND_NS, Clock
from jobwarden.jobs import JobOptions, TypeTerms
from jobwarden.store import Claim, NodeStart, Store, Work, Writer, open_store
from jobwarden.store.deaths import LONGEST_PAUSE_SECONDS, Dead, DeathWatch, pause_seconds
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.entries import Entries
from jobwarden.supervisor.handover import inheritable_memfd
from jobwarden.supervisor.lease import Lease
from jobwarden.supervisor.ledger import Ledger
from jobwarden.supervisor.mailbox import Mailbox
from jobwarden.supervisor.membership import Membership, marker_of
from jobwarden.supervisor.trust import TrustWindow, margin_seconds
from jobwarden.wire.page import PAGE_BYTES, TRUSTED_UNTIL, SharedPage
from tests.support.postgresql import server
from tests.support.proxy import Proxy

LEASE_SECONDS = 15.0
WINDOW_NS = int((LEASE_SECONDS - margin_seconds(LEASE_SECONDS)) * SECOND_NS)


class HandClock(Clock):
    """Both clocks are set by hand."""

    def __init__(self) -> None:
        self.ns = 1_000 * SECOND_NS
        self.wall_us = 1_700_000_000_000_000

    def boottime_ns(self) -> int:
        return self.ns

    def now_us(self) -> int:
        return self.wall_us


class Kept:
    """In the ledger's place: keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[Entries] = []

    def submit(self, entries: Entries) -> None:
        self.given.append(entries)


class Node:
    """A member of the store, its renewal in the test's hands."""

    def __init__(self, url: str, node_id: str) -> None:
        self.clock = HandClock()
        self.store: Store = open_store(url, migrate=True)
        self.writer = self.store.writer()
        self.mailbox = Mailbox()
        self.page = SharedPage(inheritable_memfd("page", bytes(PAGE_BYTES)), writable=True)
        self.kept = Kept()
        self.answer_takes_ns = 0
        self.report = "{}"
        self.membership = Membership(
            start_of(node_id),
            window=TrustWindow(self.page, lease_seconds=LEASE_SECONDS),
            mailbox=self.mailbox,
            clock=self.clock,
            jitter=lambda: 1.0,
            node_lock=None,
        )
        self.membership.join(self.writer)
        pulse = self.store.pulse()
        assert pulse is not None
        self._pulse = pulse
        self.lease = Lease(
            pulse,
            self.membership,
            DeathWatch(self.store, lease_seconds=LEASE_SECONDS, clock=self.clock),
            ledger=cast("Ledger", self.kept),
            mailbox=self.mailbox,
            lease_seconds=LEASE_SECONDS,
            clock=self.clock,
            report=self._report,
        )

    def _report(self) -> str:
        """Called when a renewal has begun."""
        self.clock.ns += self.answer_takes_ns
        return self.report

    def renew(self, *, after: float = 3.0) -> float:
        """The next renewal, so many seconds later."""
        self.clock.ns += int(after * SECOND_NS)
        return self.lease.renew()

    @property
    def trusted_for_ns(self) -> int:
        """How far ahead the end of its trust is."""
        return self.page[TRUSTED_UNTIL] - self.clock.ns

    def dead(self) -> list[Dead]:
        """Whom it has told the ledger to free."""
        return [each for entries in self.kept.given for each in entries.free_nodes]

    def claim(self) -> None:
        """Take one job."""
        claim = Claim(batch="b", limit=1, types=(TypeTerms(job_type="t"),))
        work = Work(now_us=self.clock.now_us(), node_id=self.membership.node_id, node_name="n", claim=claim)
        assert len(self.writer.transact(work).claimed) == 1

    def close(self) -> None:
        self._pulse.close()
        self.writer.close()
        self.store.close()


def start_of(node_id: str) -> NodeStart:
    """A node's beginning."""
    return NodeStart(
        node_id=node_id,
        name="host:1",
        host="host",
        boot_id="boot",
        pid=1,
        state_dir="state",
        lease_seconds=LEASE_SECONDS,
        doorbell=None,
        version="0",
    )


@pytest.fixture
def url() -> str:
    return server().new_database()


@pytest.fixture
def node(url: str) -> Iterator[Node]:
    made = Node(url, "a")
    yield made
    made.close()


@pytest.fixture
def other(url: str, node: Node) -> Iterator[Node]:  # noqa: ARG001 - the schema is made by the first
    made = Node(url, "b")
    yield made
    made.close()


@pytest.fixture
def told() -> Iterator[list[events.Fact]]:
    """The facts that were emitted."""
    facts: list[events.Fact] = []
    end = events.listen(facts.append)
    yield facts
    end()


def test_trust_lasts_one_window_from_the_start_of_the_last_good_renewal(node: Node) -> None:
    """Not from its end: the answer may have been on its way for long."""
    assert node.trusted_for_ns == WINDOW_NS
    node.answer_takes_ns = 2 * SECOND_NS
    node.renew()
    assert node.trusted_for_ns == WINDOW_NS - 2 * SECOND_NS


def test_a_renewal_that_fails_opens_nothing_and_comes_again_soon(url: str, told: list[events.Fact]) -> None:
    """The pause grows, but never beyond that of good renewals; it is told once, and once when it is over."""
    found = server()
    with Proxy(str(found.socket_dir / f".s.PGSQL.{found.port}")) as proxy:
        made = Node(proxy.url(url), "a")
        made.renew(after=0)
        until = made.page[TRUSTED_UNTIL]
        proxy.refuse()
        pauses = [made.renew(after=1) for _ in range(6)]
        assert made.page[TRUSTED_UNTIL] == until
        assert pauses == sorted(pauses)
        assert max(pauses) <= pause_seconds(LEASE_SECONDS)
        proxy.resume()
        made.renew(after=1)
        assert made.trusted_for_ns == WINDOW_NS
        assert [type(fact) for fact in told] == [events.RenewalFailed, events.Renewed]
        made.close()


def test_a_node_whose_row_is_gone_trusts_itself_no_more_and_the_pool_is_told_once(node: Node) -> None:
    """Others start its jobs this moment: there is no window to wait for."""
    node.writer.remove_node("a")
    node.renew()
    node.renew()
    assert node.trusted_for_ns < 0
    assert node.mailbox.take() == [seen.NodeGone()]


def test_a_node_joins_again_under_a_new_id_with_the_mark_of_its_start(node: Node, told: list[events.Fact]) -> None:
    """Its processes keep their mark, by which they are found; an answer about the old id changes nothing any more."""
    node.writer.remove_node("a")
    node.renew()
    node.membership.rejoin(node.writer)
    fresh = node.membership.node_id
    assert fresh != "a"
    assert marker_of(fresh) == "a"
    assert node.trusted_for_ns == WINDOW_NS
    until = node.page[TRUSTED_UNTIL]
    node.membership.renewed("a", since_ns=node.clock.ns + SECOND_NS)
    node.membership.missed("a")
    assert node.page[TRUSTED_UNTIL] == until
    assert node.mailbox.take() == [seen.NodeGone()]
    node.renew()
    assert node.trusted_for_ns == WINDOW_NS
    assert [view.node_id for view in node.store.nodes()] == [fresh]
    assert any(isinstance(fact, events.Rejoined) for fact in told)


def test_what_still_runs_under_the_old_id_is_freed_when_a_node_joins_again(node: Node) -> None:
    """Somebody deleted the row and freed nothing: nobody else would find those jobs."""
    (job_id,) = node.store.add([JobOptions.parse(job_type="t")], now_us=node.clock.now_us())
    node.claim()
    node.writer.remove_node("a")
    node.membership.rejoin(node.writer)
    record = node.store.get(job_id)
    assert record is not None
    assert (record.status, record.attempts) == ("pending", 0)


class Losing:
    """A writer that frees the old id, and then somebody takes the new row away and a renewal sees it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __getattr__(self, name: str) -> object:
        return getattr(self._node.writer, name)

    def free_node(self, node_id: str, **given: Any) -> int:
        freed = self._node.writer.free_node(node_id, **given)
        self._node.writer.remove_node(self._node.membership.node_id)
        self._node.lease.renew()
        return freed


def test_a_row_that_is_taken_away_while_its_node_joins_is_missed_afterwards(node: Node) -> None:
    """The pool waits for that end: told before it, it would hear nothing new, and never join again."""
    node.writer.remove_node("a")
    node.renew()
    assert node.mailbox.take() == [seen.NodeGone()]
    node.membership.rejoin(cast("Writer", Losing(node)))
    assert node.mailbox.take() == []
    node.renew()
    assert node.mailbox.take() == [seen.NodeGone()]


def test_a_beat_that_stands_still_for_its_lease_is_told_to_the_ledger_with_that_beat(node: Node, other: Node) -> None:
    """Whoever frees it deletes the row only if it still shows what was seen."""
    other.renew()
    for _ in range(6):
        node.renew()
    assert node.dead() == [Dead("b", 1)]
    assert other.writer.free_node("b", now_us=1, jitter=lambda: 1.0, beat=0) == 0
    other.renew()
    assert other.trusted_for_ns == WINDOW_NS


@pytest.mark.parametrize("jump_seconds", [7_200, -7_200])
def test_a_jump_of_the_hosts_wall_clock_neither_kills_nor_saves_a_node(
    node: Node, other: Node, jump_seconds: int
) -> None:
    """R6: an hour forwards would make every node stale by the clock, an hour back would make none."""
    for turn in range(5):
        if turn == 2:
            node.clock.wall_us += jump_seconds * 1_000_000
        other.renew()
        node.renew()
    assert node.dead() == []
    assert node.trusted_for_ns == WINDOW_NS
    for _ in range(4):
        node.renew()
    assert node.dead() == []
    node.renew()
    assert [each.node_id for each in node.dead()] == ["b"]


def test_wishes_go_to_the_loop_and_what_is_processing_to_the_ledger(node: Node) -> None:
    """One round trip brings everything that a node has to know."""
    (job_id,) = node.store.add([JobOptions.parse(job_type="t")], now_us=node.clock.now_us())
    node.claim()
    node.store.cancel(job_id, now_us=node.clock.now_us(), reason="enough")
    node.renew()
    assert node.mailbox.take() == [seen.Wished(job_id, 1, "cancel", "enough")]
    brought = node.kept.given[-1].seen
    assert brought is not None
    assert brought.processing == [(job_id, 1)]


def test_it_renews_until_it_is_told_to_leave(node: Node) -> None:
    """However long the lease, often enough to be the net under lost rings."""
    assert pause_seconds(3_600) == LONGEST_PAUSE_SECONDS
    assert pause_seconds(3) == 0.6
    node.lease.leave()
    node.lease.start()
    node.lease.join(10)
    assert not node.lease.is_alive()


def test_a_node_that_leaves_is_not_told_that_its_row_is_gone(node: Node) -> None:
    """The last renewal may cross the removal of the row."""
    node.membership.sign_off(node.writer)
    node.renew()
    assert node.mailbox.take() == []


def test_no_report_costs_the_lease_in_a_database_with_a_narrow_encoding() -> None:
    """P6: it may name what a broken handler said, in any language; who reads it sees the same."""
    url = make_url(server().new_database())
    with create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool).connect() as made:
        made.execution_options(isolation_level="AUTOCOMMIT")
        made.execute(
            text("CREATE DATABASE narrow_of_leases ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        )
    node = Node(url.set(database="narrow_of_leases").render_as_string(hide_password=False), "a")
    node.report = '{"problem":"\u2192 \U0001f600"}'
    node.renew()
    assert node.trusted_for_ns == WINDOW_NS
    work = Work(now_us=1, node_id="a", node_name="n", report=node.report, types='[{"jobType":"t\u2192"}]')
    node.writer.transact(work)
    (view,) = node.store.nodes()
    assert view.report == {"problem": "\u2192 \U0001f600"}
    assert view.types is not None
    assert view.types[0].job_type == "t\u2192"
    node.close()
