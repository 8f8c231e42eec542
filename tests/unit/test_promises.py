"""The page of promises names tests that exist, and all promises."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "daemon" / "docs" / "promises.md").read_text(encoding="utf-8")
REFERENCES = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
PROMISES = [f"P{number}" for number in range(1, 9)]


@cache
def functions_in(path: str) -> frozenset[str]:
    """The test functions of a file; none if it does not exist."""
    file = ROOT / path
    tree = ast.parse(file.read_text(encoding="utf-8") if file.exists() else "")
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_test_that_proves_a_promise_exists() -> None:
    """A renamed or deleted test takes its promise with it, unless somebody changes the page."""
    missing = [f"{path}::{name}" for path, name in REFERENCES if name not in functions_in(path)]
    assert missing == []


def test_no_test_is_named_in_a_form_that_is_not_checked() -> None:
    """Whatever looks like the name of a test is one of the references."""
    assert len(re.findall(r"::test_|`test_", PAGE)) == len(REFERENCES)


def test_every_promise_has_a_sentence_and_tests() -> None:
    """P1 to P8, each with a line in the table and a section with tests of more than one folder."""
    for promise in PROMISES:
        assert re.search(rf"^\| {promise} \| .{{40,}} \|$", PAGE, re.MULTILINE), promise
        section = PAGE.partition(f"\n## {promise}: ")[2].partition("\n## ")[0]
        folders = {path.split("/")[1] for path, name in REFERENCES if f"{path}::{name}" in section}
        assert len(folders) >= 2, f"{promise} is proved by {folders or 'nothing'} only"
