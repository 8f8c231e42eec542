"""The README does what it says: its tours are run as they are written, and its links lead somewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import postgresql
from tests.support.tour import (
    BLOCK,
    DAEMON,
    LINK,
    Terminal,
    fits,
    follow,
    opened_terminal,
    section,
    steps,
    type_all,
    write,
)

ROOT = Path(__file__).resolve().parents[2]
TOUR = ("Five minutes", "Ten minutes more")
EXAMPLE_URL = "postgresql://jobs@db.example.org/jobs"


@pytest.fixture
def url() -> str:
    """An empty database on PostgreSQL; asked for before a terminal, so that the server is no child of its commands."""
    return postgresql.server().new_database()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in an empty folder."""
    with opened_terminal(tmp_path) as opened:
        yield opened


def test_the_tour_does_what_it_says(terminal: Terminal) -> None:
    """Every file of the tour is written and every command run as it stands there, and prints what stands there."""
    for title in TOUR:
        follow(section(_readme(), title), terminal)
    terminal.type("python -m pytest -q -p no:cacheprovider test_count_words.py")


def test_the_way_to_many_hosts_does_what_it_says(url: str, terminal: Terminal) -> None:
    """The same steps on a real PostgreSQL; only the URL is another one than in the README."""
    for language, text in BLOCK.findall(section(_readme(), "Five minutes")):
        if language == "python":
            write(terminal.folder, text)
    for language, text in BLOCK.findall(section(_readme(), "From one host to ten")):
        if language == "toml":
            assert EXAMPLE_URL in text
            write(terminal.folder, text.replace(EXAMPLE_URL, url))
        elif language == "console":
            type_all(text, terminal)


def test_the_configuration_file_is_good_to_start_with(terminal: Terminal) -> None:
    """With the file of all defaults the shipped handlers are served, and `digest_file` agrees with sha256sum."""
    shutil.copy(ROOT / "README.md", terminal.folder)
    for name in ("config", "handlers"):  # copies: the checkout may belong to somebody whom no daemon trusts
        shutil.copytree(ROOT / name, terminal.folder / name)
    (command,) = (line for line in section(_readme(), "Configuration").splitlines() if line.startswith(DAEMON))
    terminal.type(command)

    printed = terminal.type("""jobwarden add digest_file '{"path": "README.md"}' --wait""")

    assert terminal.type("sha256sum README.md").split()[0] in printed


def test_links_lead_somewhere() -> None:
    """Each relative link of the README names a file of the repository."""
    links = LINK.findall(_readme())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_console_reader_sees_a_difference() -> None:
    """Expected lines are compared in full; only `…` gives way, to any lines or to the rest of one."""
    (step,) = steps("$ jobwarden show 1\njob 1\n…\nstatus completed\n")
    assert fits("job 1\nx\ny\nstatus completed\n", step.expected)
    assert not fits("job 1\nx\ny\nstatus failed\n", step.expected)
    assert not fits("job 12\nstatus completed\n", step.expected)
    assert fits("id  type\n1   a\n", ["id  …", "1   a"])
    assert not fits("id  type\n2   a\n", ["id  …", "1   a"])


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")
