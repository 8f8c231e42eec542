"""Takes the fence out of each statement in turn and runs the store's behavioural suite: it must go red every time.

    python -m tests.faults.fence_mutation

Works on a copy in a temporary folder. A line that carries the fence of a statement ends in `-- guard`; the mutant
lacks that one line. The mutants of a dialect meet the suite on its database; the names of databases as arguments leave
the others out. Ends with 0 only if every mutant was found, and names the first test that found it.
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
STORES = ("sqlite", "postgresql", "mariadb")
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


def store_of(file: Path) -> str:
    """The database on which a statement of this file runs; what all share is tried on the embedded one."""
    parts = file.parts
    return parts[parts.index("dialects") + 1] if "dialects" in parts else "sqlite"


def run_suite(tree: Path, store: str) -> subprocess.CompletedProcess[str]:
    """The store's suite against the package in `tree`, up to the first failure; first what is likely to find it."""
    tests = ["tests/store/test_fence.py", "tests/store/test_prolongs.py", "tests/store"]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree / "daemon"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["JOBWARDEN_TEST_STORES"] = store
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def found_by(run: subprocess.CompletedProcess[str]) -> str | None:
    """The first test that failed, or None for a green run. A suite that did not run counts as green."""
    first = _FAILED.search(run.stdout)
    return first[1] if run.returncode == 1 and first else None


def main(*stores: str) -> int:
    """Print a line for each mutant; 0 if all were found."""
    mutants = [guard for guard in guards() if store_of(guard[0]) in (stores or STORES)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for part in ("daemon", "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        for store in sorted({store_of(file) for file, _number, _statement in mutants}):
            clean = run_suite(tree, store)
            if clean.returncode != 0:
                print(f"the suite is not green on {store} before any change:\n{clean.stdout}{clean.stderr}")
                return 1
        survivors = [guard for guard in mutants if not _is_found(tree, *guard)]
    print(f"{len(mutants)} fences taken out, {len(survivors)} not noticed")
    return 1 if survivors or not mutants else 0


def _is_found(tree: Path, file: Path, number: int, statement: str) -> bool:
    whole = (tree / file).read_text()
    lines = whole.splitlines(keepends=True)
    (tree / file).write_text("".join(lines[:number] + lines[number + 1 :]))
    test = found_by(run_suite(tree, store_of(file)))
    (tree / file).write_text(whole)
    print(f"{'SURVIVED' if test is None else 'found'}  {store_of(file):10} {statement:24} {test or ''}", flush=True)
    return test is not None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
