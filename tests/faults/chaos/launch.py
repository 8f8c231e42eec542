"""`python -m tests.faults.chaos.launch run ...`: the CLI, but the supervisor reads a wall clock that can be moved.

Nothing of that is in the product: this process replaces one word in the command line that `jobwarden run` leaves to
its keeper, so that the supervisor begins as `tests.faults.chaos.moved`.
"""

from __future__ import annotations

import os
from typing import NoReturn

from jobwarden.cli import main

_exec = os.execv


def exec_moved(path: str, arguments: list[str]) -> NoReturn:
    """os.execv with the other supervisor."""
    _exec(path, ["tests.faults.chaos.moved" if each == "jobwarden.supervisor" else each for each in arguments])


if __name__ == "__main__":
    os.execv = exec_moved  # type: ignore[assignment]
    main()
