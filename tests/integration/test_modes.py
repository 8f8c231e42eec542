"""Who else may read and write what jobwarden makes: by its settings, never by the umask that it was started with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jobwarden.cli.entry import enter
from jobwarden.client import Client
from jobwarden.store import StoreOptions, open_store
from jobwarden.store.life import hold_node, lock_path
from jobwarden.store.side_files import share_socket
from tests.support.site import Site

UMASKS = [0o000, 0o077]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Of this process and of what it starts."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes_below(folder: Path) -> dict[str, str]:
    """Of every file, folder and socket below it."""
    return {str(each.relative_to(folder)): oct(stat.S_IMODE(each.lstat().st_mode)) for each in folder.rglob("*")}


def test_a_daemon_started_with_an_open_umask_makes_nothing_for_others(site: Site) -> None:
    """Database, log, doorbell, locks, desk and copies are its user's alone; handlers keep the umask."""
    handlers = site.folder / "handlers"
    with umask(0o022):
        handlers.mkdir()
        (handlers / "mask.sh").write_text("#!/bin/sh\nprintf '%s' \"$(umask)\" >&3\n")
        (handlers / "mask.sh").chmod(0o755)
    with umask(0):
        site.start(handlers=handlers, workers=1, state="new/state")
    site.await_end(site.add("mask"))
    found = modes_below(site.folder / "new" / "state")
    open_to_all = {name: mode for name, mode in found.items() if int(mode, 8) & 0o022}
    assert open_to_all == {}
    assert {name: mode for name, mode in found.items() if name in {"lock", "desk.sock"}} == {
        "lock": "0o600",
        "desk.sock": "0o600",
    }
    assert stat.S_IMODE((site.folder / "new").stat().st_mode) == 0o755
    beside = {name: mode for name, mode in modes_below(site.folder).items() if name.startswith("jobs.db")}
    assert {mode for name, mode in beside.items() if not int(mode, 8) & 0o100} == {"0o600"}
    assert {mode for name, mode in beside.items() if int(mode, 8) & 0o100} == {"0o700"}


@pytest.mark.parametrize("mask", UMASKS)
@pytest.mark.parametrize(("mode", "files", "folders"), [(0o600, "0o600", "0o700"), (0o660, "0o660", "0o770")])
def test_a_database_has_its_mode_and_what_lies_beside_it_follows(
    tmp_path: Path, mask: int, mode: int, files: str, folders: str
) -> None:
    """`database_mode`: file, log and its index, locks of nodes and sockets of the doorbell; with the file's group."""
    database = tmp_path / "jobs.db"
    with umask(mask):
        store = open_store(f"sqlite:///{database}", StoreOptions(file_mode=mode), migrate=True)
        nodes = store.side_dir("nodes")
        assert nodes is not None
        os.close(hold_node(lock_path(nodes, "n1")))
        assert store.bell is not None
        socket = store.bell.listen("node")
        found = modes_below(tmp_path)
        store.bell.leave(socket)
        store.close()
    assert {name.partition(".db")[2].partition("/")[0] for name in found} == {
        "",
        "-wal",
        "-shm",
        ".nodes",
        ".doorbell",
    }
    assert {name: mode for name, mode in found.items() if name.endswith((".nodes", ".doorbell"))} == {
        "jobs.db.nodes": folders,
        "jobs.db.doorbell": folders,
    }
    assert {mode for name, mode in found.items() if not name.endswith((".nodes", ".doorbell"))} == {files}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to a group that it is not in")
def test_what_lies_beside_a_database_that_came_to_be_shared_is_shared_too(tmp_path: Path) -> None:
    """The operator changes one file; the daemon's folders follow at the next start."""
    database = tmp_path / "jobs.db"
    store = open_store(f"sqlite:///{database}", migrate=True)
    store.side_dir("nodes")
    os.chown(database, -1, 5)
    database.chmod(0o660)
    folder = store.side_dir("nodes")
    assert folder is not None
    descriptor = hold_node(lock_path(folder, "n1"))
    assert store.bell is not None
    socket = store.bell.listen("node")
    bells = tmp_path / "jobs.db.doorbell"
    shared = [folder, lock_path(folder, "n1"), bells, *bells.iterdir()]
    assert {(each.stat().st_gid, each.stat().st_mode & 0o077) for each in shared} == {(5, 0o60), (5, 0o70)}
    store.bell.leave(socket)
    store.close()
    os.close(descriptor)


def test_a_link_in_the_place_of_a_socket_is_not_followed(tmp_path: Path) -> None:
    """In a folder that a group shares, a name may lead to a file of ours; its mode stays."""
    (secret := tmp_path / "secret").touch(mode=0o600)
    (folder := tmp_path / "jobs.db.doorbell").mkdir()
    folder.chmod(0o770)
    (folder / "a.sock").symlink_to(secret)
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # as old and new kernels have it
        share_socket("a.sock", folder=descriptor)
    os.close(descriptor)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.parametrize("mask", UMASKS)
def test_commands_and_clients_make_a_database_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """And `migrate` makes it with the `database_mode` of the configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "j.toml").write_text('database_url = "sqlite:///shared.db"\ndatabase_mode = "0660"\n')
    with umask(mask):
        with Client(f"sqlite:///{tmp_path}/client.db") as client:
            client.add_job("digest")
        assert enter(["add", "digest", "--database-url", "sqlite:///command.db"]) == 0
        assert enter(["migrate", "--config", "j.toml"]) == 0
    modes = {name: mode for name, mode in modes_below(tmp_path).items() if name.endswith(".db")}
    assert modes == {"client.db": "0o600", "command.db": "0o600", "shared.db": "0o660"}
