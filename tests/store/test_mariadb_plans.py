"""Indexes on MariaDB: what runs all the time reads few rows beside many ended ones, and locks none but its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, TextClause, event, text

from jobwarden.jobs import JobOptions, TypeTerms, complete
from jobwarden.store import Claim, StoreOptions, Work, entries, open_store
from jobwarden.store.dialects import dialect_for
from jobwarden.store.dialects.mariadb.statements import STATEMENTS
from jobwarden.store.keeping.rounds import Rounds
from jobwarden.testing.store_contract.ground import Ground

from .maintaining import USUAL
from .scene import NAME, NODE, START_US, Scene

pytestmark = pytest.mark.only("mariadb", reason="EXPLAIN, counters of rows and locks are MariaDB's")

ENDED = 20_000
OTHERS = 2_000
READY = 1_000
FEW = 8_000
"""Rows that a statement may read: a claim goes through 800 candidates, a few times."""

FIRST = ENDED + OTHERS + 1
IDS = json.dumps(list(range(FIRST, FIRST + 50)))
_PLAIN: dict[str, object] = {"output": "{}", "status": "failed", "event_type": "failed", "outcome": "failed"}
_NUMBERS = {"fence", "attempts", "crashes", "interruptions", "lost_in_row", "raised", "percent", "ms"}


def rows_of(layout: tuple[str, ...]) -> dict[str, object]:
    """The parameters of a statement about fifty attempts."""
    known = {**_PLAIN, **dict.fromkeys(_NUMBERS, 1), "at": 1}
    rows = [[number if name == "job_id" else known.get(name) for name in layout] for number in json.loads(IDS)]
    return {"node_id": NODE, "now": START_US, "entries": json.dumps(rows)}


def claim_of(*rooms: int | None) -> dict[str, object]:
    """The parameters of a claim of the types work, b, c, ..., each with so much room."""
    names = ["work", "b", "c"][: len(rooms)]
    terms = [[name, 3, None, 60.0, None, room] for name, room in zip(names, rooms, strict=True)]
    types = {f"type_{place}": name for place, name in enumerate(names)}
    return {"node_id": NODE, "limit": 100, "near": 800, "terms": json.dumps(terms), **types}


TAKEN = {"node_id": NODE, "node_name": NAME, "batch": "b", "now": START_US}
TERMS = {"max_attempts": 3, "timeout_ms": None, "retry_delay": 60.0, "heartbeat_timeout_ms": None}

STATEMENTS_AND_INDEXES: list[tuple[str, TextClause, dict[str, Any], set[str]]] = [
    ("claim", STATEMENTS.choose_ready(1, 0, False), claim_of(None), {"job_claim", "PRIMARY", "node_held"}),  # noqa: FBT003
    (
        "claim with limits per node",
        STATEMENTS.choose_ready(3, 1, True),  # noqa: FBT003
        claim_of(5, None, None),
        {"job_claim", "PRIMARY", "node_held"},
    ),
    ("take", STATEMENTS.claim_jobs, {**TAKEN, **TERMS, "ids": IDS}, {"PRIMARY"}),
    ("record", STATEMENTS.record_processing, TAKEN, {"job_node"}),
    ("promote", STATEMENTS.promote_due, {"now": START_US}, {"job_due", "PRIMARY"}),
    ("completion events", STATEMENTS.record_completions, rows_of(entries.COMPLETION), {"PRIMARY"}),
    ("completions", STATEMENTS.complete_jobs, rows_of(entries.COMPLETION), {"PRIMARY"}),  # type: ignore[list-item]
    ("end events", STATEMENTS.record_endings, rows_of(entries.END), {"PRIMARY"}),
    ("ends", STATEMENTS.end_jobs, rows_of(entries.END), {"PRIMARY"}),  # type: ignore[list-item]
    ("lock", STATEMENTS.lock_attempts, rows_of(entries.ATTEMPT), {"PRIMARY"}),  # type: ignore[list-item]
    ("give back", STATEMENTS.give_back, rows_of(entries.ATTEMPT), {"PRIMARY"}),
    ("settled", STATEMENTS.settled, rows_of(entries.ATTEMPT), {"PRIMARY"}),
    ("old progress", STATEMENTS.drop_progress_events, rows_of(entries.PROGRESS), {"PRIMARY", "event_job"}),
    ("progress event", STATEMENTS.record_progress, rows_of(entries.PROGRESS), {"PRIMARY"}),
    ("progress", STATEMENTS.note_progress, rows_of(entries.PROGRESS), {"PRIMARY"}),
    ("prolongs", STATEMENTS.record_prolongs, rows_of(entries.PROLONG), {"PRIMARY"}),
    (
        "what follows from ends",
        STATEMENTS.ended_kinds,
        {"ids": IDS},
        {"PRIMARY", "edge_open", "barrier_waits_for"},
    ),
    ("outlook", STATEMENTS.outlook, {}, {"job_due", "job_expiry"}),
    ("look", STATEMENTS.look, {"node_id": NODE}, {"job_due", "job_expiry", "job_node", "PRIMARY"}),
    ("beat", STATEMENTS.renew[0], {"node_id": NODE, "now": START_US, "report": None}, {"PRIMARY"}),
    ("observe", STATEMENTS.renew[1], {"node_id": NODE}, {"job_due", "job_expiry", "job_node", "job_wish", "PRIMARY"}),
    ("wishes", STATEMENTS.wished_cancelled, {}, {"job_wish"}),
    ("jobs of dead nodes", STATEMENTS.jobs_to_free, {}, {"job_history", "PRIMARY"}),
    ("jobs by number", STATEMENTS.jobs_by_id, {"ids": IDS}, {"PRIMARY"}),
    ("keys", STATEMENTS.hold_keys, {"entries": '[["k", 1, null]]', "now": 1, "held_since": 1}, {"PRIMARY"}),
    ("barriers", STATEMENTS.find_barriers, {"entries": json.dumps([[FIRST, '["a", "b"]']])}, {"tag_live", "PRIMARY"}),
    ("waiting groups", STATEMENTS.waiting_groups, {"after": "", "most": 10}, {"job_lane_group"}),
]

_MOMENT = "TIMESTAMP'2023-11-14 00:00:00'"
_FILL = f"""
INSERT INTO job (id, job_type, status, priority, run_at, claim_rank, created_at, updated_at, payload, ready, due_at,
                 completed_at, ended_at)
