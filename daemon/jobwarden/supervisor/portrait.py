"""Draws the table of the slot's moves: `python -m jobwarden.supervisor.portrait > daemon/docs/slot-states.md`.

A test compares the page with what this prints, so the picture cannot lag behind the code. Run by people only.
"""

from __future__ import annotations

import sys

from jobwarden.supervisor.slot import MOVES, SlotState

_HEAD = """\
# The states of a slot

Drawn from `supervisor/slot.py` by `python -m jobwarden.supervisor.portrait`; do not edit. Every other move raises
`IllegalMoveError` and changes nothing.

```mermaid
stateDiagram-v2
"""

_LABELS = {
    (SlotState.SPAWNING, SlotState.READY): "Hello",
    (SlotState.SPAWNING, SlotState.KILLING): "not wanted any more, or no Hello in time",
    (SlotState.SPAWNING, SlotState.CLEARING): "died at birth",
    (SlotState.SPAWNING, SlotState.GONE): "was never born",
    (SlotState.READY, SlotState.STOPPING): "soft stop: timeout, cancel, drain",
    (SlotState.READY, SlotState.RETIRING): "not needed any more, with an on_worker_stop",
    (SlotState.READY, SlotState.KILLING): "kill without grace, or not needed any more",
    (SlotState.READY, SlotState.CLEARING): "died",
    (SlotState.STOPPING, SlotState.KILLING): "grace is over, or it has reported",
    (SlotState.STOPPING, SlotState.CLEARING): "died",
    (SlotState.RETIRING, SlotState.KILLING): "its time is over",
    (SlotState.RETIRING, SlotState.CLEARING): "ended by itself",
    (SlotState.KILLING, SlotState.CLEARING): "reaped",
    (SlotState.CLEARING, SlotState.GONE): "nothing of its tree is left: the end is recorded",
}


def portrait() -> str:
    """The whole page."""
    lines = [_line("[*]", SlotState.SPAWNING, "fork asked for")]
    for origin in SlotState:
        targets = [target for target in SlotState if target in MOVES[origin]]
        lines += [_line(origin, target, _LABELS.get((origin, target), "")) for target in targets]
        if not targets:
            lines.append(_line(origin, "[*]", ""))
    return f"{_HEAD}{''.join(lines)}```\n"


def _line(origin: str, target: str, label: str) -> str:
    return f"    {origin} --> {target}" + (f": {label}" if label else "") + "\n"


if __name__ == "__main__":
    sys.stdout.write(portrait())
