"""handlers/README.md does what it says: its examples are written, loaded, tested and run, from top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tour import BLOCK, LINK, follow, opened_terminal

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "handlers" / "README.md"


def test_the_examples_do_what_is_said_of_them(tmp_path: Path) -> None:
    """One newcomer, one daemon, one terminal: every file is saved and every command typed as it stands there.

    The tests that stand in it are run once more in the end, all of them but those that it has run itself.
    """
    with opened_terminal(tmp_path) as terminal:
        follow(DOCUMENT.read_text(encoding="utf-8"), terminal)
        terminal.type("python -m pytest -q --ignore=tests/test_greet.py tests")


def test_every_example_is_run() -> None:
    """No code stands in it that is not in a block which names its file, or typed into the terminal."""
    text = DOCUMENT.read_text(encoding="utf-8")
    outside = BLOCK.sub("", text)
    assert "```" not in outside
    assert [line for line in outside.splitlines() if line.startswith("    ")] == []
    for language, block in BLOCK.findall(text):
        first, _, rest = block.partition("\n")
        assert first.startswith("$ " if language == "console" else ("# ", "#!")), block
        assert rest, block


@pytest.mark.parametrize("path", LINK.findall(DOCUMENT.read_text(encoding="utf-8")))
def test_links_lead_somewhere(path: str) -> None:
    """Each relative link names a file of the repository."""
    assert (DOCUMENT.parent / path).exists()
