"""The shipped handlers that work on files, called as plain functions on real files."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from handlers.archive_directory import DirectoryToArchive, archive_directory
from handlers.digest_file import PIECE_BYTES, FileToDigest, digest_file
from jobwarden import FailPermanently, JobContext
from jobwarden.worker.line import Line
from tests.support.rights import without_roots_rights


@pytest.mark.parametrize(
    ("content", "lines"),
    [(b"", 0), (b"one\ntwo\n", 2), (b"no end", 0), (b"x\n" * PIECE_BYTES + b"rest", PIECE_BYTES)],
)
def test_digest_gives_hash_size_and_lines(tmp_path: Path, content: bytes, lines: int) -> None:
    """The same hash as sha256sum and the same count as `wc -l`, also over several pieces."""
    path = tmp_path / "file"
    path.write_bytes(content)
    context = JobContext()
    output = digest_file(FileToDigest(str(path)), context)
    expected = {"path": str(path), "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert output == {**expected, "lines": lines}
    assert context.progress == 100


def test_digest_of_what_is_no_file_fails_for_good(tmp_path: Path) -> None:
    """A missing file, a folder and a pipe are said in one sentence each and not tried again."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, sentence in {
        "missing": "No such file",
        ".": "not a regular file",
        "pipe": "not a regular file",
        "file/below": "Not a directory",
    }.items():
        with pytest.raises(FailPermanently, match=sentence):
            digest_file(FileToDigest(str(tmp_path / name)), JobContext())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "a").write_text("a" * 1000)
    (folder / "sub" / "b").write_text("b")
    (folder / "link").symlink_to("a")
    return folder


def test_archive_contains_the_folder(tmp_path: Path, source: Path) -> None:
    """Files, folders and links are there under the folder's name, and nothing is left beside the target."""
    target = tmp_path / "out" / "source.tar.gz"
    target.parent.mkdir()
    context = JobContext()
    output = archive_directory(DirectoryToArchive(str(source), str(target)), context)
    assert output == {"target": str(target), "files": 2, "bytes": target.stat().st_size}
    assert context.progress == 100
    with tarfile.open(target) as archive:
        assert archive.getnames() == [
            "source",
            *(f"source/{name}" for name in ("a", "link", "sub", "sub/b", "sub/empty")),
        ]
        assert archive.getmember("source/link").linkname == "a"
    assert list(target.parent.iterdir()) == [target]


def test_archive_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, source: Path) -> None:
    """The target is replaced in one step or not at all; here a file goes away while it is read."""
    target = tmp_path / "out.tar.gz"
    target.write_text("old")

    class Removing(Line):
        def progress(self, percent: float) -> None:
            assert percent > 0
            (source / "sub" / "b").unlink()

    with pytest.raises(FileNotFoundError):
        archive_directory(DirectoryToArchive(str(source), str(target)), JobContext(line=Removing()))
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tar.gz", "source"]


def test_archive_that_cannot_be_made_fails_for_good(tmp_path: Path, source: Path) -> None:
    """Wrong paths are said in one sentence each and not tried again."""
    for wrong_source, target, sentence in [
        ("missing", "a.tar.gz", "does not exist"),
        ("source/a", "a.tar.gz", "is not a directory"),
        ("source", "source", "is a directory"),
        ("source", "nowhere/a.tar.gz", "is not a directory"),
        ("source", "source/sub/a.tar.gz", "cannot contain itself"),
    ]:
        payload = DirectoryToArchive(str(tmp_path / wrong_source), str(tmp_path / target))
        with pytest.raises(FailPermanently, match=sentence):
            archive_directory(payload, JobContext())
    assert source.is_dir()


def test_archive_that_would_lack_a_folder_is_not_made() -> None:
    """A folder that cannot be listed fails the job for good; leaving it out silently would be a lost backup."""
    with TemporaryDirectory() as place:
        hidden = Path(place, "source", "hidden")
        hidden.mkdir(parents=True)
        target = Path(place, "archive.tar.gz")
        payload = DirectoryToArchive(str(hidden.parent), str(target))
        archive_directory(payload, JobContext())
        target.unlink()
        hidden.chmod(0)
        with without_roots_rights(place), pytest.raises(FailPermanently, match="hidden: Permission denied"):
            archive_directory(payload, JobContext())
        assert not target.exists()
