"""What `jobwarden run` hands to the supervisor through the keeper, in a memfd. No secrets: those are read again."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from jobwarden.settings.unit import UnitLimits
from jobwarden.supervisor.terms import Errand


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """The choices of one start."""

    config: str | None
    flags: dict[str, object]
    node_id: str
    page: int
    locks: list[int]
    node_lock: str | None
    keeper_pid: int
    notify: int | None = None
    """The supervisor's end of the line to the service manager, if that wants to be told."""
    watchdog_usec: int | None = None
    unit: UnitLimits | None = None
    """What the service manager allows the unit that this is, if it told."""
    errand: Errand | None = None
    cgroup: str | None = None
    """What was delegated to us and is divided (see `delegation`)."""
    no_cgroup: str | None = None
    """Why it is not, where it was delegated."""

    @property
    def config_path(self) -> Path | None:
        """The config file, if one was named."""
        return None if self.config is None else Path(self.config)


def inheritable_memfd(name: str, content: bytes) -> int:
    """A memfd with this content, read from its start, that survives exec and may be sealed."""
    descriptor = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def receive(descriptor: int) -> Handover:
    """Read it in the supervisor, which keeps page, locks and line from its own children."""
    with os.fdopen(descriptor, "rb") as file:
        handover = msgspec.json.decode(file.read(), type=Handover)
    for inherited in (handover.page, *handover.locks, *([] if handover.notify is None else [handover.notify])):
        os.set_inheritable(inherited, False)  # noqa: FBT003 - the signature of os
    return handover
