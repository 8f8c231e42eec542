"""Query plans on PostgreSQL: what runs all the time must not search, whatever the statistics say.

A plan is kept for as long as a connection lives, so the one that was made over empty tables must do for full ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, CursorResult, TextClause, text

from jobwarden.store import StoreOptions, entries, open_store
from jobwarden.store.dialects import Dialect, dialect_for
from jobwarden.store.dialects.postgresql.statements import STATEMENTS

pytestmark = pytest.mark.only("postgresql", reason="EXPLAIN and the statistics are PostgreSQL's")

ENDED = 30_000
OTHERS = 3_000
READY = 3_000
FIRST = ENDED + OTHERS + 1
"""The first ready job of the served type."""

NODE = {"node_id": "n"}
TAKEN = {**NODE, "node_name": "host:1", "batch": "b", "now": 1}
ONE_TYPE = json.dumps([["work", 3, None, 60.0, None, None]])
THREE_TYPES = json.dumps([[name, 3, None, 60.0, None, room] for name, room in (("work", 5), ("b", None), ("c", None))])
TERMS = {"max_attempts": 3, "timeout_ms": None, "retry_delay": 60.0, "heartbeat_timeout_ms": None}
IDS = json.dumps(list(range(FIRST, FIRST + 50)))

_PLAIN: dict[str, object] = {"output": "{}", "status": "failed", "event_type": "failed", "outcome": "failed"}
_NUMBERS = {"fence", "attempts", "crashes", "interruptions", "lost_in_row", "raised", "percent", "ms"}


def rows_of(layout: tuple[str, ...]) -> dict[str, object]:
    """The parameters of a statement about fifty attempts."""
    known = {**_PLAIN, **dict.fromkeys(_NUMBERS, 1), "at": 1}
    rows = [[number if name == "job_id" else known.get(name) for name in layout] for number in json.loads(IDS)]
    return {**NODE, "now": 1, "entries": json.dumps(rows)}


CLAIM = {**TAKEN, "limit": 100}
EXPECTED: list[tuple[str, TextClause, dict[str, Any], set[str]]] = [
    ("claim", STATEMENTS.take_ready(1, 0, False), {**CLAIM, "terms": ONE_TYPE}, {"job_claim", "job_pkey", "node_pkey"}),  # type: ignore[misc]  # noqa: FBT003
    (
        "claim with a limit per node",
        STATEMENTS.take_ready(3, 1, True),  # type: ignore[misc]  # noqa: FBT003
        {**CLAIM, "terms": THREE_TYPES},
        {"job_claim", "job_pkey", "node_pkey"},
    ),
    (
        "choose",
        STATEMENTS.choose_ready(1, 0, False),  # noqa: FBT003
        {**CLAIM, "terms": ONE_TYPE},
        {"job_claim", "job_pkey", "node_pkey"},
    ),
    ("take", STATEMENTS.claim_jobs, {**TAKEN, **TERMS, "ids": IDS}, {"job_pkey"}),
    ("record", STATEMENTS.record_processing, TAKEN, {"job_node"}),
    ("promote", STATEMENTS.promote_due, {"now": 1}, {"job_due", "job_pkey"}),
    ("completions", STATEMENTS.record_completions, rows_of(entries.COMPLETION), {"job_pkey"}),
    ("ends", STATEMENTS.record_endings, rows_of(entries.END), {"job_pkey"}),
    ("give back", STATEMENTS.give_back, rows_of(entries.ATTEMPT), {"job_pkey"}),
    ("settled", STATEMENTS.settled, rows_of(entries.ATTEMPT), {"job_pkey"}),
    ("old progress", STATEMENTS.drop_progress_events, rows_of(entries.PROGRESS), {"job_pkey", "event_job"}),
    ("progress event", STATEMENTS.record_progress, rows_of(entries.PROGRESS), {"job_pkey"}),
    ("progress", STATEMENTS.note_progress, rows_of(entries.PROGRESS), {"job_pkey"}),
    ("prolongs", STATEMENTS.record_prolongs, rows_of(entries.PROLONG), {"job_pkey"}),
    (
        "what follows from ends",
        STATEMENTS.ended_kinds,
        {"ids": IDS},
        {"job_pkey", "edge_open", "barrier_waits_for", "tag_pkey", "tag_name", "control_pkey"},
    ),
    ("outlook", STATEMENTS.outlook, {}, {"control_pkey", "job_due", "job_expiry"}),
    # Both of the last two hold only what is wished or running.
    ("look", STATEMENTS.look, NODE, {"control_pkey", "node_pkey", "job_due", "job_expiry", "job_wish", "job_node"}),
    (
        "renew",
        STATEMENTS.renew[0],
        {**NODE, "now": 1, "report": None},
        {"node_pkey", "job_due", "job_expiry", "job_wish", "job_node", "event_pkey", "event_feed"},
    ),
    ("wishes", STATEMENTS.wished_cancelled, {}, {"job_wish"}),
    ("jobs of dead nodes", STATEMENTS.jobs_to_free, {}, {"job_node", "node_pkey"}),
    ("jobs by number", STATEMENTS.jobs_by_id, {"ids": IDS}, {"job_pkey"}),
    (
        "keys",
        STATEMENTS.hold_keys,
        {"entries": '[["k", 1, null]]', "now": 1, "held_since": 1},
        {"key_pkey", "job_pkey"},
    ),
    (
        "barriers",
        STATEMENTS.find_barriers,
        {"entries": json.dumps([[FIRST, '["a", "b"]']])},
        {"tag_live", "tag_name", "tag_pkey"},
    ),
    # Both hold only jobs that wait in lanes; over empty ones the planner sees no difference.
    ("waiting groups", STATEMENTS.waiting_groups, {"after": "", "most": 10}, {"job_lane_group", "job_lane_type"}),
]

_SEARCHED = {"job_pkey", "job_claim", "event_job", "key_pkey", "edge_open", "barrier_waits_for", "tag_name", "tag_pkey"}
"""Indexes that hold ended jobs, or a whole backlog: nobody reads them from one end to the other."""
_SMALL = {"control", "node"}
"""Tables of a few rows, which may be read whole."""
_MOMENT = "timestamptz '2027-01-01'"
_FILL = f"""
INSERT INTO job (id, job_type, status, priority, run_at, claim_rank, created_at, updated_at, payload, ready, due_at,
                 completed_at, ended_at)
