"""sshd's rule: what decides which code, configuration or state a daemon takes is in nobody else's reach."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

import pytest

from jobwarden.errors import DistrustedError
from jobwarden.sources.look import look
from jobwarden.sources.tree import fingerprint, read_tree
from jobwarden.strict_modes import Guard, may_open, members_of, steps_to

SOMEBODY = 65_534
OWN = (os.geteuid(), 0)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def breach(path: Path, *, closed: Path | None = None) -> DistrustedError | None:
    """What a guard that trusts root and us says of the way to `path`."""
    try:
        Guard(OWN, closed=None if closed is None else os.path.realpath(closed)).require_way(str(path))
    except DistrustedError as error:
        return error
    return None


def place_of(found: DistrustedError | None, below: Path) -> str | None:
    """The path that is named, from `below` on."""
    return None if found is None else str(Path(found.path).relative_to(os.path.realpath(below)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """`a/b/c.py`, with nothing wrong."""
    found = tmp_path / "a" / "b" / "c.py"
    found.parent.mkdir(parents=True)
    found.write_text("1")
    return found


def test_what_only_root_and_we_can_write_is_safe(file: Path) -> None:
    """Nothing is to be said of an ordinary file, nor of one that is not there."""
    assert breach(file) is None
    assert breach(file.with_name("gone") / "deeper") is None


@pytest.mark.parametrize(("name", "mode"), [("a/b/c.py", 0o646), ("a/b", 0o757), ("a", 0o703)])
def test_an_entry_that_everybody_can_write_is_named_with_its_command(
    file: Path, tmp_path: Path, name: str, mode: int
) -> None:
    """Whoever may write a folder may replace what is in it."""
    (tmp_path / name).chmod(mode)
    found = breach(file)
    assert place_of(found, tmp_path) == name
    assert found is not None
    assert (found.problem, found.way_out.partition(",")[0]) == (
        f"every user can write it (mode 0{mode:o})",
        f"chmod o-w {os.path.realpath(tmp_path / name)}",
    )
    assert found.way_out.endswith("or set strict_modes = false where no stranger has an account")


def test_a_sticky_folder_is_safe_unless_others_must_not_add_to_it(file: Path, tmp_path: Path) -> None:
    """Under /tmp nobody replaces what is ours; but a strange file among the handlers would be one of them."""
    file.parent.chmod(0o1777)
    assert breach(file) is None
    assert place_of(breach(file, closed=tmp_path / "a"), tmp_path) == "a/b"


def test_each_folder_that_a_chain_of_links_passes_is_on_the_way(file: Path, tmp_path: Path) -> None:
    """A link in somebody's folder leads where he wants; realpath(3) alone would not see it."""
    for name in ("first", "middle"):
        (tmp_path / name).mkdir()
    (tmp_path / "middle" / "link").symlink_to("../a/b")
    (tmp_path / "first" / "link").symlink_to(tmp_path / "middle" / "link")
    way = tmp_path / "first" / "link" / "c.py"
    assert breach(way) is None
    (tmp_path / "middle").chmod(0o777)
    assert place_of(breach(way), tmp_path) == "middle"
    assert breach(file) is None


def test_two_dots_after_a_link_lead_where_the_kernel_goes(file: Path, tmp_path: Path) -> None:
    """`link/..` is the folder above the link's target, not the one that holds the link."""
    (tmp_path / "link").symlink_to("a/b")
    steps = [step.path for step in steps_to(f"{tmp_path}/link/../b/c.py")]
    assert steps[-1] == os.path.realpath(file)
    assert os.path.realpath(tmp_path / "a") in steps


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """As with any path that leads nowhere, whoever opens it will say so."""
    (tmp_path / "here").symlink_to("there")
    (tmp_path / "there").symlink_to("here")
    assert breach(tmp_path / "here") is None


@as_root
@pytest.mark.parametrize("name", ["a/b/c.py", "a"])
def test_what_belongs_to_somebody_else_is_named_with_chown(file: Path, tmp_path: Path, name: str) -> None:
    """An owner may change the mode at any time; a second fault of the same entry is told with it."""
    os.chown(tmp_path / name, SOMEBODY, -1)
    (tmp_path / name).chmod(0o757)
    found = breach(file)
    assert place_of(found, tmp_path) == name
    assert str(found).count(f"chown root {os.path.realpath(tmp_path / name)} && chmod o-w ") == 1


@as_root
def test_a_link_of_somebody_elses_in_a_sticky_folder_is_his_to_change(file: Path, tmp_path: Path) -> None:
    """He may remove it and make another one, although he may not touch what it leads to."""
    (sticky := tmp_path / "sticky").mkdir()
    sticky.chmod(0o1777)
    (link := sticky / "link").symlink_to(file)
    assert breach(link) is None
    os.chown(link, SOMEBODY, -1, follow_symlinks=False)
    assert place_of(breach(link), tmp_path) == "sticky/link"


@as_root
def test_a_group_of_trusted_users_alone_may_write(file: Path) -> None:
    """Each user's own group, the usual one of new files, keeps nobody else in reach; another one does."""
    file.chmod(0o664)
    assert members_of(0) == {0}
    assert breach(file) is None
    os.chown(file, -1, SOMEBODY)
    assert "can write it (mode 0664); chmod g-w " in str(breach(file))
    os.chown(file, -1, 4_294_967_000)
    assert "its group 4294967000 can write it" in str(breach(file))


