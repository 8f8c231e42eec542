"""What the keeper starts: `python -m jobwarden.supervisor HANDOVER_DESCRIPTOR`."""

from __future__ import annotations

import os
import sys
import traceback

import setproctitle

from jobwarden.errors import JobwardenError
from jobwarden.supervisor.serving import EXIT_BROKEN, serve

if __name__ == "__main__":
    setproctitle.setproctitle("jobwarden: supervisor")
    try:
        code = serve(int(sys.argv[1]))
    except JobwardenError as error:
        print(f"jobwarden: {error}", file=sys.stderr, flush=True)  # noqa: T201 - no log exists yet
        code = 1
    except Exception:  # noqa: BLE001 - the edge of the process
        traceback.print_exc()
        code = EXIT_BROKEN
    os._exit(code)  # daemon threads hold nothing; interpreter shutdown could hang on them
