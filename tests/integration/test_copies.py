"""Copies of a generation's files: what is in them, and that they go when nobody uses them any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobwarden.sources.copies import make_copy
from jobwarden.sources.tree import read_tree
from jobwarden.worker.descriptors import open_descriptors
from jobwarden.worker.loader import load_tree
from tests.support.programs import write_program

SCRIPT = "#!/bin/sh\n"


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    """A handlers directory in a folder of its own, with one executable."""
    folder = tmp_path / "app" / "handlers"
    folder.mkdir(parents=True)
    write_program(folder / "greet.sh", SCRIPT)
    return folder


def copied(handlers: Path, place: Path) -> Path:
    """A copy that this process holds on to."""
    return Path(make_copy(read_tree(str(handlers)), place))


def release(before: set[int]) -> None:
    """Let go of every copy that was made since."""
    for descriptor in open_descriptors() - before:
        os.close(descriptor)


def copies_in(place: Path) -> int:
    """How many there are."""
    return len([each for each in place.iterdir() if each.name != "lock"])


def test_a_copy_has_the_bytes_of_the_generation_and_links_to_the_rest(handlers: Path, tmp_path: Path) -> None:
    """Code stays as it was read; data beside it is the real thing, as it is now."""
    (handlers / "lib").mkdir()
    (handlers / "lib/words.sh").write_text("words=old\n")
    (handlers / "texts").mkdir()
    (handlers / "texts/a.txt").write_text("old")
    (handlers / "lib/b.txt").write_text("old")
    copy = copied(handlers, tmp_path / "copies")
    for name in ("lib/words.sh", "texts/a.txt", "lib/b.txt"):
        (handlers / name).write_text("new")

    assert (copy / "lib/words.sh").read_text() == "words=old\n"
    assert [(copy / name).read_text() for name in ("texts/a.txt", "lib/b.txt")] == ["new", "new"]
    assert copy.name == handlers.name


def test_nothing_in_a_copy_can_be_written(handlers: Path, tmp_path: Path) -> None:
    """What a script writes beside itself would be lost with the copy: it shall fail instead."""
    copy = copied(handlers, tmp_path / "copies")
    assert [path.stat().st_mode & 0o777 for path in (copy, copy / "greet.sh")] == [0o555, 0o555]


def test_an_executable_that_is_a_link_out_of_the_directory_stays_one(handlers: Path, tmp_path: Path) -> None:
    """A program may look beside its real place for what it needs."""
    real = tmp_path / "tool"
    write_program(real, SCRIPT)
    (handlers / "tool").symlink_to(real)
    (handlers / "again").symlink_to("greet.sh")
    copy = copied(handlers, tmp_path / "copies")
    assert (copy / "tool").readlink() == real
    assert not (copy / "again").is_symlink()


def test_node_finds_its_libraries_around_a_copy(handlers: Path, tmp_path: Path) -> None:
    """It looks in the folders above a script, where a copy has none of its own."""
    (handlers.parent / "node_modules").mkdir()
    (handlers.parent / "package.json").write_text("{}")
    (handlers / "node_modules").mkdir()
    copy = copied(handlers, tmp_path / "copies")
    assert (copy / "node_modules").readlink() == handlers / "node_modules"
    assert (copy.parent / "node_modules").readlink() == handlers.parent / "node_modules"
    assert (copy.parent / "package.json").read_text() == "{}"


def test_a_copy_that_nobody_holds_goes_when_the_next_one_is_made(handlers: Path, tmp_path: Path) -> None:
    """A template and its workers hold theirs by a descriptor, so no end of theirs has to be told, not even a kill."""
    place, before = tmp_path / "copies", open_descriptors()
    first = copied(handlers, place)
    second = copied(handlers, place)
    assert copies_in(place) == 2
    release(before)
    third = copied(handlers, place)
    assert [each.exists() for each in (first, second, third)] == [False, False, True]


def test_a_forked_process_holds_the_copy_of_its_parent(handlers: Path, tmp_path: Path) -> None:
    """Workers outlive their template."""
    place, before = tmp_path / "copies", open_descriptors()
    first = copied(handlers, place)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    release(before | {writing})
    copied(handlers, place)
    assert first.exists()
    os.close(writing)
    os.waitpid(child, 0)
    copied(handlers, place)
    assert not first.exists()


def test_where_no_copy_can_be_made_executables_are_problems_and_python_is_served(
    handlers: Path, tmp_path: Path
) -> None:
    """Nothing runs from the live files: a save would change a running job."""
    (handlers / "plain.py").write_text("from jobwarden import handler\n\n@handler('plain')\ndef plain(payload): ...\n")
    (tmp_path / "file").write_text("")
    code = load_tree(read_tree(str(handlers)), copies=tmp_path / "file" / "copies")
    assert list(code.handlers) == ["plain"]
    (problem,) = code.problems
    assert (problem.file, problem.error) == ("greet.sh", "no copy of it can be made, to run from: Not a directory")


def test_without_an_executable_no_copy_is_made(tmp_path: Path) -> None:
    """A directory of Python files costs no disk."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers/plain.py").write_text("")
    load_tree(read_tree(str(tmp_path / "handlers")), copies=tmp_path / "copies")
    assert not (tmp_path / "copies").exists()
