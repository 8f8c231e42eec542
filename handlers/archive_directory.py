"""`archive_directory`: a folder as a .tar.gz, complete under its name or not there at all.

    jobwarden add archive_directory '{"source": "docs", "target": "docs.tar.gz"}' --wait

The archive is written beside the target under a temporary name, flushed to the disk, and then renamed. If the
attempt is killed in between, the next one writes over the same temporary file.
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from jobwarden import FailPermanently, JobContext, handler

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class DirectoryToArchive:
    """The payload. Relative paths are relative to the folder in which the daemon was started."""

    source: str
    target: str


@handler("archive_directory", timeout_ms=3_600_000, max_attempts=3)
def archive_directory(payload: DirectoryToArchive, ctx: JobContext) -> dict[str, object]:
    """Give target, the number of regular files in the archive, and the archive's size in bytes."""
    source, target = Path(payload.source), Path(payload.target)
    problem = _problem_with(source, target)
    if problem is not None:
        raise FailPermanently(problem)
    partial = target.with_name(f".{target.name}.{ctx.job_id}.partial")
    try:
        files = _write(source, partial, ctx)
        archive_bytes = partial.stat().st_size
        partial.replace(target)
        _flush_folder(target.parent)
    except PermissionError as error:
        problem = f"{error.filename}: {error.strerror}"
        raise FailPermanently(problem) from None
    finally:  # also when the job is stopped softly
        partial.unlink(missing_ok=True)
    ctx.log("archived", source=source, files=files)
    return {"target": payload.target, "files": files, "bytes": archive_bytes}


def _problem_with(source: Path, target: Path) -> str | None:
    """What will be wrong again at the next attempt is said now, once."""
    if not source.is_dir():
        return f"{source} is not a directory" if source.exists() else f"{source} does not exist"
    if target.is_dir():
        return f"{target} is a directory; give the name of the archive itself"
    if not target.parent.is_dir():
        return f"{target.parent}, where the archive is to go, is not a directory"
    if target.resolve().is_relative_to(source.resolve()):
        return f"{target} lies inside {source}; an archive cannot contain itself"
    return None


def _write(source: Path, partial: Path, ctx: JobContext) -> int:
    """The number of regular files."""
    with partial.open("wb") as file:
        files = _fill(file, source, ctx)
        file.flush()
        os.fsync(file.fileno())
    return files


def _fill(file: BinaryIO, source: Path, ctx: JobContext) -> int:
    paths = sorted(_everything_in(source))
    name = source.resolve().name
    total_bytes = sum(path.lstat().st_size for path in paths if _is_regular(path))
    files = written_bytes = 0
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.add(source, arcname=name, recursive=False)
        for path in paths:
            archive.add(path, arcname=str(Path(name, path.relative_to(source))), recursive=False)
            if _is_regular(path):
                files += 1
                written_bytes += path.lstat().st_size
                ctx.set_progress(min(100, 100 * written_bytes / max(total_bytes, 1)))
    ctx.set_progress(100)
    return files


def _everything_in(source: Path) -> Iterator[Path]:
    """All paths below; unlike rglob, a folder that cannot be listed is an error and not left out."""
    for folder, folders, files in os.walk(source, onerror=_raise):
        yield from (Path(folder, name) for name in (*folders, *files))


def _raise(error: OSError) -> NoReturn:
    raise error


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _flush_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
