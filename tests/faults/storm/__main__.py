"""`python -m tests.faults.storm --saves 1000 --seed N`: save good and broken code without a pause, then count.

Prints a table; exit code 1 if a job was lost or paid for a save, if broken code was served, or if the supervisor has
grown. The folder with database and log is kept then, or with `--keep`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.storm.audit import audit
from tests.faults.storm.storm import Plan, Storm
from tests.faults.storm.table import table_of
from tests.support.processes import subreaper
from tests.support.site import Site


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__.splitlines()[0])
    parser.add_argument("--saves", type=int, default=Plan.saves)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--pause", type=float, default=Plan.pause_seconds, help="seconds between two saves")
    parser.add_argument("--hup", action="store_true", help="reload by SIGHUP instead of by watching")
    parser.add_argument("--keep", action="store_true", help="keep the folder with database and log")
    given = parser.parse_args()
    plan = Plan(saves=given.saves, seed=given.seed, pause_seconds=given.pause, hup=given.hup)
    folder = Path(tempfile.mkdtemp(prefix="jobwarden-storm-"))
    with subreaper():
        findings = run(plan, folder)
    if findings or given.keep:
        print(f"database and log: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if findings else 0


def run(plan: Plan, folder: Path) -> list[str]:
    """The violations; prints the table and leaves the log in the folder."""
    site = Site(folder)
    try:
        storm = Storm(plan, site)
        storm.run()
        findings = audit(storm, site)
        print(table_of(plan, storm, findings), flush=True)
        return findings
    finally:
        (folder / "log").write_text(site.logs())
        site.close()


if __name__ == "__main__":
    sys.exit(main())
