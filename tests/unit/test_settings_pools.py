"""Pools in the configuration: what a table says, what it takes over, and what is said about mistakes in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobwarden.errors import InvalidSettingsError
from jobwarden.settings import Settings, examine_settings, load_settings


@pytest.fixture(autouse=True)
def _no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for variable in [name for name in os.environ if name.upper().startswith("JOBWARDEN_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return iter(())


def write(text: str) -> Path:
    """A config file in the current folder."""
    path = Path("my.toml")
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(text: str, **flags: object) -> list[str]:
    """What `load_settings` refuses."""
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings(config=write(text), flags=flags)
    return caught.value.problems


TWO = """
workers = 3
nice = 5

[[pool]]
name = "quick"
handlers = "handlers/quick"

[[pool]]
name = "heavy"
handlers = "handlers/heavy"
workers = 1
memory_limit_mb = 512
"""


def test_without_a_table_there_is_one_pool_made_of_the_top() -> None:
    """It is called `default`."""
    (pool,) = load_settings(config=write("workers = 3\n"), flags={"nice": "5"}).pools
    assert (pool.name, pool.workers, pool.nice, pool.handlers) == ("default", 3, 5, Path("handlers"))


def test_a_table_takes_from_the_top_what_it_does_not_say() -> None:
    """The tables stand in the order of the file; what is nowhere is the default."""
    quick, heavy = load_settings(config=write(TWO), flags={}).pools
    assert (quick.name, quick.workers, quick.nice, quick.memory_limit_mb) == ("quick", 3, 5, None)
    assert (heavy.name, heavy.workers, heavy.nice, heavy.memory_limit_mb) == ("heavy", 1, 5, 512)
    assert quick.kill_grace_seconds == 2


def test_a_flag_and_a_variable_win_over_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of places is the same for pools: flag, environment, file; a table is the file's nearest word."""
    monkeypatch.setenv("JOBWARDEN_NICE", "7")
    pools = load_settings(config=write(TWO), flags={"workers": "2"}).pools
    assert [(pool.workers, pool.nice) for pool in pools] == [(2, 7), (2, 7)]


def test_the_section_of_handlers_is_another_spelling() -> None:
    """`[handlers]` names the directory and the interpreter, at the top and in a pool."""
    settings = load_settings(
        config=write(
            '[handlers]\ndirectory = "h"\npython = "venv/python"\nwatch = "off"\n'
            '[[pool]]\nname = "a"\n'
            '[[pool]]\nname = "b"\n[pool.handlers]\ndirectory = "other"\npython = "py"\n'
        ),
        flags={},
    )
    assert (settings.handlers, settings.python, settings.watch) == (Path("h"), Path("venv/python"), "off")
    a, b = settings.pools
    assert (a.handlers, a.python) == (Path("h"), Path("venv/python"))
    assert (b.handlers, b.python, b.watch) == (Path("other"), Path("py"), "off")


def test_only_the_named_pools_are_taken() -> None:
    """`run --pool NAME`; mistakes in the others are told all the same."""
    settings = load_settings(config=write(TWO), flags={"pool": ["heavy"]})
    assert [pool.name for pool in settings.pools] == ["heavy"]
    settings = load_settings(config=write("workers = 3\n"), flags={"pool": ["default"]})
    assert [pool.workers for pool in settings.pools] == [3]
    assert problems_of(TWO, pool=["heavy", "light"]) == [
        "--pool: there is no pool 'light' in the configuration; give one of quick, heavy"
    ]
    (sentence,) = problems_of(TWO + "colour = 1\n", pool=["quick"])
    assert sentence.startswith('my.toml, [[pool]] "heavy", key colour: there is no such option')


