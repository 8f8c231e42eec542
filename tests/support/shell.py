"""Calls commands in this process, as a shell would: words in, what was printed and the exit code out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobwarden.cli.entry import enter
from jobwarden.cli.places import URL_VARIABLE
from jobwarden.settings.address import exposed_password


@contextmanager
def database_named(url: str) -> Iterator[list[str]]:
    """The words that name a database; one with a password is named by the environment, for as long as this lasts."""
    if exposed_password(url) is None:
        yield ["--database-url", url]
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, url)
        yield []


class Shell:
    """Calls commands on one database and keeps what they print."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys
        self.stderr = ""

    def call(self, *words: str, code: int = 0) -> str:
        """Standard output of a command that must end with this code."""
        self._capsys.readouterr()
        with database_named(self._url) as flags:
            assert enter([*words, *flags]) == code
        out, self.stderr = self._capsys.readouterr()
        return out

    def json(self, *words: str, code: int = 0) -> Any:
        """The JSON document that a command prints."""
        return json.loads(self.call(*words, "--json", code=code))

    def lines(self, *words: str) -> list[Any]:
        """The JSON lines that a command prints."""
        return [json.loads(line) for line in self.call(*words).splitlines()]
