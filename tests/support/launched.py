"""The last step before a server of the tests begins: never root, and never longer than whoever started it.

Run as a file, without the tests' packages: `python launched.py PARENT UID GID SIGNAL COMMAND...`. Becomes that user
if it is root, asks the kernel for SIGNAL when PARENT's thread ends (prctl(2); changing the user would clear it, so it
comes after that), and turns into COMMAND.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Everything is in the arguments."""
    parent, uid, gid, signal_number = map(int, sys.argv[1:5])
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("whoever started this is gone")
    os.execv(sys.argv[5], sys.argv[5:])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
