"""Cursors: where a reader of pages or events stopped, as a text that means nothing to anybody else.

base64url of a JSON array. A cursor is data from outside: whatever is wrong with one is an InvalidJobError.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from jobwarden.clock import to_datetime
from jobwarden.errors import InvalidJobError

_LONGEST = 500
_LARGEST = 2**63


def encode(kind: str, position: list[int]) -> str:
    """A cursor of this kind (an order, or the feed) that stands after this position."""
    raw = msgspec.json.encode([kind, *position])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(cursor: str, *, kind: str, length: int) -> list[int]:
    """The position. Raises InvalidJobError for anything but a cursor of this kind."""
    found = _parts(cursor)
    if found[0] != kind:
        raise InvalidJobError("cursor", f"belongs to {found[0]!r}, not to {kind!r}; use each only where it came from")
    position = found[1:]
    if len(position) != length or not all(type(each) is int and -_LARGEST <= each < _LARGEST for each in position):
        raise _unreadable()
    return [each for each in position if isinstance(each, int)]


def refuse_no_moment(us: int) -> None:
    """A number that stands for a moment must be one: databases have types for them. Raises InvalidJobError."""
    try:
        to_datetime(us)
    except OverflowError:
        raise _unreadable() from None


def _parts(cursor: object) -> list[object]:
    if not isinstance(cursor, str) or len(cursor) > _LONGEST:
        raise _unreadable()
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = msgspec.json.decode(raw, type=list[object])
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise _unreadable() from None
    if not found or not isinstance(found[0], str):
        raise _unreadable()
    return found


def _unreadable() -> InvalidJobError:
    return InvalidJobError("cursor", "is none that this program made; begin without one")
