"""The killer against real processes. Each scene runs in a process that plays the supervisor: support/kill_stage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def played(scene: str) -> dict[str, object]:
    """What the stage saw."""
    command = [sys.executable, "-m", "tests.support.kill_stage", scene]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert isinstance(seen, dict)
    return seen


def test_200_sleeping_grandchildren_in_sessions_of_their_own_are_gone() -> None:
    """P4: double fork and setsid do not lead out of the tree; when it is called cleared, nothing of it is left."""
    assert played("sleepers") == {"before": 200, "after": 0, "children": 0}


def test_grandchildren_that_fork_and_exit_in_turn_are_gone() -> None:
    """P4: a pid that is looked at is already the wrong one, yet two empty looks in a row are no coincidence."""
    assert played("breeders") == {"children": 0}


def test_zombies_of_a_killed_worker_are_reaped() -> None:
    """They come to the supervisor; it would run out of pids."""
    assert played("zombies") == {"children": 0}


def test_what_a_worker_left_that_died_by_itself_is_removed() -> None:
    """A crash is followed by a sweep."""
    assert played("dead_already") == {"after": 0, "children": 0}


def test_a_newborn_worker_is_never_taken_for_a_stray() -> None:
    """R10: while a Fork is outstanding an unknown child is not judged, and nothing is called cleared; afterwards it is
    known, and left alone.
    """
    assert played("newborn") == {"spared": True, "told_meanwhile": 0, "known_lives": True}


def test_a_birth_that_is_not_answered_holds_up_nobody_elses_end() -> None:
    """Another pool's template may hang in a fork for its whole `spawn_seconds`; killed jobs are recorded meanwhile."""
    assert played("unanswered") == {"cleared": 2, "children": 0}


def test_a_stopped_worker_dies() -> None:
    """SIGKILL needs no SIGCONT."""
    assert played("stopped") == {"children": 0}


def test_the_stacks_of_a_spinning_worker_are_taken_before_the_kill() -> None:
    """People see where it hung."""
    dump = played("spinning")["dump"]
    assert "spin_for_ever" in str(dump)


def test_a_worker_that_cannot_dump_its_stacks_is_killed_all_the_same() -> None:
    """The hard kill never waits for user code."""
    assert played("silent") == {"dump": None}


def test_a_tree_that_does_not_go_is_reported_once_and_cleared_in_the_end() -> None:
    """The killer goes on trying; people are told once."""
    assert played("stuck") == {"first": True, "told_again": 0}
