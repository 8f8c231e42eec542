"""A pool under another Python or virtual environment: whatever is wrong there is one sentence with the way out."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import jobwarden
from jobwarden.cli.entry import enter
from jobwarden.supervisor.interpreter import Interpreter
from jobwarden.version import __version__
from jobwarden.wire.messages import WIRE_VERSION
from tests.support.environments import Environment
from tests.support.shell import Shell
from tests.support.site import Site
from tests.support.waiting import eventually

WHERE = """
import os, sys
import only_there
from jobwarden import handler

@handler("where")
def where(payload):
    return [only_there.WHAT, sys.prefix, os.environ["VIRTUAL_ENV"], os.environ["PATH"].split(":")[0]]
"""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A virtual environment without any package."""
    return Environment(tmp_path / "theirs")


def handlers_in(folder: Path, text: str = WHERE) -> Path:
    """A folder with one handler file."""
    folder.mkdir()
    (folder / "where.py").write_text(text)
    return folder


def check(tmp_path: Path, python: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one problem that `jobwarden check` finds with this interpreter."""
    folder = handlers_in(tmp_path / "handlers")
    flags = [f"--python={python}", f"--state-dir={tmp_path}/state", f"--database-url=sqlite:///{tmp_path}/jobs.db"]
    assert enter(["check", f"--handlers={folder}", *flags]) == 1
    out, err = capsys.readouterr()
    (problem, *_rest, last) = out.splitlines()
    assert (last, err) == ("1 problem", "")
    return problem


def test_handlers_run_under_their_own_interpreter_once_jobwarden_is_there(
    site: Site, environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """P6: without it the daemon runs on and says what is missing, and the command; a reload then finds it."""
    environment.install("only_there", "WHAT = 'from the other environment'")
    python, folder = environment.python, handlers_in(site.folder / "handlers")
    daemon = site.start(python=python, handlers=folder, settled=False)

    missing = f"{python} has no jobwarden; install it there: {Interpreter(python, identity=None).pip_command}"
    assert f"{python} -m pip install " in missing
    daemon.wait_for("alerted", text=f"generation 1 is not served: {missing}")
    job_id = site.add("where")
    status = Shell(site.url, capsys)
    eventually(lambda: missing in "".join(status.call("status").splitlines()), what="the problem in `status`")

    environment.install_ours()
    daemon.send(signal.SIGHUP)
    daemon.await_workers(2)
    there = [str(environment.folder), str(environment.folder), str(environment.folder / "bin")]
    assert site.await_end(job_id).output == ["from the other environment", *there]


def test_a_jobwarden_that_speaks_another_version_is_named_with_the_command(
    tmp_path: Path, environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a word was exchanged: an order that it would misunderstand is not given."""
    environment.install("jobwarden.version", "__version__ = '9.8.7'")
    environment.install("jobwarden.wire.messages", f"WIRE_VERSION = {WIRE_VERSION + 1}")

    said = check(tmp_path, environment.python, capsys)

    assert f"{environment.python} has jobwarden 9.8.7, with which this one ({__version__}) cannot talk" in said
    assert f"install the same one there: {environment.python} -m pip install " in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("this is no python", "SyntaxError: invalid syntax (messages.py, line 1)"),
        ("raise ValueError('half installed')", "ValueError: half installed"),
    ],
    ids=["dependency", "syntax", "exception"],
)
def test_a_jobwarden_that_cannot_be_imported_there_is_named_with_the_reason(
    tmp_path: Path, environment: Environment, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    """A dependency that is missing, an installation for another Python: no traceback, no guessing."""
    environment.install("jobwarden.wire.messages", text)

    said = check(tmp_path, environment.python, capsys)

    assert f"{environment.python} cannot import jobwarden ({why}); install it there: " in said


def test_a_python_that_is_too_old_is_told_its_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is asked before it has to read anything that it cannot."""
    aged = "import sys; sys.version_info = (3, 8, 18); sys.argv[:2] = ['-c']; exec(sys.argv.pop(1))"
    wrapper = tmp_path / "python3.8"
    wrapper.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{aged}" x "$@"\n')
    wrapper.chmod(0o755)

    assert f"{wrapper} is Python 3.8.18, too old for jobwarden; name one from 3.11 on" in check(
        tmp_path, wrapper, capsys
    )


@pytest.mark.parametrize(("mode", "why"), [(None, "No such file or directory"), (0o644, "Permission denied")])
def test_what_cannot_be_executed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int | None, why: str
) -> None:
    """A path that leads nowhere, a file that is no program."""
    python = tmp_path / "python"
    if mode is not None:
        python.touch(mode)

    assert f"the daemon cannot run {python} ({why}); name a Python that it can run" in check(tmp_path, python, capsys)


OTHERS = ("python3.12", "python3.13", "python3.14")
NEEDED = ("msgspec", "psutil", "pydantic", "setproctitle")


def real_other_python() -> str:
    """Another version than ours that works, found on the way that a shell would take."""
    for name in OTHERS:
        found = shutil.which(name)
        if found and name != f"python{sys.version_info.major}.{sys.version_info.minor}":
            answer = subprocess.run(
                [found, "-c", "import sys; print(sys.executable)"], capture_output=True, check=False
            )
            if answer.returncode == 0:
                return answer.stdout.decode().strip()
    pytest.skip(f"none of {', '.join(OTHERS)} is on this machine")


@pytest.mark.nightly
def test_handlers_run_under_another_version_of_python(site: Site, tmp_path: Path) -> None:
    """Template and workers speak the same wire whatever Python they run under; needs a package index."""
    folder = tmp_path / "other"
    subprocess.run([real_other_python(), "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDED], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(f"{Path(jobwarden.__file__).parents[1]}\n")
    handlers = handlers_in(
        tmp_path / "handlers",
        "import sys\nfrom jobwarden import handler\n\n@handler('version')\ndef version(payload):\n"
        "    return list(sys.version_info[:2])\n",
    )
    site.start(python=python, handlers=handlers)

    found = site.await_end(site.add("version")).output
    assert isinstance(found, list)
    assert found != list(sys.version_info[:2])