@as_root
def test_an_access_list_opens_a_file_that_its_group_bits_seem_to_keep_for_root(file: Path) -> None:
    """With a list, those bits are the mask of all whom it names (acl(5))."""
    entries = [(1, 6, -1), (2, 6, SOMEBODY), (4, 4, -1), (16, 6, -1), (32, 4, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *each) for each in entries)
    try:
        os.setxattr(file, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("no access lists on this file system")
    assert "can write it (mode 0664)" in str(breach(file))


@pytest.mark.parametrize(
    ("uid", "groups", "modes", "opens"),
    [
        (5, (), (0o755, 0o604), True),
        (5, (), (0o755, 0o600), False),
        (5, (), (0o755, 0o602), True),
        (5, (), (0o750, 0o604), False),
        (5, (os.getegid(),), (0o710, 0o640), True),
        (5, (os.getegid(),), (0o755, 0o604), False),
        (os.geteuid(), (), (0o700, 0o600), True),
    ],
)
def test_who_can_open_a_file_is_told_from_all_modes_on_the_way(
    uid: int, groups: tuple[int, ...], modes: tuple[int, int], *, opens: bool
) -> None:
    """Only one of the three classes counts, and a folder without `x` hides all that is in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to all others
        file = Path(folder, "secret")
        file.touch()
        file.chmod(modes[1])
        Path(folder).chmod(modes[0])
        assert may_open(file, uid=uid, groups=groups) is opens
        assert not may_open(file.with_name("gone"), uid=uid, groups=groups)


def test_a_handler_file_that_others_can_write_is_in_no_generation(file: Path, tmp_path: Path) -> None:
    """It is a problem of its own, the rest is read, and the watcher's hash says the same."""
    (bad := file.with_name("bad.py")).write_text("2")
    bad.chmod(0o666)
    tree = read_tree(str(tmp_path / "a"), trusted=OWN)
    assert list(tree.files) == ["b/c.py"]
    assert [problem.file for problem in tree.problems] == ["b/bad.py"]
    assert fingerprint(str(tmp_path / "a"), at=look(str(tmp_path / "a")), trusted=OWN) == tree.content_hash
    assert list(read_tree(str(tmp_path / "a")).files) == ["b/bad.py", "b/c.py"]


def test_a_folder_of_handlers_that_others_can_write_is_one_problem(file: Path, tmp_path: Path) -> None:
    """However many files are in it, and also with the sticky bit: somebody could add one."""
    file.with_name("d.py").write_text("2")
    (tmp_path / "a" / "e.py").write_text("3")
    file.parent.chmod(0o1777)
    tree = read_tree(str(tmp_path / "a"), trusted=OWN)
    assert (list(tree.files), [problem.file for problem in tree.problems]) == (["e.py"], ["b"])


@pytest.mark.parametrize("name", ["a", "."])
def test_a_handlers_directory_in_reach_of_others_gives_nothing(file: Path, tmp_path: Path, name: str) -> None:
    """Also if it is a folder above; to look again tells that it was mended, without any other change."""
    (tmp_path / name).chmod(0o777)
    before = look(str(file.parents[1]))
    tree = read_tree(str(file.parents[1]), trusted=OWN)
    assert (tree.files, [problem.file for problem in tree.problems]) == ({}, ["."])
    assert os.path.realpath(tmp_path / name) in tree.problems[0].error
    assert fingerprint(str(file.parents[1]), at=before, trusted=OWN) == tree.content_hash
    (tmp_path / name).chmod(0o755)
    assert look(str(file.parents[1])) != before
    assert list(read_tree(str(file.parents[1]), trusted=OWN).files) == ["b/c.py"]


def test_a_handlers_directory_behind_a_link_in_reach_of_others_gives_nothing(file: Path, tmp_path: Path) -> None:
    """What it leads to is safe, but it may lead elsewhere at the next generation."""
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "current").symlink_to(file.parents[1])
    (tmp_path / "links").chmod(0o777)
    assert read_tree(str(tmp_path / "links" / "current"), trusted=OWN).files == {}


def test_a_mode_of_a_folder_among_the_handlers_is_a_change_to_look_at(file: Path) -> None:
    """Otherwise a chmod would mend a refused generation only with the next save."""
    before = look(str(file.parents[1]))
    file.parent.chmod(0o700)
    assert look(str(file.parents[1])) != before


def test_a_link_among_the_handlers_is_judged_by_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    """The target's own folders count, not only those of the link."""
    (outside := tmp_path / "outside").mkdir()
    (outside / "o.py").write_text("4")
    file.with_name("o.py").symlink_to(outside / "o.py")
    assert list(read_tree(str(tmp_path / "a"), trusted=OWN).files) == ["b/c.py", "b/o.py"]
    outside.chmod(0o777)
    tree = read_tree(str(tmp_path / "a"), trusted=OWN)
    assert (list(tree.files), [problem.file for problem in tree.problems]) == (["b/c.py"], ["."])
    assert os.path.realpath(outside) in tree.problems[0].error