SELECT nextval('job_id_seq'), CASE WHEN n > {ENDED} AND n < {FIRST} THEN 'other' ELSE 'work' END,
       CASE WHEN n <= {ENDED} THEN 'completed' ELSE 'pending' END, 0, {_MOMENT}, 0, {_MOMENT}, {_MOMENT}, 'null',
       CASE WHEN n > {ENDED} THEN 1 END, CASE WHEN n > {ENDED} THEN {_MOMENT} END,
       CASE WHEN n <= {ENDED} THEN {_MOMENT} END, CASE WHEN n <= {ENDED} THEN {_MOMENT} END
FROM generate_series(1, {FIRST + READY - 1}) AS n
"""  # noqa: S608 - our own constants
_NODE = f"""
INSERT INTO node (id, name, host, boot_id, pid, state_dir, started_at, beat, beat_at, lease_seconds, version)
VALUES ('n', 'host:1', 'host', 'boot', 1, '/', {_MOMENT}, 0, {_MOMENT}, 15, '1')
"""  # noqa: S608 - our own constants


class Asked:
    """The hot statements, as a writer's transaction sends them."""

    def __init__(self, dialect: Dialect, connection: Connection) -> None:
        self._dialect = dialect
        self._connection = connection

    def plan(self, statement: TextClause, given: dict[str, Any], *, mode: str) -> list[dict[str, Any]]:
        """All nodes of the plan of a prepared statement that was executed; what it did is undone."""
        words = re.sub(r"(?<![:\w]):(\w+)", r"%(\1)s", str(statement).replace("%", "%%"))
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", words)))
        prepared = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", words).replace("%%", "%")
        values = ", ".join(["%s"] * len(names))
        self._dialect.begin(self._connection, writing=True)
        driver: Any = self._connection.connection.driver_connection
        try:
            with psycopg.ClientCursor(driver) as cursor:
                cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
                cursor.execute(f"PREPARE hot AS {prepared}")
                called = f"EXECUTE hot({values})" if names else "EXECUTE hot"
                asked = f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {called}"
                cursor.execute(asked, [given[name] for name in names] if names else None)
                ((found,),) = cursor.fetchall()
                cursor.execute("DEALLOCATE hot")
        finally:
            driver.execute("ROLLBACK", prepare=False)
        return list(_nodes(found[0]["Plan"]))

    def commit(self, statement: TextClause, given: dict[str, Any]) -> CursorResult[Any]:
        """Execute it in a transaction of its own."""
        self._dialect.begin(self._connection, writing=True)
        done = self._connection.execute(statement, given)
        self._connection.commit()
        return done

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self._connection.execute(text(statement))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


