"""The watcher on real folders: what is saved, deployed, renamed or swapped there becomes one wish for a reload."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobwarden import events
from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.settings.pool import PoolSettings
from jobwarden.sources.tree import read_tree
from jobwarden.supervisor import file_events, quiet, watcher
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.watcher import Watcher
from tests.support.rights import without_roots_rights
from tests.support.waiting import LIMIT_SECONDS, eventually


class Wishes:
    """What a watcher asks for."""

    def __init__(self) -> None:
        """Nothing so far."""
        self._asked: queue.Queue[seen.Input] = queue.Queue()
        self.post = self._asked.put

    def next(self) -> seen.ReloadAsked:
        """The next reload that is asked for."""
        fact = self._asked.get(timeout=LIMIT_SECONDS)
        assert isinstance(fact, seen.ReloadAsked)
        return fact

    def await_code(self, folder: Path, *, pool: str = "default") -> None:
        """The next one is for exactly what stands there."""
        assert self.next() == seen.ReloadAsked(pool, read_tree(str(folder)).content_hash)

    def none_is_left(self) -> bool:
        """Nothing further was asked for."""
        return self._asked.empty()


@contextmanager
def watching(*folders: Path, how: str = "auto") -> Iterator[Wishes]:
    """A watcher of these folders, one for each pool `default`, `pool1` …; it has asked for what stands there."""
    wishes = Wishes()
    names = ["default", *(f"pool{place}" for place in range(1, len(folders)))]
    pools = [
        PoolSettings.model_validate({"name": name, "handlers": folder, "watch": how})
        for name, folder in zip(names, folders, strict=True)
    ]
    thread = Watcher(pools, post=wishes.post, clock=SYSTEM_CLOCK)
    thread.start()
    try:
        for _ in folders:
            wishes.next()
        yield wishes
    finally:
        thread.leave()
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def no_rescan(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be noticed at once must not wait for the look that comes anyway."""
    monkeypatch.setattr(watcher, "RESCAN_NS", 600 * SECOND_NS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A handlers directory with one file."""
    (made := tmp_path / "handlers").mkdir()
    (made / "a.py").write_text("first")
    return made


def save(path: Path, text: str) -> None:
    """As most editors do: a new file takes the place of the old one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)


def test_a_save_a_new_file_a_rename_and_a_deletion_are_noticed(folder: Path) -> None:
    """Each becomes one reload, of what stands there then."""
    with watching(folder) as wishes:
        save(folder / "a.py", "second")
        wishes.await_code(folder)
        (folder / "a.py").write_text("third")
        wishes.await_code(folder)
        (folder / "b.py").write_text("new")
        wishes.await_code(folder)
        (folder / "b.py").rename(folder / "c.py")
        wishes.await_code(folder)
        (folder / "c.py").unlink()
        wishes.await_code(folder)
        assert wishes.none_is_left()


def test_what_changes_no_byte_is_no_reload(folder: Path, tmp_path: Path) -> None:
    """A touch, the same text again, a file that is no code, a change that was taken back: nothing is asked for."""
    (other := tmp_path / "other").mkdir()
    with watching(folder, other) as wishes:
        os.utime(folder / "a.py")
        save(folder / "a.py", "first")
        (folder / "notes.md").write_text("no code")
        (folder / ".a.py.swp").write_text("nor this")
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "a.py").write_text("nor this")
        (folder / "b.py").write_text("for a moment")
        (folder / "b.py").unlink()
        for number in range(6):  # which take longer than any rest
            save(other / "b.py", str(number))
            wishes.await_code(other, pool="pool1")
        assert wishes.none_is_left()


def test_a_deploy_of_many_files_is_one_reload(folder: Path) -> None:
    """It is loaded when it is through, not when its first file is there."""
    with watching(folder) as wishes:
        for number in range(60):
            (folder / f"part{number % 7}").mkdir(exist_ok=True)
            (folder / f"part{number % 7}" / f"file{number}.py").write_text(f"# {number}")
        wishes.await_code(folder)
        assert wishes.none_is_left()


