"""Types the console lines of a document into a shell, writes its files, and compares what is printed.

A document's blocks are fenced: `console` with lines that begin with `$ `, each followed by what it prints (`…` stands
for any lines, or for the rest of one); any other language is a file, whose name stands in its first line (see `write`).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support import processes
from tests.support.daemon import clean_environment
from tests.support.installed import with_entry_points

LIMIT_SECONDS = 60
DAEMON = "jobwarden run"
BY_HAND = "--burst"
ANYTHING = "…"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


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
        places = [str(with_entry_points(commands / "installed")), environment["PYTHONPATH"]]
        own = {"PATH": f"{commands}:{environment['PATH']}", "PYTHONPATH": os.pathsep.join(places)}
        self._environment = {**environment, **own}

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


@contextmanager
def opened_terminal(folder: Path) -> Iterator[Terminal]:
    """A terminal in an empty folder below `folder`; its daemons end in order, and nothing of them is left."""
    place = folder / "empty"
    place.mkdir()
    with processes.subreaper():
        own = processes.children(os.getpid())
        terminal = Terminal(place, commands=folder / "commands")
        try:
            yield terminal
        finally:
            codes = terminal.stop_daemons()
        assert set(codes) <= {0}
        assert processes.children(os.getpid()) - own == set()


def follow(text: str, terminal: Terminal) -> None:
    """Write every file and type every command of this part of a document, in order."""
    for language, block in BLOCK.findall(text):
        if language == "console":
            type_all(block, terminal)
        else:
            write(terminal.folder, block)


def type_all(block: str, terminal: Terminal) -> None:
    """Type the commands of one block; each must print what stands below it."""
    for step in steps(block):
        printed = terminal.type(step.command)
        assert fits(printed, step.expected), f"{step.command} printed\n{printed}"


def section(document: str, title: str) -> str:
    """The text below `## title`."""
    _, found, rest = document.partition(f"\n## {title}\n")
    assert found, f"there is no section {title}"
    return rest.partition("\n## ")[0]


def write(folder: Path, text: str) -> None:
    """The first line of a block names its file (`# handlers/greet.py`); before a `#!` line it is no part of it."""
    name, _, rest = text.partition("\n")
    path = folder / name.removeprefix("# ")
    path.parent.mkdir(parents=True, exist_ok=True)
    executable = rest.startswith("#!")
    path.write_text(rest if executable else text, encoding="utf-8")
    if executable:
        path.chmod(0o755)


def steps(block: str) -> list[Step]:
    """The commands of a console block."""
    found: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Step(line.removeprefix("$ "), []))
        else:
            found[-1].expected.append(line)
    return found


def fits(printed: str, expected: list[str]) -> bool:
    """Whether this is what was to be printed."""
    lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    return re.fullmatch("".join(map(_pattern, expected)), lines) is not None


def _pattern(line: str) -> str:
    if line == ANYTHING:
        return "(?:.*\n)*?"
    rest = ".*" if line.endswith(ANYTHING) else ""
    return re.escape(line.removesuffix(ANYTHING)) + rest + "\n"
