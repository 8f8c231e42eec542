"""What `status` finds wrong with code: the daemons' own words, and jobs for which nobody has a handler."""

from __future__ import annotations

from jobwarden.cli.complaints import MOST_TYPES, told_by, unserved, unserved_in_words
from jobwarden.store.work import NodeView, ServedType


def node(*types: str, loading: bool = False) -> NodeView:
    """A node that serves these types, or has not said yet what it serves."""
    return NodeView(
        node_id="n",
        name="host:1",
        host="host",
        boot_id="b",
        pid=1,
        state_dir="state",
        state_lock=None,
        started_us=0,
        beat=1,
        beat_us=0,
        lease_seconds=30,
        doorbell=None,
        version="1",
        types=None if loading else [ServedType(job_type=each, schema=None) for each in types],
        report=None,
    )


def test_every_problem_of_a_pool_is_told_with_what_serves() -> None:
    """A daemon with one pool needs not name it; with several, each complaint does."""
    quick = {"name": "quick", "generation": 3, "problems": ["a.py:3: SyntaxError", "b.py:1: NameError"]}
    heavy = {"name": "heavy", "generation": None, "problems": ["its template process died"]}
    assert list(told_by({"pools": [quick], "problem": "a.py:3: SyntaxError"})) == [
        "generation 3 serves, but a.py:3: SyntaxError",
        "generation 3 serves, but b.py:1: NameError",
    ]
    assert (
        list(told_by({"pools": [quick, heavy]}))[-1] == "pool heavy: nothing is served, but its template process died"
    )


def test_the_report_of_another_version_is_read_as_far_as_it_goes() -> None:
    """No pools, no lists, or something else altogether: what can be read is told."""
    assert list(told_by({"problem": "a.py:3: SyntaxError"})) == ["a.py:3: SyntaxError"]
    assert list(told_by({"pools": "none", "problems": ["restart needed for database_url"]})) == [
        "restart needed for database_url"
    ]
    assert list(told_by({})) == []


def test_waiting_jobs_of_a_type_that_nobody_serves_are_counted() -> None:
    """Pending, waiting and retrying ones; not those that run or have ended, and not where a living node serves them."""
    queue = {
        "gone": {"pending": 2, "retrying": 1, "waiting": 4, "processing": 8, "completed": 16},
        "ended": {"completed": 3, "failed": 2},
        "served": {"pending": 5},
    }
    assert unserved(queue, [node("served"), node("other")]) == {"gone": 7}


def test_nothing_is_said_while_somebody_may_still_serve_it() -> None:
    """No daemon at all is another complaint; one that loads its handlers has not said yet."""
    queue = {"gone": {"pending": 2}}
    assert unserved(queue, []) == {}
    assert unserved(queue, [node("served"), node(loading=True)]) == {}


def test_many_types_without_a_handler_are_summed_up() -> None:
    """The largest come first; a screen has an end."""
    lines = list(unserved_in_words({f"type{number}": number for number in range(1, MOST_TYPES + 4)}))
    assert lines[0].startswith(f"type{MOST_TYPES + 3}: {MOST_TYPES + 3} jobs wait, and no daemon has a handler")
    assert lines[-1] == "6 more jobs of 3 other types wait without a handler"
    assert next(iter(unserved_in_words({"one": 1}))).startswith("one: 1 job waits, ")