SELECT seq, IF(seq > {ENDED} AND seq < {FIRST}, 'other', 'work'), IF(seq <= {ENDED}, 'completed', 'pending'), 0,
       {_MOMENT}, 0, {_MOMENT}, {_MOMENT}, 'null', IF(seq > {ENDED}, 1, NULL), IF(seq > {ENDED}, {_MOMENT}, NULL),
       IF(seq <= {ENDED}, {_MOMENT}, NULL), IF(seq <= {ENDED}, {_MOMENT}, NULL)
FROM seq_1_to_{FIRST + READY - 1}
"""  # noqa: S608 - our own constants


@pytest.fixture(scope="module")
def engine(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A store with many ended jobs, many ready ones of a type that nobody serves, and a thousand ready ones."""
    url = ground.bare(tmp_path_factory.mktemp("plans"))
    assert url is not None
    store = open_store(url, migrate=True)
    scene = Scene(store)
    scene.writer.close()
    store.close()
    dialect = dialect_for(url, StoreOptions(lock_timeout_seconds=1))
    with dialect.engine.begin() as connection:
        connection.execute(text(_FILL))
        connection.execute(text("SELECT SETVAL(job_ids, 1000000)"))
        connection.execute(text("INSERT INTO event (job_id, type, at) SELECT id, 'added', created_at FROM job"))
        connection.execute(text("ANALYZE TABLE job, event"))
    yield dialect.engine
    dialect.close()


@contextmanager
def undone(engine: Engine) -> Iterator[Connection]:
    """A transaction that is rolled back."""
    with engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    ("statement", "given", "indexes"),
    [each[1:] for each in STATEMENTS_AND_INDEXES],
    ids=[each[0] for each in STATEMENTS_AND_INDEXES],
)
def test_a_statement_on_the_path_of_a_job_uses_its_indexes(
    engine: Engine, statement: TextClause, given: dict[str, Any], indexes: set[str]
) -> None:
    """And reads no more rows than what it is about, however many have ended."""
    with undone(engine) as connection:
        assert used(connection, statement, given) == indexes
        before = rows_read(connection)
        result = connection.execute(statement, given)
        if result.returns_rows:
            result.all()
        assert rows_read(connection) - before <= FEW


def used(connection: Connection, statement: TextClause, given: dict[str, Any]) -> set[str]:
    """The indexes in the plan; fails for a table that is read whole and may be long."""
    plan = connection.execute(text(f"EXPLAIN {statement.text}"), given).mappings().all()
    whole = [row["table"] for row in plan if row["type"] == "ALL" and row["table"] in {"job", "event", "older"}]
    assert whole == [], plan
    keys = {row["key"] for row in plan if row["table"] != "control"} - {None, "key0"}
    # Both say where the open edges of a job are.
    return {"edge_open" if key == "edge_failed" else key for key in keys}


