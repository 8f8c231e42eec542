"""Calls commands in this process, as a shell would: words in, what was printed and the exit code out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobwarden.cli.entry import enter


class Shell:
    """Calls commands on one database and keeps what they print."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys
        self.stderr = ""

    def call(self, *words: str, code: int = 0) -> str:
        """Standard output of a command that must end with this code."""
        self._capsys.readouterr()
        assert enter([*words, "--database-url", self._url]) == code
        out, self.stderr = self._capsys.readouterr()
        return out

    def json(self, *words: str, code: int = 0) -> Any:
        """The JSON document that a command prints."""
        return json.loads(self.call(*words, "--json", code=code))

    def lines(self, *words: str) -> list[Any]:
        """The JSON lines that a command prints."""
        return [json.loads(line) for line in self.call(*words).splitlines()]
