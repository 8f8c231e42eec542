"""What an error of a driver means to us: `Judgement`. Made by the files beside this one, one for each driver."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What follows from it."""

    AWAY = "away"
    """The store cannot do it now, or not for us; nothing was changed by it."""
    CONTENDED = "contended"
    """Another transaction was in the way, and this one was undone for it: the same again will most likely do."""
    DATA = "data"
    """One of the values is refused, and always will be."""
    WRONG = "wrong"
    """Neither: a mistake of ours, or of who set the database up."""


class Judgement(NamedTuple):
    """`problem` says what happened and the way out, without any of the data."""

    kind: Kind
    problem: str
    lost: bool = False
    """The connection may be gone: of a COMMIT, nobody knows whether it was done."""
    is_silent: bool = False
    """Time was lost over it: nobody answered."""
    lasts: bool = False
    """Waiting does not help: somebody has to change something on our side."""
    sticks: bool = False
    """It would befall this connection again when its cause is gone: the next use makes a new one."""
