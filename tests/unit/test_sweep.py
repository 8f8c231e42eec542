"""What may be swept: only processes that bear both markers, of the same state directory or of the very node."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobwarden.supervisor.launcher import NODE_MARKER, PLACE_MARKER
from jobwarden.supervisor.sweep import sweep_leftovers, sweep_node


def swept(tmp_path: Path, environment: dict[str, str]) -> bool:
    """Whether a process with these variables is dead when a start with the node id `new` has swept `tmp_path`."""
    return dies_of(lambda: sweep_leftovers(tmp_path, own_node="new"), environment)


def dies_of(sweep: Callable[[], list[int]], environment: dict[str, str]) -> bool:
    """Whether the sweep killed a process with these variables, and knows of it."""
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **environment}) as process:
        try:
            killed = sweep()
            assert (process.pid in killed) == (process.poll() is not None)
            return process.pid in killed
        finally:
            process.kill()


def test_what_an_earlier_node_of_this_place_left_is_dead_after_the_sweep(tmp_path: Path) -> None:
    """Its jobs are freed next, so it is not enough that it was told to die."""
    assert swept(tmp_path, {PLACE_MARKER: str(tmp_path.resolve()), NODE_MARKER: "old"})


@pytest.mark.parametrize("markers", [{}, {NODE_MARKER: "new"}], ids=["a user's own", "this node's"])
def test_a_process_that_only_has_the_option_in_its_environment_lives(tmp_path: Path, markers: dict[str, str]) -> None:
    """JOBWARDEN_STATE_DIR is an option: the user's shell may have it, and the daemon itself."""
    assert not swept(tmp_path, {PLACE_MARKER: str(tmp_path.resolve()), **markers})


def test_another_place_is_not_swept(tmp_path: Path) -> None:
    """Two daemons of one host do not see each other's processes."""
    assert not swept(tmp_path / "here", {PLACE_MARKER: str(tmp_path / "there"), NODE_MARKER: "old"})


def test_a_container_with_the_same_path_is_another_place(tmp_path: Path) -> None:
    """Its daemon has a state directory of its own under that name, with a lock that is not ours."""
    markers = {PLACE_MARKER: str(tmp_path.resolve()), NODE_MARKER: "theirs"}
    inside = f"mount -t tmpfs none {tmp_path} && echo ready && exec sleep 60"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside]
    environment = {**os.environ, **markers}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                pytest.skip("this system lets nobody have mounts of his own")
            assert sweep_leftovers(tmp_path, own_node="new") == []
            assert process.poll() is None
        finally:
            process.kill()


def test_what_a_dead_node_left_is_dead_before_its_jobs_are_freed(tmp_path: Path) -> None:
    """Wherever its state directory was: nobody else would come and end its runaway children."""
    assert dies_of(lambda: sweep_node("dead"), {PLACE_MARKER: str(tmp_path), NODE_MARKER: "dead"})


@pytest.mark.parametrize(
    "markers",
    [{NODE_MARKER: "dead"}, {PLACE_MARKER: "place", NODE_MARKER: "other"}, {PLACE_MARKER: "dead"}],
    ids=["one marker", "another node", "no node"],
)
def test_the_sweep_of_a_dead_node_takes_nothing_else(markers: dict[str, str]) -> None:
    """A living node's processes, and a user's own, are none of its business."""
    assert not dies_of(lambda: sweep_node("dead"), markers)
