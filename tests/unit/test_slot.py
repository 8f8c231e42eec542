"""The slot's states: the table, all of it, and the picture that is made from it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from jobwarden.supervisor.portrait import portrait
from jobwarden.supervisor.slot import MOVES, IllegalMoveError, Slot, SlotState

PICTURE = Path(__file__).resolve().parents[2] / "daemon" / "docs" / "slot-states.md"

ALLOWED = {
    ("spawning", "ready"),
    ("spawning", "killing"),
    ("spawning", "clearing"),
    ("spawning", "gone"),
    ("ready", "stopping"),
    ("ready", "retiring"),
    ("ready", "killing"),
    ("ready", "clearing"),
    ("stopping", "killing"),
    ("stopping", "clearing"),
    ("retiring", "killing"),
    ("retiring", "clearing"),
    ("killing", "clearing"),
    ("clearing", "gone"),
}
"""Written out a second time: the table is law, so a change of it is to be made twice."""


def slot_in(state: SlotState) -> Slot:
    """A slot that is in this state, however it came there."""
    slot = Slot(7, generation=1, now_ns=0)
    slot.state = state
    return slot


@pytest.mark.parametrize(("origin", "target"), list(product(SlotState, SlotState)))
def test_a_slot_moves_where_the_table_leads_and_nowhere_else(origin: SlotState, target: SlotState) -> None:
    """Every pair of states: an allowed move is made, another one raises and changes nothing."""
    slot = slot_in(origin)
    if (origin, target) in ALLOWED:
        slot.move(target)
        assert slot.state is target
        return
    before = {name: getattr(slot, name) for name in Slot.__slots__}
    with pytest.raises(IllegalMoveError, match=f"slot 7 cannot go from {origin} to {target}") as caught:
        slot.move(target)
    assert (caught.value.origin, caught.value.target) == (origin, target)
    assert {name: getattr(slot, name) for name in Slot.__slots__} == before


def test_the_table_names_every_state() -> None:
    """A state without a line in the table could not be left, nor be drawn."""
    assert set(MOVES) == set(SlotState)


def test_no_slot_becomes_ready_twice() -> None:
    """A worker that was told to go never serves again: there is no way back to ready (R9)."""
    reachable, frontier = set[SlotState](), set(MOVES[SlotState.READY])
    while frontier:
        state = frontier.pop()
        reachable.add(state)
        frontier |= MOVES[state] - reachable
    assert SlotState.READY not in reachable
    assert SlotState.SPAWNING not in reachable


def test_an_end_is_recorded_only_past_clearing() -> None:
    """R1 in the table: a slot that ever served is gone only after its tree was cleared."""
    ways = [origin for origin in SlotState if SlotState.GONE in MOVES[origin]]
    assert ways == [SlotState.SPAWNING, SlotState.CLEARING]


def test_the_picture_of_the_table_is_up_to_date() -> None:
    """`python -m jobwarden.supervisor.portrait > daemon/docs/slot-states.md` after a change of the table."""
    assert PICTURE.read_text(encoding="utf-8") == portrait()
