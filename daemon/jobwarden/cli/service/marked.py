"""Files that an operator may edit: each begins with the checksum of what was written, so that edits are seen.

Pure. A file that is as it was written may be renewed or removed; one that is not is the operator's.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum

_MARK = "# Written by `jobwarden service install`, which never overwrites it once it is edited. sha256 {sum}\n"
_MARKED = re.compile(rb"\A# Written by `jobwarden service install`.* sha256 ([0-9a-f]{64})\n")


class Standing(Enum):
    """What stands where a file is wanted."""

    MISSING = "missing"
    SAME = "as installed"
    OLDER = "as another version installed it"
    EDITED = "edited"


def marked(text: str) -> bytes:
    """The file to write: `text` below a first line with its checksum."""
    body = text.encode()
    return _MARK.format(sum=hashlib.sha256(body).hexdigest()).encode() + body


def untouched(found: bytes) -> bool:
    """Whether it was written by us, and nobody has changed it since."""
    mark = _MARKED.match(found)
    return mark is not None and hashlib.sha256(found[mark.end() :]).hexdigest() == mark[1].decode()


def standing(found: bytes | None, *, wanted: bytes) -> Standing:
    """What is to be said of the file with the content `found` (None: there is none)."""
    if found is None:
        return Standing.MISSING
    if found == wanted:
        return Standing.SAME
    return Standing.OLDER if untouched(found) else Standing.EDITED
