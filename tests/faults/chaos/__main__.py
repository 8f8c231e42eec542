"""`python -m tests.faults.chaos --store sqlite --minutes 10 --daemons 3 --seed N`: break everything, then count.

Prints a table; exit code 1 if anything was lost, doubled, overlapped or left. The folder with logs and journals is kept
then, or with `--keep`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.chaos.campaign import ARENAS, Campaign, Plan
from tests.faults.chaos.table import table_of
from tests.support.processes import subreaper


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--store", choices=sorted(ARENAS), default="sqlite")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--daemons", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="jobs per second")
    parser.add_argument("--pause", type=float, default=Plan.pause_seconds, help="seconds between two faults")
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and journals")
    given = parser.parse_args()
    plan = Plan(
        store=given.store,
        seconds=given.minutes * 60,
        daemons=given.daemons,
        seed=given.seed,
        rate=given.rate,
        pause_seconds=given.pause,
        only=given.only,
    )
    folder = Path(tempfile.mkdtemp(prefix="jobwarden-chaos-"))
    with subreaper():
        report = Campaign(plan, folder).run()
    print(table_of(plan, report), flush=True)
    if report.findings or given.keep:
        print(f"logs and journals: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
