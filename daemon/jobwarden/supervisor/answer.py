"""What an errand says on standard output: one JSON object, and nothing else that anybody below it prints.

Used by the supervisor of `jobwarden run --once` and `--burst`, at its end.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobwarden.supervisor.errand import ErrandRun

_OUT, _ERRORS = 1, 2
_NOBODY_READS = 1


class Answer:
    """Holds the standard output; the descriptor 1 leads to standard error from now on, for all processes below."""

    def __init__(self) -> None:
        """Before anything is started."""
        self._descriptor = os.dup(_OUT)
        os.dup2(_ERRORS, _OUT)

    def tell(self, errand: ErrandRun | None, *, code: int) -> int:
        """Print how many jobs were processed, or why it could not begin; returns the exit code. None had no time."""
        code = code or (errand.exit_code if errand else 0)
        try:
            if errand is not None and errand.problem is not None:
                os.write(_ERRORS, f"jobwarden: {errand.problem}\n".encode(errors="backslashreplace"))
            if errand is None or errand.begun or errand.problem is None:
                answer = {"processed": errand.processed if errand else 0}
                os.write(self._descriptor, json.dumps(answer).encode() + b"\n")
        except OSError:
            return code or _NOBODY_READS
        return code