def rows_read(connection: Connection) -> int:
    """How many rows this connection has read so far, by whatever way."""
    found = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
    return sum(int(number) for name, number in found if name not in {"Handler_read_key", "Handler_read_retry"})


def test_a_claim_locks_what_it_takes_and_nothing_else(engine: Engine) -> None:
    """Neither the backlog nor the ended jobs: all others can still be locked."""
    with undone(engine) as one, undone(engine) as other:
        taken = json.loads(one.execute(STATEMENTS.choose_ready(1, 0, False), claim_of(None)).scalar_one())  # noqa: FBT003
        assert len(taken) == 100
        free = other.execute(text("SELECT id FROM job FORCE INDEX (PRIMARY) FOR UPDATE SKIP LOCKED")).scalars().all()
        assert len(free) == ENDED + OTHERS + READY - 100
        assert not {job[0] for job in taken} & set(free)


def test_claims_at_once_take_different_jobs_and_do_not_wait(engine: Engine) -> None:
    """Each passes over what the others have locked, in the order of the claim index."""
    claim = STATEMENTS.choose_ready(1, 0, False)  # noqa: FBT003
    with undone(engine) as one, undone(engine) as two, undone(engine) as three:
        answers = [json.loads(each.execute(claim, claim_of(None)).scalar_one()) for each in (one, two, three)]
    taken = [[job[0] for job in answer] for answer in answers]
    assert [ids[0] for ids in taken] == [FIRST, FIRST + 100, FIRST + 200]
    assert sorted(job_id for ids in taken for job_id in ids) == list(range(FIRST, FIRST + 300))


def test_a_claim_keeps_its_nodes_row_from_being_removed_but_not_from_beating(engine: Engine) -> None:
    """Who is declared dead claims nothing any more, and a long claim costs no renewal (design section 7)."""
    with undone(engine) as claiming, undone(engine) as other:
        claiming.execute(STATEMENTS.choose_ready(1, 0, False), claim_of(None))  # noqa: FBT003
        other.execute(STATEMENTS.renew[0], {"node_id": NODE, "now": START_US, "report": None})
        other.rollback()
        other.execute(text("SET SESSION innodb_lock_wait_timeout = 0"))
        with pytest.raises(Exception, match="Lock wait timeout exceeded"):
            other.execute(text("DELETE FROM node WHERE id = :node_id"), {"node_id": NODE})
        other.invalidate()


def test_jobs_between_limits_and_their_upkeep_read_no_table_whole(engine: Engine) -> None:
    """What is written in SQLAlchemy Core finds its way too: limits, ends in lanes, rounds of maintenance, counts."""
    store = open_store(engine.url.render_as_string(hide_password=False))
    writer = store.writer()
    store.controls.set_limit("type", "limited", max_running=4, now_us=START_US)
    store.controls.set_limit("group", "*", max_running=1, now_us=START_US)
    store.add([JobOptions(job_type="limited", group_id=f"g{number % 3}") for number in range(30)], now_us=START_US)
    terms = tuple(TypeTerms(job_type=name) for name in ("limited", "work"))
    with statements_of_all_engines() as seen:
        work = Work(now_us=START_US, node_id=NODE, node_name=NAME, claim=Claim(batch="x", limit=10, types=terms))
        claimed = writer.transact(work).claimed
        ends = [complete(job, output=None, now_us=START_US) for job in claimed]
        writer.transact(Work(now_us=START_US, node_id=NODE, node_name=NAME, endings=ends))
        rounds = Rounds(USUAL)
        rounds.begin()
        while not rounds.is_over():
            writer.step_round(rounds, now_us=START_US)
        store.counts()
    writer.close()
    store.close()
    assert len(claimed) == 10
    assert len(seen) > len(STATEMENTS_AND_INDEXES) / 2
    with undone(engine) as connection:
        for statement, parameters in seen.items():
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings().all()
            assert [row for row in plan if row["type"] == "ALL" and row["table"] in {"job", "event"}] == [], statement


@contextmanager
def statements_of_all_engines() -> Iterator[dict[str, Any]]:
    """The statements that are executed meanwhile, each with parameters that it was given."""
    seen: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:  # noqa: FBT001
        if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
            seen[statement] = parameters[0] if many else parameters

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)
