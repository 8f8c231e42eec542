"""The journals of a chaos run, read back: what attempts did, and what the adder was promised."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """What an attempt wrote."""

    word: str
    job_id: int
    attempt: int
    token: str
    pid: int
    at_ns: int
    more: str


class Journals:
    """Everything that was written in `place`."""

    def __init__(self, place: Path) -> None:
        self.starts: Counter[int] = Counter()
        """Job -> attempts that began."""
        self.ends: dict[int, set[str]] = defaultdict(set)
        """Job -> tokens of the attempts that did everything."""
        self.overlaps: list[Line] = []
        """Attempts that found another one of their job alive."""
        self.crowds: list[Line] = []
        """Attempts that found their group full."""
        self.children: set[int] = set()
        """Jobs that handlers added."""
        self.accepted: dict[int, str] = {}
        """Job -> its type: the adder got these ids."""
        self.cancels: set[int] = set()
        """Jobs that the adder wanted cancelled."""
        self.trouble: Counter[str] = Counter()
        """How often an add was refused, and how often its commit was unknown."""
        for text in _lines(place / "journal"):
            self._take(_parse(text))
        for text in _lines(place / "accepted"):
            self._take_from_adder(text)

    def _take(self, line: Line) -> None:
        if line.word == "start":
            self.starts[line.job_id] += 1
        elif line.word == "end":
            self.ends[line.job_id].add(line.token)
        elif line.word == "overlap":
            self.overlaps.append(line)
        elif line.word == "crowd":
            self.crowds.append(line)
        elif line.word == "child":
            self.children.add(int(line.more))

    def _take_from_adder(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        if word == "accepted":
            job_id, job_type, _key = rest.split(" ", 2)
            assert int(job_id) not in self.accepted, f"the adder was given the id {job_id} twice"
            self.accepted[int(job_id)] = job_type
        elif word == "cancel":
            self.cancels.add(int(rest))
        else:
            self.trouble[word] += 1


def _parse(text: str) -> Line:
    word, job_id, attempt, token, pid, at_ns, *more = text.split(" ", 6)
    return Line(word, int(job_id), int(attempt), token, int(pid), int(at_ns), " ".join(more))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
