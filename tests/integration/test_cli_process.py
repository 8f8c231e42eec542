"""The command as a process: pipes, terminals, signals, and what it imports."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.client import Client
from tests.support.played_node import PlayedNode

LIMIT_SECONDS = 60
COMMAND = (sys.executable, "-m", "jobwarden")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


def run(*words: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    environment = {**os.environ, "JOBWARDEN_DATABASE_URL": url}
    return subprocess.run(
        [*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )


def test_the_module_is_the_command(url: str) -> None:
    """`python -m jobwarden` adds a job like `jobwarden` does, and says nothing else."""
    ran = run("add", "digest", url=url)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")


def test_a_mistake_gives_no_traceback(url: str) -> None:
    """A sentence and exit code 2 also from the real process."""
    ran = run("add", "digest", "{", url=url)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("jobwarden: payload: is not JSON")


def test_a_closed_pipe_is_no_news(client: Client, url: str) -> None:
    """`jobwarden list | head -1`: whoever reads has seen enough, and nothing is said about it."""
    client.add_job("digest")
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [*COMMAND, "list", "--json", "--database-url", url],
        env=_buffered(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    os.close(writer)
    assert ran.stderr == b""
    assert ran.returncode == 1


def test_a_full_disk_for_the_answer_is_one_sentence(client: Client, url: str) -> None:
    """An answer that cannot be written is a failure, not a traceback."""
    client.add_job("digest")
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [*COMMAND, "list", "--json", "--database-url", url],
            env=_buffered(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    assert ran.stderr == b"jobwarden: standard output: No space left on device\n"
    assert ran.returncode == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("add digest 1 >&-", 0),
        ("add digest 1 <&- >&- 2>&-", 0),
        ("list >&-", 0),
        ("add digest - <&-", 2),
        ("add digest nojson 2>&-", 2),
        ("add digest nojson 2>/dev/full", 2),
        ("run --once --limit 1 >&- 2>&-", 1),
    ],
)
def test_closed_and_full_streams_change_no_exit_code(url: str, tmp_path: Path, words: str, code: int) -> None:
    """A service manager may start us without streams: neither a traceback nor another answer comes of it."""
    command = f'"{sys.executable}" -m jobwarden {words}'
    environment = {**_buffered(), "JOBWARDEN_DATABASE_URL": url}
    ran = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, timeout=LIMIT_SECONDS, check=False
    )
    assert ran.returncode == code
    assert b"Traceback" not in ran.stderr


def test_an_interrupt_ends_the_waiting_and_not_the_job(client: Client, url: str) -> None:
    """Ctrl-C gives exit code 130, no traceback, and the job goes on."""
    with subprocess.Popen(
        [*COMMAND, "add", "digest", "--wait", "--database-url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "1\n"
        waiting.send_signal(signal.SIGINT)
        _, stderr = waiting.communicate(timeout=LIMIT_SECONDS)
    assert waiting.returncode == 130
    assert "Traceback" not in stderr
    record = client.get_job(1)
    assert record is not None
    assert not record.ended


def test_a_terminal_sees_the_progress(client: Client, url: str) -> None:
    """With `--wait` and a terminal a bar follows the job's progress; the output still goes to standard output."""
    client.get_job(1)
    terminal, theirs = pty.openpty()
    bell = client.store.bell
    assert bell is not None
    ear = bell.listen("node")
    ear.settimeout(LIMIT_SECONDS)
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    with (
        PlayedNode(url) as node,
        subprocess.Popen(
            [*COMMAND, "add", "digest", "--wait", "--database-url", url],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=environment,
        ) as waiting,
    ):
        os.close(theirs)
        ear.recv(64)
        job = node.take_one()
        node.progress(job, 42)
        seen = _read_until(b"42 %", terminal)
        drain = threading.Thread(target=_read_until, args=(b"never", terminal))
        drain.start()
        node.complete(job, output='{"size": 3}')
        out, _ = waiting.communicate(timeout=LIMIT_SECONDS)
        drain.join(LIMIT_SECONDS)
    bell.leave(ear)
    os.close(terminal)
    assert b"job 1" in seen
    assert (waiting.returncode, out) == (0, b'1\n{"size": 3}\n')


def test_a_command_imports_only_what_it_needs() -> None:
    """The version needs no database library, and adding a job neither rich nor the settings nor the supervisor."""
    check = "import sys; from jobwarden.cli.entry import enter; enter({words}); print({heavy} & set(sys.modules))"
    for words, heavy in (
        (["version"], {"sqlalchemy", "jobwarden.settings", "rich.table"}),
        (["add", "digest", "--database-url", "x"], {"rich.table", "jobwarden.supervisor", "alembic", "psutil"}),
    ):
        source = check.format(words=words, heavy=heavy)
        ran = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
        )
        assert ran.stdout.splitlines()[-1] == "set()"


def _buffered() -> dict[str, str]:
    """An environment in which what is printed is written at the end, as it is for people."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def _read_until(wanted: bytes, terminal: int) -> bytes:
    """What the terminal shows up to the wanted bytes, or up to its end."""
    seen = b""
    while wanted not in seen:
        try:
            chunk = os.read(terminal, 4_096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    return seen
