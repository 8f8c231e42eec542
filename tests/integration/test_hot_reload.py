"""Saving is deploying: what stands in the handlers directory goes live by itself, or is refused with file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.jobs import JobStatus
from tests.support.daemon import Event
from tests.support.processes import subreaper
from tests.support.site import Site

GATED = """
from pathlib import Path
from jobwarden import handler
import _helper

@handler("versioned")
def versioned(payload: dict) -> str:
    if "gate" in payload:
        Path(payload["gate"] + ".started").open("wb", buffering=0).write(b"1 1 1\\n")
        Path(payload["gate"] + ".go").open("rb", buffering=0).read(1)
    return "VERSION" + _helper.SUFFIX
"""
LATER = """
from jobwarden import handler

@handler("later")
def later(payload: dict) -> str:
    return "done"
"""


class Code:
    """A handlers directory behind a link, as deploy tools make it, and the daemon that serves it."""

    def __init__(self, site: Site) -> None:
        """The first release, served by two workers."""
        self.site = site
        self.folder = site.folder / "current"
        first = self.release("1", "first")
        self.folder.symlink_to(first)
        self.daemon = site.start(handlers=self.folder, load_seconds=2)

    def release(self, name: str, version: str) -> Path:
        """Lay down a release beside the others."""
        made = self.site.folder / "releases" / name
        made.mkdir(parents=True)
        self.write(made, version)
        (made / "_helper.py").write_text("SUFFIX = ''\n")
        return made

    def write(self, folder: Path, version: str) -> None:
        """The handler file as of this version, written as editors do."""
        (beside := folder / ".versioned.new").write_text(GATED.replace("VERSION", version))
        beside.replace(folder / "versioned.py")

    def await_served(self, after: int, types: list[str] | None = None) -> Event:
        """The next generation that is served."""
        if types is None:
            return self.daemon.wait_for("generation_served", after=after)
        return self.daemon.wait_for("generation_served", after=after, types=types)

    def save(self, version: str) -> Event:
        """Save, and wait until it is served."""
        position = self.daemon.position
        self.write(self.folder, version)
        return self.await_served(position)

    def run(self) -> object:
        """What the code that is served returns."""
        return self.site.await_end(self.site.client.add_job("versioned", {})).output


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Code]:
    """For all tests here; each leaves behind code that works."""
    with subreaper():
        site = Site(tmp_path_factory.mktemp("hot"))
        try:
            yield Code(site)
        finally:
            site.close()


def test_a_job_that_runs_across_three_saves_ends_on_its_own_code(code: Code) -> None:
    """An attempt runs on one generation from start to end; all others run on what was saved last."""
    code.save("across 0")
    gate = code.site.gate()
    running = code.site.add("versioned", gate)
    gate.await_arrival()
    for version in ("across 1", "across 2", "across 3"):
        code.save(version)
        assert code.run() == version
    gate.let_go()
    record = code.site.await_end(running)
    assert (record.status, record.output, record.attempts) == (JobStatus.COMPLETED, "across 0", 1)


def test_a_helper_is_part_of_the_code(code: Code) -> None:
    """Whoever changes only what others import has changed them."""
    code.save("helped")
    position = code.daemon.position
    (code.folder / "_helper.py").write_text("SUFFIX = ' anew'\n")
    code.await_served(position)
    assert code.run() == "helped anew"
    position = code.daemon.position
    (code.folder / "_helper.py").write_text("SUFFIX = ''\n")
    code.await_served(position)


def test_a_swapped_link_and_a_git_checkout_are_one_generation_each(code: Code) -> None:
    """Many files change, and the directory itself; it is loaded once, when all of it is there."""
    second = code.release("2", "second")
    (following := code.site.folder / "next").symlink_to(second)
    position = code.daemon.position
    following.replace(code.folder)
    swapped = code.await_served(position)
    assert code.run() == "second"
    position = code.daemon.position
    for number in range(20):
        (second / f"_part{number}.py").write_text(f"# {number}\n")
    code.write(second, "third")
    checked_out = code.await_served(position)
    assert checked_out["generation"] == swapped["generation"] + 1
    assert code.run() == "third"


def test_a_type_that_is_removed_leaves_its_jobs_waiting(code: Code) -> None:
    """Nobody here can run them; they are not lost, and run when the file is back."""
    position = code.daemon.position
    (code.folder / "later.py").write_text(LATER)
    code.await_served(position, types=["later", "versioned"])
    position = code.daemon.position
    (code.folder / "later.py").rename(code.folder / "later.py.txt")
    code.await_served(position, types=["versioned"])
    waiting = code.site.client.add_job("later", {})
    assert code.run() is not None
    assert code.site.job(waiting).status is JobStatus.PENDING
    (code.folder / "later.py.txt").rename(code.folder / "renamed.py")
    assert code.site.await_end(waiting).output == "done"
    position = code.daemon.position
    (code.folder / "renamed.py").unlink()
    code.await_served(position)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def broken(:\n", "broken.py:1: SyntaxError: "),
        ("import sys\nsys.exit(1)\n", "broken.py:2: SystemExit: 1"),
        ("import os\nos._exit(1)\n", "broken.py: importing it, its process ended with exit code 1"),
        ("import faulthandler\nfaulthandler._sigsegv()\n", "broken.py:2: importing it, its process was killed by sig"),
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n", "threads"),
        ("@handler('versioned')\n", "versioned.py:6: the job type 'versioned' is served by broken.py (line 2)"),
    ],
)
def test_a_save_that_is_broken_is_told_with_its_place_and_the_last_good_code_serves_on(
    code: Code, text: str, told: str
) -> None:
    """P6: status and log say which file, which line and what; the next save is tried as if nothing had been."""
    code.save(f"before {told}")
    position = code.daemon.position
    if text.startswith("@"):
        text = f"from jobwarden import handler\n{text}def other(payload: dict) -> None: ...\n"
    (code.folder / "broken.py").write_text(text)
    try:
        assert told in code.daemon.wait_for("alerted", after=position)["text"]
        assert code.run() == f"before {told}"
    finally:
        position = code.daemon.position
        (code.folder / "broken.py").unlink()
    code.await_served(position)
    assert code.save(f"after {told}")
    assert code.run() == f"after {told}"


@pytest.mark.parametrize("name", ["versioned.py", "."])
def test_code_that_others_can_write_is_not_served_and_a_chmod_mends_it(code: Code, name: str) -> None:
    """strict_modes: at each generation; the last one serves on, and no other save is needed."""
    code.save(f"before {name}")
    place = code.folder / name
    before, position = place.stat().st_mode, code.daemon.position
    place.chmod(before | 0o022)
    alert = code.daemon.wait_for("alerted", after=position)
    assert "every user can write it" in alert["text"]
    assert f"chmod o-w {place.resolve()}" in alert["text"]
    assert code.run() == f"before {name}"
    position = code.daemon.position
    place.chmod(before)
    code.await_served(position)
    assert code.run() == f"before {name}"


def test_a_load_that_hangs_is_told_with_its_line(code: Code) -> None:
    """The stack of what hangs is written by a watchdog that needs no interpreter."""
    position = code.daemon.position
    (code.folder / "hanging.py").write_text("import threading\n\nthreading.Event().wait()\n")
    alert = code.daemon.wait_for("alerted", after=position)
    assert "hanging.py:3: it did not load within 2 s" in alert["text"]
    position = code.daemon.position
    (code.folder / "hanging.py").unlink()
    code.await_served(position)


def test_a_save_that_changes_nothing_loads_nothing(code: Code) -> None:
    """A touch, or the same text once more, costs no template and no worker."""
    code.save("same")
    position = code.daemon.position
    code.write(code.folder, "same")
    (code.folder / "versioned.py").touch()
    code.save("other")
    assert [each["event"] for each in code.daemon.log[position:]].count("generation_served") == 1


def test_at_the_start_good_files_serve_whatever_the_others_do(site: Site) -> None:
    """Each broken file is told and costs only itself, also one that ends, hangs or encumbers the whole process."""
    (code := site.folder / "code").mkdir()
    (code / "good.py").write_text(LATER)
    (code / "error.py").write_text("import no_such_module\n")
    (code / "exits.py").write_text("import os\nos._exit(3)\n")
    (code / "hangs.py").write_text("while True:\n    pass\n")
    (code / "threads.py").write_text("import threading\nthreading.Thread(target=threading.Event().wait).start()\n")
    daemon = site.start(handlers=code, workers=1, load_seconds=1)
    assert site.await_end(site.client.add_job("later", {})).output == "done"
    told = "\n".join(each["text"] for each in daemon.events("alerted"))
    for each in ("error.py:1: ModuleNotFoundError", "exits.py: importing it", "hangs.py:", "without threads.py"):
        assert each in told
    position = daemon.position
    (code / "more.py").write_text(LATER.replace("later", "more"))
    for name in ("exits", "hangs", "threads"):
        (code / f"{name}.py").write_text(f"# {name} no more\n")
    daemon.wait_for("generation_served", after=position, types=["later", "more"])
