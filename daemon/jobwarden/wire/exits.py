"""The exit codes with which a template or a worker tells its supervisor what happened."""

from __future__ import annotations

EXIT_BROKEN_WIRE = 70
"""The supervisor sent what is no message, or a handler closed the worker's own descriptors."""
EXIT_ORPHANED = 71
"""The parent is not the supervisor any more."""
EXIT_UNTRUSTED = 72
"""A job was received after the trust window had ended; it was not started."""
EXIT_BIRTH = 73
"""The worker could not be set up."""
EXIT_UNFIT = 76
"""No template comes of this interpreter or this user; `Unfit` says why (`supervisor.entrance`, `supervisor.runas`)."""
EXIT_UNREADY = 74
"""A function with `on_worker_start` has failed."""