def test_folders_that_come_later_are_watched_as_well(folder: Path) -> None:
    """Also deep ones, made at once, and one that was replaced under the same name."""
    with watching(folder) as wishes:
        (deep := folder / "x" / "y" / "z").mkdir(parents=True)
        (deep / "b.py").write_text("1")
        wishes.await_code(folder)
        save(deep / "b.py", "2")
        wishes.await_code(folder)
        shutil.rmtree(folder / "x")
        wishes.await_code(folder)
        deep.mkdir(parents=True)
        (deep / "b.py").write_text("3")
        wishes.await_code(folder)
        save(deep / "b.py", "4")
        wishes.await_code(folder)


def test_a_folder_whose_name_is_no_text_keeps_no_save_away(folder: Path) -> None:
    """Bytes that are no UTF-8 in a name (an old archive, another system) end neither the watcher nor its service."""
    with watching(folder) as wishes:
        (folder / os.fsdecode(b"b\xfccher")).mkdir()
        save(folder / "a.py", "second")
        wishes.await_code(folder)


def test_a_linked_folder_is_watched_where_it_is(folder: Path, tmp_path: Path) -> None:
    """A library of several directories may be linked into each."""
    (library := tmp_path / "library").mkdir()
    (library / "b.py").write_text("1")
    (folder / "lib").symlink_to(library)
    with watching(folder) as wishes:
        save(library / "b.py", "2")
        wishes.await_code(folder)


def release(root: Path, name: str, text: str) -> Path:
    """A release of the code, as deploy tools lay it down."""
    made = root / "releases" / name / "handlers"
    made.mkdir(parents=True)
    (made / "a.py").write_text(text)
    return made


@pytest.mark.parametrize("inside", [True, False])
def test_an_atomic_swap_of_the_whole_directory_is_noticed(tmp_path: Path, *, inside: bool) -> None:
    """The link may be the directory itself, or stand above it; afterwards the new place is watched, not the old."""
    old, new = release(tmp_path, "1", "first"), release(tmp_path, "2", "second")
    (link := tmp_path / "current").symlink_to(old.parent if inside else old)
    served = link / "handlers" if inside else link
    with watching(served) as wishes:
        (following := tmp_path / "next").symlink_to(new.parent if inside else new)
        following.replace(link)
        wishes.await_code(served)
        save(old / "a.py", "nobody serves this")
        save(new / "a.py", "third")
        wishes.await_code(served)
        assert wishes.none_is_left()


def test_a_directory_that_goes_and_comes_is_noticed(folder: Path) -> None:
    """Gone is a state of its own: people are told, and what comes back is loaded."""
    with watching(folder) as wishes:
        folder.rename(folder.with_name("away"))
        wishes.await_code(folder)
        folder.with_name("away").rename(folder)
        wishes.await_code(folder)
        save(folder / "a.py", "second")
        wishes.await_code(folder)


def test_a_directory_may_appear_long_after_the_start(tmp_path: Path) -> None:
    """A daemon may be started before its code is deployed."""
    with watching(missing := tmp_path / "later" / "handlers") as wishes:
        missing.mkdir(parents=True)
        (missing / "a.py").write_text("first")
        wishes.await_code(missing)


def test_each_pool_is_told_of_its_own_directory(folder: Path, tmp_path: Path) -> None:
    """One thread watches them all."""
    (other := tmp_path / "other").mkdir()
    with watching(folder, other) as wishes:
        (other / "b.py").write_text("1")
        wishes.await_code(other, pool="pool1")
        save(folder / "a.py", "second")
        wishes.await_code(folder)
        assert wishes.none_is_left()


def test_looks_alone_find_every_change(folder: Path) -> None:
    """Where a file system has no events: `watch = "poll"`."""
    with watching(folder, how="poll") as wishes:
        (folder / "x").mkdir()
        (folder / "x" / "b.py").write_text("1")
        wishes.await_code(folder)


