"""`digest_file`: the SHA-256, size and number of lines of one file, read in pieces and with progress.

jobwarden add digest_file '{"path": "README.md"}' --wait
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from jobwarden import FailPermanently, JobContext, handler

PIECE_BYTES = 1 << 20


@dataclass
class FileToDigest:
    """The payload. A relative path is relative to the folder in which the daemon was started."""

    path: str


@handler("digest_file", timeout_ms=600_000, max_attempts=3)
def digest_file(payload: FileToDigest, ctx: JobContext) -> dict[str, object]:
    """Give path, sha256 (hexadecimal), bytes, and lines as `wc -l` counts them."""
    path = Path(payload.path)
    try:
        if path.exists() and not path.is_file():
            problem = f"{path}: not a regular file"
            raise FailPermanently(problem)
        return {"path": payload.path, **_digest(path, ctx)}
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        # Trying again does not make a missing file appear.
        problem = f"{path}: {error.strerror}"
        raise FailPermanently(problem) from None


def _digest(path: Path, ctx: JobContext) -> dict[str, object]:
    digest, read_bytes, lines = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        total_bytes = os.fstat(file.fileno()).st_size
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            lines += piece.count(b"\n")
            read_bytes += len(piece)
            ctx.set_progress(100 * read_bytes / max(total_bytes, read_bytes))  # the file may be growing
    ctx.set_progress(100)
    return {"sha256": digest.hexdigest(), "bytes": read_bytes, "lines": lines}
