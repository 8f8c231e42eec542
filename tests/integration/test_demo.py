"""`jobwarden demo` as a user meets it: in an empty folder, on its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jobwarden
from jobwarden.cli.shipped import shipped_folder
from tests.support import processes
from tests.support.daemon import clean_environment

pytestmark = pytest.mark.slow

LIMIT_SECONDS = 100
LYING_HANDLER = """
from jobwarden import handler

@handler("digest_file")
def digest_file(payload: dict[str, str]) -> dict[str, object]:
    return {"path": payload["path"], "sha256": "0" * 64, "bytes": 0, "lines": 0}
"""


class Place:
    """An empty folder to start the demo in, and a folder for its temporary files."""

    def __init__(self, folder: Path) -> None:
        """Make both."""
        self.empty = folder / "empty"
        self.temporary = folder / "temporary"
        self.empty.mkdir()
        self.temporary.mkdir()

    def start(self, *flags: str, package_root: Path | None = None) -> subprocess.Popen[str]:
        """Start the demo in a process group of its own; with `package_root`, that copy of the package."""
        environment = {**clean_environment(), "TMPDIR": str(self.temporary)}
        if package_root is not None:
            environment["PYTHONPATH"] = str(package_root)
        return subprocess.Popen(
            [sys.executable, "-m", "jobwarden", "demo", *flags],
            cwd=self.empty,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def left_over(self) -> list[Path]:
        """What the demo left in either folder."""
        return [*self.empty.iterdir(), *self.temporary.iterdir()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The folders; after the test, no process of any demo may be left."""
    with processes.subreaper():
        own = processes.children(os.getpid())
        yield Place(tmp_path)
        assert processes.children(os.getpid()) - own == set()


def run_with_json(place: Place, *flags: str, package_root: Path | None = None) -> tuple[int, dict[str, Any]]:
    """Run the demo to its end; its exit code and its table."""
    with place.start("--json", *flags, package_root=package_root) as demo:
        out, errors = demo.communicate(timeout=LIMIT_SECONDS)
    assert out, errors
    return demo.returncode, json.loads(out)


def test_every_promise_is_kept_and_nothing_is_left(place: Place) -> None:
    """In an empty folder the demo ends with exit code 0 and leaves neither files nor processes."""
    code, found = run_with_json(place)
    assert [row for row in found["rows"] if not row["kept"]] == []
    assert (code, found["ok"], found["folder"]) == (0, True, None)
    assert place.left_over() == []


def test_a_handler_that_lies_is_found_out(place: Place, tmp_path: Path) -> None:
    """Answers are compared with an independent source: a wrong digest is one broken promise and exit code 1.
    With --keep, database, log and archive can be looked at afterwards.
    """
    package = tmp_path / "root" / "jobwarden"
    shutil.copytree(Path(jobwarden.__file__).parent, package)
    shutil.copytree(shipped_folder("handlers"), package / "shipped_handlers", dirs_exist_ok=True)
    (package / "shipped_handlers" / "digest_file.py").write_text(LYING_HANDLER)

    code, found = run_with_json(place, "--keep", package_root=package.parent)

    assert (code, found["ok"]) == (1, False)
    assert [row["promised"] for row in found["rows"] if not row["kept"]] == [
        "digests of the standard library are right"
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_cleans_up(place: Place, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM in the middle of the work: exit code 130, nothing is left."""
    with place.start() as demo:
        assert demo.stderr is not None
        assert "digest_file" in demo.stderr.readline()
        os.killpg(demo.pid, number)
        out, errors = demo.communicate(timeout=LIMIT_SECONDS)
    assert (demo.returncode, out) == (130, "")
    assert "interrupted" in errors
    assert place.left_over() == []
