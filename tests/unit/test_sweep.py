"""What a start may kill: only processes that bear both markers of an earlier daemon of the same state directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jobwarden.supervisor.launcher import NODE_MARKER, PLACE_MARKER
from jobwarden.supervisor.sweep import sweep_leftovers


def swept(tmp_path: Path, environment: dict[str, str]) -> bool:
    """Whether a process with these variables is dead when a start with the node id `new` has swept `tmp_path`."""
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **environment}) as process:
        try:
            killed = sweep_leftovers(tmp_path, own_node="new")
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
