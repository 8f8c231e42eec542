"""The README does what it says: its tours are run as they are written, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import postgresql, processes
from tests.support.daemon import clean_environment

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 60
DAEMON = "jobwarden run"
BY_HAND = "--burst"
ANYTHING = "…"
TOUR = ("Five minutes", "Ten minutes more")
EXAMPLE_URL = "postgresql://jobs@db.example.org/jobs"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


class Step(NamedTuple):
    """A command and the lines that it prints; `…` stands for any lines."""

    command: str
    expected: list[str]


class Terminal:
    """A folder in which commands are typed, with `jobwarden` and `python` on the path."""

    def __init__(self, folder: Path, *, commands: Path) -> None:
        """`commands` is where the two are put: scripts for the interpreter that runs the tests."""
        self.folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        commands.mkdir()
        for name, words in (("python", ""), ("jobwarden", " -m jobwarden")):
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
            script.chmod(0o755)
        environment = clean_environment()
        self._environment = {**environment, "PATH": f"{commands}:{environment['PATH']}"}

    def type(self, command: str) -> str:
        """Run a command; what it printed. A daemon is left running."""
        if command.startswith(DAEMON) and BY_HAND not in command:
            self._daemons.append(self._start(f"exec {command}"))
            return ""
        with self._start(command) as process:
            out, errors = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0, f"{command}: {errors.decode()}"
        return out.decode()

    def stop_daemons(self) -> list[int]:
        """End them as Ctrl-C does; their exit codes."""
        for daemon in self._daemons:
            daemon.send_signal(signal.SIGINT)
        for daemon in self._daemons:
            daemon.communicate(timeout=LIMIT_SECONDS)
        return [daemon.returncode for daemon in self._daemons]

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.fixture
def url() -> str:
    """An empty database on PostgreSQL; asked for before a terminal, so that the server is no child of its commands."""
    return postgresql.server().new_database()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in an empty folder; its daemons end in order."""
    folder = tmp_path / "empty"
    folder.mkdir()
    with processes.subreaper():
        own = processes.children(os.getpid())
        opened = Terminal(folder, commands=tmp_path / "commands")
        try:
            yield opened
        finally:
            codes = opened.stop_daemons()
        assert set(codes) <= {0}
        assert processes.children(os.getpid()) - own == set()


def test_the_tour_does_what_it_says(terminal: Terminal) -> None:
    """Every file of the tour is written and every command run as it stands there, and prints what stands there."""
    for title in TOUR:
        for language, text in _BLOCK.findall(_section(title)):
            if language == "python":
                _write(terminal.folder, text)
            else:
                assert language == "console"
                for step in _steps(text):
                    printed = terminal.type(step.command)
                    assert _fits(printed, step.expected), f"{step.command} printed\n{printed}"
    terminal.type("python -m pytest -q -p no:cacheprovider test_count_words.py")


def test_the_way_to_many_hosts_does_what_it_says(url: str, terminal: Terminal) -> None:
    """The same steps on a real PostgreSQL; only the URL is another one than in the README."""
    for language, text in _BLOCK.findall(_section("Five minutes")):
        if language == "python":
            _write(terminal.folder, text)
    for language, text in _BLOCK.findall(_section("From one host to ten")):
        if language == "toml":
            assert EXAMPLE_URL in text
            _write(terminal.folder, text.replace(EXAMPLE_URL, url))
        elif language == "console":
            for step in _steps(text):
                printed = terminal.type(step.command)
                assert _fits(printed, step.expected), f"{step.command} printed\n{printed}"


def test_the_configuration_file_is_good_to_start_with(terminal: Terminal) -> None:
    """With the file of all defaults the shipped handlers are served, and `digest_file` agrees with sha256sum."""
    for name in ("README.md", "config", "handlers"):
        (terminal.folder / name).symlink_to(ROOT / name)
    (command,) = (line for line in _section("Configuration").splitlines() if line.startswith(DAEMON))
    terminal.type(command)

    printed = terminal.type("""jobwarden add digest_file '{"path": "README.md"}' --wait""")

    assert terminal.type("sha256sum README.md").split()[0] in printed


def test_links_lead_somewhere() -> None:
    """Each relative link of the README names a file of the repository."""
    links = _LINK.findall(_readme())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_console_reader_sees_a_difference() -> None:
    """Expected lines are compared in full; only `…` gives way, to any lines or to the rest of one."""
    (step,) = _steps("$ jobwarden show 1\njob 1\n…\nstatus completed\n")
    assert _fits("job 1\nx\ny\nstatus completed\n", step.expected)
    assert not _fits("job 1\nx\ny\nstatus failed\n", step.expected)
    assert not _fits("job 12\nstatus completed\n", step.expected)
    assert _fits("id  type\n1   a\n", ["id  …", "1   a"])
    assert not _fits("id  type\n2   a\n", ["id  …", "1   a"])


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    _, found, rest = _readme().partition(f"\n## {title}\n")
    assert found, f"README.md has no section {title}"
    return rest.partition("\n## ")[0]


def _write(folder: Path, text: str) -> None:
    """The first line of a block of Python or TOML names its file."""
    path = folder / text.partition("\n")[0].removeprefix("# ")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _steps(text: str) -> list[Step]:
    steps: list[Step] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ "), []))
        else:
            steps[-1].expected.append(line)
    return steps


def _fits(printed: str, expected: list[str]) -> bool:
    lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    return re.fullmatch("".join(map(_pattern, expected)), lines) is not None


def _pattern(line: str) -> str:
    if line == ANYTHING:
        return "(?:.*\n)*?"
    rest = ".*" if line.endswith(ANYTHING) else ""
    return re.escape(line.removesuffix(ANYTHING)) + rest + "\n"