@pytest.fixture
def asked(bare_url: str) -> Iterator[Asked]:
    """A store whose tables have never held anything."""
    open_store(bare_url, migrate=True).close()
    dialect = dialect_for(bare_url, StoreOptions())
    with dialect.engine.connect() as connection:
        yield Asked(dialect, connection)
    dialect.close()


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("moment", ["new", "analysed while empty", "filled since", "full and analysed"])
def test_what_runs_all_the_time_uses_its_index(asked: Asked, moment: str, mode: str) -> None:
    """No table that grows is read whole, hashed or merged; each statement keeps to its own indexes."""
    if moment == "analysed while empty":
        asked.execute("ANALYZE")
    if moment in {"filled since", "full and analysed"}:
        asked.execute(_FILL, _NODE)
    if moment == "full and analysed":
        asked.execute("VACUUM ANALYZE")
    for what, statement, given, indexes in EXPECTED:
        nodes = asked.plan(statement, given, mode=mode)
        whole = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        assert whole <= _SMALL, what
        assert not {node["Node Type"] for node in nodes} & {"Hash Join", "Merge Join", "Hash"}, what
        searched = [node for node in nodes if node.get("Index Name") in _SEARCHED]
        assert all("Index Cond" in node for node in searched), what
        used = {node["Index Name"] for node in nodes if "Index Name" in node}
        assert used <= indexes, what


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("limit", [1, 100])
def test_a_claim_reads_no_more_rows_than_it_takes(asked: Asked, mode: str, analysed: bool, limit: int) -> None:  # noqa: FBT001
    """Neither its own backlog, nor that of a type that nobody serves, nor ended jobs cost it anything."""
    asked.execute(_FILL, _NODE)
    if analysed:
        asked.execute("VACUUM ANALYZE")
    given = {**CLAIM, "terms": ONE_TYPE, "limit": limit}
    nodes = asked.plan(STATEMENTS.take_ready(1, 0, False), given, mode=mode)  # type: ignore[misc]  # noqa: FBT003
    (read,) = [node for node in nodes if node.get("Index Name") == "job_claim"]
    assert read["Actual Rows"] * read["Actual Loops"] == limit
    found = [node for node in nodes if node.get("Index Name") == "job_pkey"]
    assert {node["Actual Rows"] for node in found} == {1}
    (taken,) = [node for node in nodes if node.get("Operation") == "Update"]
    assert taken["Actual Rows"] == limit


def test_a_beat_and_progress_leave_the_indexes_alone(asked: Asked) -> None:
    """Updates that come again and again are heap-only: they find room on their page and touch no index."""
    asked.execute(_FILL, _NODE)
    claim = {**CLAIM, "terms": ONE_TYPE}
    taken = json.loads(asked.commit(STATEMENTS.take_ready(1, 0, False), claim).scalar_one())  # type: ignore[misc]  # noqa: FBT003
    given = {**NODE, "now": 1, "entries": json.dumps([[row[0], row[1], 5.0] for row in taken[:10]]), "report": None}
    before = _updates(asked)
    for _ in range(20):
        asked.commit(STATEMENTS.note_progress, given)
        asked.commit(STATEMENTS.renew[0], given)
    after = _updates(asked)
    assert {name: after[name][0] - before[name][0] for name in after} == {"job": 200, "node": 20}
    # The claim has filled the page; once what it left there is cleared away, everything finds room.
    assert after["job"][1] - before["job"][1] >= 180
    assert after["node"][1] - before["node"][1] == 20


def _updates(asked: Asked) -> dict[str, tuple[int, int]]:
    """Table -> (updates, heap-only ones) up to now."""
    asked.execute("SELECT pg_stat_force_next_flush()", "SELECT 1")
    seen = "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname IN ('job', 'node')"
    return {row.relname: (row.n_tup_upd, row.n_tup_hot_upd) for row in asked.commit(text(seen), {})}
