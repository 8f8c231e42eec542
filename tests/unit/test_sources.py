"""What stands in a handlers directory, and on what kind of file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobwarden.sources import look as sources_look
from jobwarden.sources.look import look
from jobwarden.sources.mounts import kind_of, tells_of_changes
from jobwarden.sources.tree import fingerprint, read_tree

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / /srv/code rw,relatime shared:9 master:2 - nfs4 host:/code rw
41 40 0:36 / /srv/code/with\\040space rw - fuse.sshfs host: rw
42 22 0:37 / /mnt rw - tmpfs tmpfs rw
43 42 0:38 / /mnt rw - ext4 /dev/sdb1 rw
a line that is none
"""


def test_the_fingerprint_is_the_hash_of_what_would_be_read(tmp_path: Path) -> None:
    """Otherwise the watcher would take the code that is served for other code."""
    (tmp_path / "deep").mkdir()
    for name in ("a.py", "deep/b.py", "deep/_c.py"):
        (tmp_path / name).write_text(f"# {name}")
    (tmp_path / "program.sh").write_text("#!/bin/sh\n")
    before = fingerprint(str(tmp_path), at=look(str(tmp_path)))
    (tmp_path / "program.sh").chmod(0o755)
    (tmp_path / "program.toml").write_text("timeout_ms = 5\n")
    assert fingerprint(str(tmp_path), at=look(str(tmp_path))) != before
    assert fingerprint(str(tmp_path), at=look(str(tmp_path))) == read_tree(str(tmp_path)).content_hash
    gone = str(tmp_path / "gone")
    assert fingerprint(gone, at=look(gone)) == read_tree(gone).content_hash


def test_what_changed_since_the_look_has_no_fingerprint(tmp_path: Path) -> None:
    """Half old and half new is the hash of nothing."""
    (tmp_path / "a.py").write_text("1")
    before = look(str(tmp_path))
    (tmp_path / "a.py").write_text("12")
    assert fingerprint(str(tmp_path), at=before) is None


def test_the_same_files_at_another_place_are_other_code(tmp_path: Path) -> None:
    """Handlers may read what stands beside them, and the old release may be removed."""
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "a.py").write_text("same")
    (link := tmp_path / "current").symlink_to("1")
    first = read_tree(str(link)).content_hash
    assert first == read_tree(str(tmp_path / "1")).content_hash
    link.unlink()
    link.symlink_to("2")
    assert read_tree(str(link)).content_hash != first


def test_a_missing_directory_is_not_an_empty_one(tmp_path: Path) -> None:
    """The one is a problem, the other serves nothing."""
    assert look(str(tmp_path / "gone")) is None
    assert read_tree(str(tmp_path / "gone")).content_hash != read_tree(str(tmp_path)).content_hash


def test_a_look_follows_links_and_comes_back_from_circles(tmp_path: Path) -> None:
    """As the reading does; hidden folders and caches are not even listed."""
    (outside := tmp_path / "outside").mkdir()
    (root := tmp_path / "root").mkdir()
    (outside / "a.py").write_text("1")
    (root / "lib").symlink_to(outside)
    (root / "up").symlink_to(root)
    (root / "itself").symlink_to("itself")
    for hidden in (".git", "__pycache__"):
        (root / hidden).mkdir()
        (root / hidden / "b.py").write_text("1")
    found = look(str(root))
    assert found is not None
    assert list(found.files) == ["lib/a.py"]
    assert list(found.folders) == [str(root), str(root / "lib")]


def test_a_touched_file_makes_another_look_and_the_same_fingerprint(tmp_path: Path) -> None:
    """A look is cheap and careful, the hash decides."""
    (path := tmp_path / "a.py").write_text("1")
    before = look(str(tmp_path))
    os.utime(path, (1, 1))
    after = look(str(tmp_path))
    assert before is not None
    assert after is not None
    assert after.changed_since(before) == {"a.py"}
    assert fingerprint(str(tmp_path), at=after) == read_tree(str(tmp_path)).content_hash


@pytest.mark.parametrize(
    ("directory", "kind", "tells"),
    [
        ("/opt/handlers", "ext4", True),
        ("/srv/code/handlers", "nfs4", False),
        ("/srv/code/with space/handlers", "fuse.sshfs", False),
        ("/srv/codes", "ext4", True),
        ("/mnt/handlers", "ext4", True),
    ],
)
def test_a_file_system_behind_which_others_write_is_known(directory: str, kind: str, *, tells: bool) -> None:
    """There, events say nothing about what another host did; the mount nearest to the directory counts."""
    assert kind_of(directory, mounts=MOUNTS) == kind
    assert tells_of_changes(kind) is tells


def test_the_kind_of_a_real_directory_is_found(tmp_path: Path) -> None:
    """/proc is as expected on this kernel."""
    assert kind_of("/proc/self") == "proc"
    assert kind_of(str(tmp_path))


def test_a_link_to_half_the_disk_is_a_problem_and_no_work_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above so many entries nothing below is looked at any more; the problem names the way out."""
    (tmp_path / "a.py").write_text("1")
    monkeypatch.setattr(sources_look, "MOST_ENTRIES", 5_000)
    Path(tmp_path, "disk").symlink_to("/")
    found = look(str(tmp_path))
    assert found is not None
    assert list(found.files) == ["."]
    assert list(found.folders) == [str(tmp_path)]
    (problem,) = read_tree(str(tmp_path)).problems
    assert "does a link in it lead somewhere else?" in problem.error
    Path(tmp_path, "disk").unlink()
    assert list(read_tree(str(tmp_path)).files) == ["a.py"]


def test_folders_may_be_deeper_than_python_recurses(tmp_path: Path) -> None:
    """What stands too deep is a problem of its own; the rest is read."""
    (tmp_path / "a.py").write_text("1")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        tree = read_tree(str(tmp_path))
    finally:
        _remove_deep(tmp_path)  # pytest cannot
    assert list(tree.files) == ["a.py"]
    (problem,) = tree.problems
    assert problem.file.startswith("d/d/d/")


def _remove_deep(folder: Path) -> None:
    """Pytest's own removal recurses."""
    while (deep := folder / "d").exists():
        inner = folder / "rest"
        below = deep / "d"
        if below.exists():
            below.rename(inner)
        deep.rmdir()
        if inner.exists():
            inner.rename(deep)
