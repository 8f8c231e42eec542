"""Writes a running attempt's progress now and then, always the latest value. Pure; a part of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.supervisor import effects as do

if TYPE_CHECKING:
    from jobwarden.supervisor import inputs as seen
    from jobwarden.supervisor.slot import Slot

_EVERY_NS = 250_000_000


class ProgressNotes:
    """At most four notes per second and attempt reach the store."""

    def __init__(self, *, out: list[do.Effect], slots: dict[int, Slot]) -> None:
        """`slots` are the pool's."""
        self._out = out
        self._slots = slots

    def progressed(self, fact: seen.ProgressMade, now: seen.Moment) -> None:
        """Note it, or keep it for `flush`."""
        slot = self._slots.get(fact.slot)
        if slot is not None and slot.head is not None and slot.head.fence == fact.fence:
            slot.progress = fact.percent
            self._write(slot, now)

    def flush(self, now: seen.Moment) -> None:
        """Write what was kept long enough."""
        for slot in self._slots.values():
            self._write(slot, now)

    def _write(self, slot: Slot, now: seen.Moment) -> None:
        if slot.head is not None and slot.progress is not None and now.ns - slot.progress_ns >= _EVERY_NS:
            self._out.append(do.NoteProgress(slot.head.id, slot.head.fence, slot.progress))
            slot.progress, slot.progress_ns = None, now.ns
