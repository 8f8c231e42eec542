"""What one fact looks like in the log: a line for people, a JSON object, or a record of the journal. Pure.

Facts carry what jobs, databases and handlers said. A terminal must not obey it and no line may pretend to be another:
whatever is not printable is escaped in the form for people, JSON escapes by itself, and the journal's own form gives
each value its length.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from jobwarden import events
from jobwarden.clock import to_datetime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDENTIFIER = "jobwarden"
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""Of syslog(3)."""
_LENGTH = struct.Struct("<Q")
_LARGEST_VALUE = 1024 * 1024
"""Characters of one value; nothing of ours is longer."""


def human_line(fact: events.Fact, level: str, now_us: int) -> str:
    """`12:00:00 warning alerted text=...`; what a job printed follows, line by line."""
    fields = " ".join(f"{name}={_shown(value)}" for name, value in _fields(fact) if not _is_print(fact, name))
    line = f"{to_datetime(now_us):%H:%M:%S} {level:7} {events.name_of(fact)} {fields}".rstrip()
    if not isinstance(fact, events.JobPrinted):
        return line
    return "\n".join([line, *(f"    | {_shown(each)}" for each in _lines(fact.text))])


def json_line(fact: events.Fact, level: str, now_us: int) -> str:
    """One object: time, level, the fact's name, and all its fields."""
    line = {"at": to_datetime(now_us), "level": level, "event": events.name_of(fact), **msgspec.structs.asdict(fact)}
    return msgspec.json.encode(line).decode()


FORMS: dict[str, Callable[[events.Fact, str, int], str]] = {"human": human_line, "json": json_line}


def journal_record(fact: events.Fact, level: str, _now_us: int) -> bytes:
    """What journald takes as one entry: each field of the fact under its own name, in capitals (JOB_ID=, JOB_TYPE=).

    See systemd.io/JOURNAL_NATIVE_PROTOCOL. The time is journald's own. A field with several values comes several times.
    """
    fields = [
        ("MESSAGE", _message(fact)),
        ("PRIORITY", str(_PRIORITIES[level])),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
        ("JOBWARDEN_EVENT", events.name_of(fact)),
    ]
    for name, value in _fields(fact):
        if _is_print(fact, name):
            continue  # it is the message
        values = value if isinstance(value, list) else [value]
        fields.extend((name.upper(), _text(each)) for each in values)
    return b"".join(_journal_field(name, value) for name, value in fields)


def _message(fact: events.Fact) -> str:
    if isinstance(fact, events.JobPrinted):
        return fact.text.rstrip("\n")
    if isinstance(fact, events.Alerted):
        return fact.text
    return " ".join([events.name_of(fact), *(f"{name}={_shown(value)}" for name, value in _fields(fact))])


def _journal_field(name: str, value: str) -> bytes:
    raw = value[:_LARGEST_VALUE].encode(errors="replace")
    if b"\n" in raw:
        return b"%s\n%s%s\n" % (name.encode(), _LENGTH.pack(len(raw)), raw)
    return b"%s=%s\n" % (name.encode(), raw)


def _fields(fact: events.Fact) -> Iterator[tuple[str, object]]:
    """Those that have a value."""
    return ((name, value) for name, value in msgspec.structs.asdict(fact).items() if value is not None)


def _is_print(fact: events.Fact, name: str) -> bool:
    return name == "text" and isinstance(fact, events.JobPrinted)


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


def _text(value: object) -> str:
    """As a program wants it: a mapping as JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)


def _shown(value: object) -> str:
    """As a terminal may see it, on one line."""
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode()
