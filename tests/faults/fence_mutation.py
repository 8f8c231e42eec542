"""Takes the fence out of each statement in turn and runs the store's behavioural suite: it must go red every time.

    python -m tests.faults.fence_mutation

Works on a copy in a temporary folder. A line that carries the fence of a statement ends in `-- guard`; the mutant
lacks that one line. Ends with 0 only if every mutant was found, and names the first test that found it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORE = Path("daemon/jobwarden/store")
_GUARD = re.compile(r"-- guard\b")
_NAME = re.compile(r"^(\w+) = ")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def guards() -> list[tuple[Path, int, str]]:
    """(file, line number, name of the statement) of every guard in the store's room."""
    found = []
    for file in sorted((ROOT / STORE).rglob("*.py")):
        statement = ""
        for number, line in enumerate(file.read_text().splitlines()):
            if name := _NAME.match(line):
                statement = name[1]
            if _GUARD.search(line):
                found.append((file.relative_to(ROOT), number, statement))
    return found


def run_suite(tree: Path) -> subprocess.CompletedProcess[str]:
    """The store's suite against the package in `tree`, up to the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/store"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "daemon"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def found_by(run: subprocess.CompletedProcess[str]) -> str | None:
    """The first test that failed, or None for a green run. A suite that did not run counts as green."""
    first = _FAILED.search(run.stdout)
    return first[1] if run.returncode == 1 and first else None


def main() -> int:
    """Print a line for each mutant; 0 if all were found."""
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for part in ("daemon", "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        clean = run_suite(tree)
        if clean.returncode != 0:
            print(f"the suite is not green before any change:\n{clean.stdout}{clean.stderr}")
            return 1
        for file, number, statement in guards():
            whole = (tree / file).read_text()
            lines = whole.splitlines(keepends=True)
            (tree / file).write_text("".join(lines[:number] + lines[number + 1 :]))
            test = found_by(run_suite(tree))
            (tree / file).write_text(whole)
            survivors += test is None
            print(f"{'SURVIVED' if test is None else 'found'}  {statement:24} {test or ''}", flush=True)
    print(f"{len(guards())} fences taken out, {survivors} not noticed")
    return 1 if survivors or not guards() else 0


if __name__ == "__main__":
    sys.exit(main())
