"""A thousand config files that no one would write: each gives settings or clear sentences, never anything else."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.settings import Settings, examine_settings
from jobwarden.settings.model import OPTIONS

FILES = 1_000
SHIPPED = (Path(__file__).resolve().parents[2] / "config" / "jobwarden.toml").read_bytes()
SCALARS = (
    "0", "-1", "1", "3.5", "nan", "-inf", "inf", "true", "false", "''", "'none'", "'auto'", "'a\\b'", '"\\u0000"',
    '"\\n\\u001b[2J"',
    "0x" + "f" * 6_000, "1" * 4_000, "1" * 5_000, "9" * 30, "-9e400", "1e308", "2026-11-24", "2026-11-24T25:00:00Z",
    "07:32:00",
    "1979-05-27T07:32:00-08:00", "'sqlite:///x.db'", "'postgresql://me:s3cret@host/db'", "'sqlite://'", "'://'", "'é☃'",
    '"\\ud800"', '"\\U0010ffff"', "'" + "x" * 70_000 + "'", "'../..'", "'/'", "'~'", "'8'", "'(?P<'", "'a{99999}'",
)  # fmt: skip
WORDS = (
    "0", "-1", "nan", "1e999", "9" * 5_000, "none", "true", " ", ",", ",,a", "a,b", "x" * 70_000, "\n", "\x1b[2J", "é☃",
    "\udcff", "[", '["["]', "[1, 2]", "null", "/", "..", "sqlite:///x.db", "postgresql://me:s3cret@h/d", "(?P<",
    "7", "0660",
)  # fmt: skip
STRAY = (
    "=",
    "[",
    "]]",
    "[[pool]]",
    "[pool]",
    "[handlers]",
    "'",
    '"""',
    "#",
    "\\",
    "\r",
    "\0",
    "\ufeff",
    "a.b.c = 1",
    "{",
    "}",
)


@pytest.fixture(autouse=True)
def _no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for variable in [name for name in os.environ if name.upper().startswith(("JOBWARDEN_", "CREDENTIALS_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return iter(())


def value(draw: random.Random, depth: int = 0) -> str:
    """A value as TOML writes it, most of them wrong."""
    kind = draw.random()
    if kind < 0.1 and depth < 4:
        return "[" + ", ".join(value(draw, depth + 1) for _ in range(draw.randrange(4))) + "]"
    if kind < 0.2 and depth < 4:
        return "{" + ", ".join(f"{key(draw)} = {value(draw, depth + 1)}" for _ in range(draw.randrange(3))) + "}"
    if kind < 0.22:
        return "[" * draw.choice((50, 5_000)) + "]" * draw.choice((50, 5_000))
    return draw.choice(SCALARS)


def key(draw: random.Random) -> str:
    """A key as TOML writes it, most of them options."""
    name = draw.choice((*OPTIONS, "pool", "name", "handlers", "directory"))
    spoilt = {0: f'"{name}\\n\\u0007"', 1: name + "s", 2: f"{name}.{name}", 3: ".".join([name] * 1_500), 4: '""'}
    return spoilt.get(draw.choice((0, 1, 2, 4, 4, 3)) if draw.random() < 0.06 else 9, name)


def lines(draw: random.Random) -> Iterator[str]:
    """The lines of a file."""
    for _ in range(draw.randrange(1, 12)):
        kind = draw.random()
        if kind < 0.1:
            yield draw.choice(STRAY)
        elif kind < 0.3:
            yield draw.choice(("[[pool]]", f"[[pool]]\nname = {value(draw)}", "[handlers]", f"[{key(draw)}]"))
        else:
            yield f"{key(draw)} = {value(draw)}"


def content(draw: random.Random) -> bytes:
    """A file: made of lines, or the shipped one with some bytes changed."""
    if draw.random() < 0.7:
        return "\n".join(lines(draw)).encode("utf-8", "surrogatepass")
    spoilt = bytearray(SHIPPED[draw.randrange(len(SHIPPED)) :] if draw.random() < 0.5 else SHIPPED)
    for _ in range(draw.randrange(1, 30)):
        spoilt[draw.randrange(len(spoilt))] = draw.choice((draw.randrange(256), ord("="), ord("\n"), ord("[")))
    return bytes(spoilt)


def test_no_config_file_does_more_than_be_refused() -> None:
    """Each problem is one printable line that names the file and holds no password; the rest keeps its default."""
    draw = random.Random(6)
    refused = 0
    for _ in range(FILES):
        Path("my.toml").write_bytes(content(draw))
        settings, problems = examine_settings(config=Path("my.toml"), flags={})
        refused += bool(problems)
        assert isinstance(settings, Settings)
        assert settings.pools
        for sentence in problems:
            assert sentence.startswith(("my.toml", "state_dir: lies inside")), sentence
            assert sentence.isprintable()
            assert len(sentence) < 2_500
            assert "s3cret" not in sentence
            assert "Traceback" not in sentence
    assert FILES * 0.5 < refused < FILES, "some are good, so that what follows them was tried too"


def test_no_variable_or_flag_does_more_than_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell gives any text but NUL, and bytes that are no text; each problem names the variable or the flag."""
    draw = random.Random(6)
    for _ in range(200):
        said = {draw.choice(list(OPTIONS)): draw.choice(WORDS) for _ in range(3)}
        with monkeypatch.context() as now:
            for name, word in said.items():
                now.setenv(f"JOBWARDEN_{name.upper()}", word)
            _settings, problems = examine_settings(config=None, flags={})
        _settings, told = examine_settings(config=None, flags=said)
        for sentence in problems + told:
            assert sentence.startswith(("environment variable JOBWARDEN_", "--", "state_dir: lies inside"))
            assert sentence.isprintable()
            assert "s3cret" not in sentence
