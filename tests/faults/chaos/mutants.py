"""Breaks the code on purpose, one thing at a time, in a copy: the chaos run must go red every time.

    python -m tests.faults.chaos.mutants [PART OF A NAME]

Prints for each mutant after how long it was found, and by which sentence. Ends with 0 only if all were found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from tests.faults.chaos.fleet import ROOT

ROUNDS = 4
"""So many runs, each with a seed of its own, before a mutant counts as not found."""
_PACKAGE = Path("daemon/jobwarden")


class Edit(NamedTuple):
    """One change of the text of a file of the package."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """`only`: the faults that are to find it."""

    name: str
    store: str
    only: str
    edits: tuple[Edit, ...]

    def check(self) -> None:
        """It must still fit the code."""
        for edit in self.edits:
            text = (ROOT / _PACKAGE / edit.file).read_text()
            assert edit.old in text, f"{self.name}: {edit.file} has changed; write the mutant anew"


MUTANTS = [
    Mutant(
        "no fence in the ends of attempts",
        "postgresql",
        "answer to a COMMIT",
        (Edit("store/dialects/postgresql/ends.py", "      AND job.fence = e.fence -- guard\n", ""),),
    ),
    Mutant(
        "the keeper does not wait until everything below is dead, and nobody else ends it",
        "sqlite",
        "supervisor killed",
        (
            Edit("supervisor/keeper.py", "        clear_adopted()\n        return", "        return"),
            Edit("supervisor/membership.py", "            if beat is None:", "            if False:"),
        ),
    ),
    Mutant(
        "the keeper leaves the workers of a stopped supervisor alone",
        "postgresql",
        "supervisor stopped",
        (Edit("supervisor/keeper.py", "        if self._trust_has_passed():", "        if False:"),),
    ),
    Mutant(
        "a daemon that is cut off keeps its workers",
        "postgresql",
        "silent for longer",
        (
            Edit("supervisor/keeper.py", "        if self._trust_has_passed():", "        if False:"),
            Edit("supervisor/loop.py", "        if trusted != self.pool.standing.trusted:", "        if False:"),
        ),
    ),
    Mutant(
        "nodes are dead by age: a third of the lease is enough",
        "postgresql",
        "silent for less",
        (Edit("store/deaths.py", ">= lease_seconds * SECOND_NS", ">= lease_seconds * SECOND_NS // 3"),),
    ),
    Mutant(
        "who frees a dead node does not end what it left behind",
        "sqlite",
        "together",
        (Edit("supervisor/membership.py", "            if beat is None:", "            if False:"),),
    ),
    Mutant(
        "a held lock is no life, and nobody ends what a node left behind",
        "sqlite",
        "worker killed",
        (
            Edit(
                "store/life.py",
                "    except BlockingIOError:\n        return False",
                "    except BlockingIOError:\n        return True",
            ),
            Edit("supervisor/membership.py", "            if beat is None:", "            if False:"),
        ),
    ),
    Mutant(
        "outcomes are dropped while the store is away",
        "sqlite",
        "disk full",
        (
            Edit(
                "supervisor/ledger.py",
                "        self._kept = entries\n",
                "        entries.endings = []\n        self._kept = entries\n",
            ),
        ),
    ),
    Mutant(
        "a claim whose answer was lost is not looked for",
        "postgresql",
        "answer to a COMMIT",
        (Edit("supervisor/ledger.py", "            if entries.reconcile:", "            if False:"),),
    ),
    Mutant(
        "an idempotency key holds nothing",
        "postgresql",
        "answer to a COMMIT",
        (Edit("store/adding.py", "if option.idempotency_key is None else holders[option.idempotency_key]", ""),),
    ),
]


def main() -> int:
    """One line for each mutant."""
    wanted = [each for each in MUTANTS if not sys.argv[1:] or sys.argv[1] in each.name]
    for mutant in wanted:
        mutant.check()
    survivors = 0
    for mutant in wanted:
        with tempfile.TemporaryDirectory(prefix="jobwarden-mutant-") as folder:
            found = hunt(mutant, Path(folder))
        survivors += found is None
        print(f"{'SURVIVED' if found is None else 'found'}  {mutant.name} ({mutant.store}): {found or ''}", flush=True)
    return 1 if survivors else 0


def hunt(mutant: Mutant, tree: Path) -> str | None:
    """What the first red run said, and after how long; None if all were green."""
    for part in ("daemon", "tests"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in mutant.edits:
        file = tree / _PACKAGE / edit.file
        text = file.read_text()
        file.write_text(text.replace(edit.old, edit.new))
    began_ns = SYSTEM_CLOCK.monotonic_ns()
    for seed in range(ROUNDS):
        said = run(mutant, tree, seed=seed)
        if said is not None:
            return f"after {(SYSTEM_CLOCK.monotonic_ns() - began_ns) / SECOND_NS:.0f} s, {said}"
    return None


def run(mutant: Mutant, tree: Path, *, seed: int) -> str | None:
    """The first violation of one run, with how many there were; None if there was none."""
    options = ["--store", mutant.store, "--only", mutant.only, "--seed", str(seed), "--minutes", "0.6", "--pause", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.chaos", *options],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "daemon"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    head, _, rest = done.stdout.partition(" violations\n")
    if not rest:
        return f"it did not run: {done.stderr[-500:]}"
    first, *_, last = rest.strip().splitlines()
    shutil.rmtree(last.removeprefix("logs and journals: "))
    return f"{head.split()[-1]} violations, the first: {first[:100]}"


if __name__ == "__main__":
    sys.exit(main())
