"""A job that kills the worker process that runs it."""

# ruff: noqa: INP001 - a folder of plugins, not a package

import os
import signal

from jobwarden import handler


@handler("demo_crash")
def crash(_: object) -> None:
    """Die on the spot, as on a segmentation fault or at the hands of the kernel's out-of-memory killer."""
    print(f"process {os.getpid()} kills itself")
    os.kill(os.getpid(), signal.SIGKILL)
