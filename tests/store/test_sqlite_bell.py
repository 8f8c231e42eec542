"""The doorbell: rings reach listeners, never block, never fail."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.store.bell import NODE, WAIT, drain
from jobwarden.store.folder_bell import FolderBell

from .scene import Scene

pytestmark = pytest.mark.only("sqlite", reason="a doorbell of sockets needs a folder beside the database")


@pytest.fixture
def bell(tmp_path: Path) -> FolderBell:
    """A folder deeper than a socket's address can name."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    return FolderBell(deep / "doorbell")


@pytest.fixture
def node(bell: FolderBell) -> Iterator[socket.socket]:
    listener = bell.listen(NODE)
    yield listener
    bell.leave(listener)


def _rings(listener: socket.socket) -> bool:
    return bool(select.select([listener], [], [], 0)[0])


def test_a_ring_reaches_the_kind_that_is_meant(bell: FolderBell, node: socket.socket) -> None:
    """Nodes hear of work, waiters of ends, both of everything."""
    waiter = bell.listen(WAIT)
    assert (_rings(node), _rings(waiter)) == (False, False)
    bell.ring_nodes()
    assert (_rings(node), _rings(waiter)) == (True, False)
    drain(node)
    assert not _rings(node)
    bell.ring_waiters()
    assert (_rings(node), _rings(waiter)) == (False, True)
    bell.ring()
    assert (_rings(node), _rings(waiter)) == (True, True)
    bell.leave(waiter)


def test_ringing_where_nobody_listens_is_no_error(tmp_path: Path) -> None:
    """Also before the folder exists, and it is not made for that."""
    FolderBell(tmp_path / "nothing").ring()
    assert not (tmp_path / "nothing").exists()


def test_a_full_queue_of_rings_does_not_block(bell: FolderBell, node: socket.socket) -> None:
    """Whoever has not looked yet will look anyway."""
    for _ in range(2_000):
        bell.ring()
    drain(node)
    assert not _rings(node)


def test_the_socket_of_a_dead_listener_is_removed(bell: FolderBell, node: socket.socket, tmp_path: Path) -> None:
    """A killed process leaves its file; the next ring takes it away and goes on to the living."""
    dead = bell.listen(NODE)
    dead.close()
    files = list(tmp_path.glob("*/doorbell/*"))
    assert len(files) == 2
    bell.ring_nodes()
    assert _rings(node)
    assert len(list(tmp_path.glob("*/doorbell/*"))) == 1


def test_leaving_removes_the_socket(bell: FolderBell, tmp_path: Path) -> None:
    """Nothing stays behind; the folder is its owner's only."""
    listener = bell.listen(WAIT)
    (folder,) = tmp_path.glob("*/doorbell")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name.startswith("wait-") for path in folder.iterdir()] == [True]
    bell.leave(listener)
    assert list(folder.iterdir()) == []


def test_the_store_rings_after_a_commit_that_gives_nodes_work(scene: Scene) -> None:
    """Adding, cancelling and retrying ring; reading and the daemon's own writes do not."""
    assert scene.store.bell is not None
    listener = scene.store.bell.listen(NODE)
    job_id = scene.add()
    assert _rings(listener)
    drain(listener)
    scene.claim()
    scene.get(job_id)
    assert not _rings(listener)
    scene.store.cancel(job_id, now_us=scene.now_us)
    assert _rings(listener)
    scene.store.bell.leave(listener)