def test_all_mistakes_in_all_pools_are_told_at_once() -> None:
    """Each with file, pool and key; what a table takes over from the top is told once, where it stands."""
    problems = problems_of(
        """
kill_grace_seconds = -1
[handlers]
directory = "h"
folder = "x"
workers = 3
[[pool]]
name = "a"
worker = 3
lease_seconds = 20
workers = 0
[[pool]]
handlers = "b"
nice = 30
[[pool]]
name = "c d"
python = ""
[[pool]]
name = "e"
        """
    )
    assert [sentence.partition("; ")[0] for sentence in problems] == [
        "my.toml, [handlers], key folder: there is no such option",
        "my.toml, [handlers], key workers: does not belong into [handlers], which takes directory, python, watch",
        'my.toml, [[pool]] "a", key worker: there is no such option',
        'my.toml, [[pool]] "a", key lease_seconds: is an option of the whole daemon, not of one pool',
        "my.toml, [[pool]] number 2, key name: is missing",
        "my.toml, [[pool]] number 3, key name: is no name of a pool",
        'my.toml, [[pool]] "a", key workers: 0 is not possible',
        "my.toml, key kill_grace_seconds: -1 is not possible",
        "my.toml, [[pool]] number 2, key nice: 30 is not possible",
        "my.toml, [[pool]] number 3, key python: is empty",
    ]
    assert "did you mean workers?" in problems[2]
    assert "at the top of the file" in problems[3]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[[pool]]\nname="a"\nhandlers="x"\n[[pool]]\nname="a"\nhandlers="y"\n',
            'my.toml, [[pool]] "a", key name: is the name of another pool too; give each pool a name of its own',
        ),
        (
            '[[pool]]\nname="a"\nhandlers="x"\n[[pool]]\nname="b"\nhandlers="y/../x/"\n',
            (
                'my.toml, [[pool]] "b", key handlers: is the folder of the pool "a" too; '
                "give each pool a folder of its own"
            ),
        ),
        (
            '[[pool]]\nname="a"\n[[pool]]\nname="b"\n',
            (
                'my.toml, [[pool]] "b", key handlers: is the folder of the pool "a" too; '
                "give each pool a folder of its own"
            ),
        ),
        (
            '[[pool]]\nname="a"\n[[pool]]\nname="b"\nhandlers="handlers/b"\n',
            (
                'my.toml, [[pool]] "b", key handlers: lies inside the folder of the pool "a", which would load its '
                "files too; give each pool a folder of its own"
            ),
        ),
        (
            '[[pool]]\nname="a"\nhandlers="handlers/a"\n[[pool]]\nname="b"\n',
            (
                'my.toml, [[pool]] "b", key handlers: contains the folder of the pool "a", whose files it would load '
                "too; give each pool a folder of its own"
            ),
        ),
        (
            'state_dir="y/state"\n[[pool]]\nname="a"\nhandlers="x"\n[[pool]]\nname="b"\nhandlers="y"\n',
            (
                'my.toml, key state_dir: lies inside the folder `handlers` of the pool "b", where each write would '
                "look like new handler code; put it somewhere else"
            ),
        ),
        (
            'python="x"\n[handlers]\npython="y"\n',
            "my.toml, [handlers], key python: `python` is given outside of [handlers] too; keep one of the two",
        ),
        (
            '[pool]\nname="a"\n',
            'my.toml, key pool: pools are tables; write [[pool]], and below it name = "NAME" and its options',
        ),
        (
            'pool = ["a"]\n',
            'my.toml, key pool: pools are tables; write [[pool]], and below it name = "NAME" and its options',
        ),
        ('[[pools]]\nname="a"\n', "my.toml, key pools: there is no such option; did you mean pool?"),
    ],
)
def test_a_mistake_about_pools_is_one_sentence(text: str, sentence: str) -> None:
    """What is said names the file, the pool, the key and the way out."""
    assert problems_of(text) == [sentence]


def test_a_folder_for_all_pools_is_the_mistake_of_whoever_gave_it() -> None:
    """A flag that puts every pool on one folder is named itself."""
    (sentence,) = problems_of(TWO, handlers="h")
    assert sentence == '--handlers: is the folder of the pool "quick" too; give each pool a folder of its own'


@pytest.mark.parametrize("value", ["x", "[]", '[{"name": "a"}]', "3"])
def test_the_environment_describes_no_pools(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Whatever it says: one sentence, and where pools are described."""
    monkeypatch.setenv("JOBWARDEN_POOL", value)
    assert problems_of("") == [
        (
            "environment variable JOBWARDEN_POOL: pools are not described in the environment; "
            "write them as tables [[pool]] into the file"
        )
    ]


def test_what_is_left_of_a_wrong_file_can_be_looked_at() -> None:
    """`check` and `doctor` go on: a pool with a mistake is left out, the others stay."""
    settings, problems = examine_settings(config=write(TWO + "user = 3\n"), flags={})
    assert len(problems) == 1
    assert [pool.name for pool in settings.pools] == ["quick"]


def test_settings_judge_themselves_also_without_a_file() -> None:
    """Whoever makes them by hand gets the same refusals."""
    with pytest.raises(ValidationError, match="is the folder of the pool"):
        Settings.model_validate({"pool": [{"name": "a"}, {"name": "b"}]})
    assert [pool.workers for pool in Settings.model_validate({"workers": 2, "pool": [{"name": "a"}]}).pools] == [2]


def test_a_default_limit_above_the_ceiling_is_a_contradiction() -> None:
    """Each pool is judged by what is in force for it, wherever that stands; the later place is named."""
    (sentence,) = problems_of("default_timeout_ms = 2\nmax_timeout_ms = 1\n")
    assert sentence == (
        "my.toml, key default_timeout_ms: 2 is above `max_timeout_ms`, which is 1 and the longest that any job may "
        "run; lower the one or raise the other"
    )
    pool = '[[pool]]\nname = "a"\nhandlers = "h"\n'
    (sentence,) = problems_of(f"max_timeout_ms = 5\n{pool}default_timeout_ms = 6\n")
    assert sentence.startswith('my.toml, [[pool]] "a", key default_timeout_ms: 6 is above')
    assert load_settings(config=write(f"max_timeout_ms = 5\n{pool}default_timeout_ms = 5\n"), flags={}).pools