def test_without_events_the_watcher_looks_by_itself_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's inotify limits are shared with every editor on the machine; a full one must not cost the reload."""

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "file watch limit reached")

    monkeypatch.setattr(file_events, "RustNotify", refuse)
    told: list[str] = []
    stop = events.listen(lambda fact: told.append(fact.text) if isinstance(fact, events.Alerted) else None)
    try:
        with watching(folder) as wishes:
            save(folder / "a.py", "second")
            wishes.await_code(folder)
    finally:
        stop()
    assert [text for text in told if "watch limit" in text] == told
    assert len(told) == 1


class Deaf:
    """A file system that tells nothing."""

    def __init__(self, *_arguments: object) -> None:
        """Like RustNotify's."""

    def watch(self, _burst: int, _step: int, limit_ms: int, leaving: threading.Event) -> str:
        """Nothing ever happens."""
        leaving.wait(limit_ms / 1_000)
        return "timeout"

    def close(self) -> None:
        """Nothing to give back."""


def test_what_no_event_tells_of_is_found_by_a_look_now_and_then(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events get lost, and another host's writes never had any."""
    monkeypatch.setattr(file_events, "RustNotify", Deaf)
    monkeypatch.setattr(watcher, "RESCAN_NS", SECOND_NS // 10)
    with watching(folder) as wishes:
        save(folder / "a.py", "second")
        wishes.await_code(folder)


def test_a_tree_that_never_rests_is_told_and_loaded_when_it_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-written code is never asked for; whoever wonders why nothing is loaded finds the reason in the log."""
    monkeypatch.setattr(quiet, "LONGEST_UNREST_NS", SECOND_NS // 10)
    told: list[str] = []
    stop = events.listen(lambda fact: told.append(fact.text) if isinstance(fact, events.Alerted) else None)
    enough = threading.Event()

    def write_on() -> None:
        number = 0
        while not enough.is_set():
            (folder / "b.py").write_text(f"# {(number := number + 1)}")

    writer = threading.Thread(target=write_on)
    try:
        with watching(folder) as wishes:
            writer.start()
            eventually(lambda: told, what="an alert about the restless directory")
            enough.set()
            writer.join()
            (folder / "b.py").write_text("at rest")
            final = read_tree(str(folder)).content_hash
            eventually(lambda: wishes.next().content_hash == final, what="the code at rest")
    finally:
        enough.set()
        stop()
    assert "changes all the time" in told[0]


def test_a_directory_that_the_daemon_may_not_list_is_told(folder: Path) -> None:
    """A pool of another user's may keep its code to itself: then somebody has to say when to load it."""
    told: list[str] = []
    stop = events.listen(lambda fact: told.append(fact.text) if isinstance(fact, events.Alerted) else None)
    folder.chmod(0)
    try:
        with without_roots_rights(str(folder.parent)), watching(folder):
            eventually(lambda: told, what="an alert about the hidden directory")
    finally:
        folder.chmod(0o700)
        stop()
    assert [text for text in told if f"{folder} may not be listed by the daemon's user" in text] == told
    assert len(told) == 1


def test_which_directories_are_watched_can_change(folder: Path, tmp_path: Path) -> None:
    """`watch = "off"` leaves a directory alone: whoever deploys says when. A new configuration goes live."""
    other = tmp_path / "other"
    other.mkdir()
    off = PoolSettings.model_validate({"handlers": folder, "watch": "off"})
    wishes = Wishes()
    thread = Watcher([off], post=wishes.post, clock=SYSTEM_CLOCK)
    thread.start()
    try:
        save(folder / "a.py", "1")
        assert wishes.none_is_left()
        thread.change([off.model_copy(update={"watch": "auto"})])
        wishes.await_code(folder)
        thread.change([PoolSettings(handlers=other, name="elsewhere")])
        wishes.await_code(other, pool="elsewhere")
        save(other / "b.py", "2")
        wishes.await_code(other, pool="elsewhere")
        thread.change([off])
    finally:
        thread.leave()
    assert not thread.is_alive()
    assert wishes.none_is_left()
