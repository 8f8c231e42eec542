"""`jobwarden config`: the values in force with their places, and the schema for editors."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from jobwarden.cli.entry import enter
from jobwarden.settings import Settings
from jobwarden.settings.model import OPTIONS
from jobwarden.settings.schema import config_schema

CONFIG = Path(__file__).resolve().parents[2] / "config"

FILE = """
database_url = "postgresql://me@host/db"
workers = 3

[[pool]]
name = "quick"
handlers = "quick"

[[pool]]
name = "heavy"
handlers = "heavy"
workers = 1
"""


@pytest.fixture(autouse=True)
def _no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for variable in [name for name in os.environ if name.upper().startswith(("JOBWARDEN_", "CREDENTIALS_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return iter(())


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `jobwarden config show` prints."""
    assert enter(["config", "show", *arguments]) == 0
    return capsys.readouterr().out


def test_each_value_is_shown_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flag, variable, credential, conf.d, file or default: whichever gave the value is named."""
    Path("my.toml").write_text(FILE)
    Path("conf.d").mkdir()
    Path("conf.d/nice.toml").write_text("nice = 5\n")
    Path("database_password").write_text("s3cret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(Path.cwd()))
    monkeypatch.setenv("JOBWARDEN_DRAIN_SECONDS", "7")
    options = json.loads(shown(capsys, "--config", "my.toml", "--hung-seconds", "40", "--json"))["options"]
    assert list(options) == list(OPTIONS)
    changed = {name: (each["value"], each["source"]) for name, each in options.items() if each["source"] != "default"}
    assert changed == {
        "database_url": ("postgresql://me@host/db", "my.toml, key database_url"),
        "database_password": ("***", "credential database_password"),
        "workers": (3, "my.toml, key workers"),
        "nice": (5, "conf.d/nice.toml, key nice"),
        "hung_seconds": (40, "--hung-seconds"),
        "drain_seconds": (7, "environment variable JOBWARDEN_DRAIN_SECONDS"),
    }
    defaults = {name: each["value"] for name, each in options.items() if name not in changed}
    assert defaults == {name: each for name, each in Settings().model_dump(mode="json").items() if name in defaults}


def test_what_is_shown_is_a_config_file_without_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    """It can be read back as it is: the same settings, pools included, but for the password."""
    Path("my.toml").write_text(FILE.replace("me@", "me:s3cret@"))
    text = shown(capsys, "--config", "my.toml")
    assert "s3cret" not in text
    settings = Settings.model_validate(tomllib.loads(text))
    assert settings.database_url == "postgresql://me:***@host/db"
    assert [(pool.name, pool.workers) for pool in settings.pools] == [("quick", 3), ("heavy", 1)]
    lines = shown(capsys, "--config", "my.toml", "--changed", "--pool", "heavy").splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        'database_url = "postgresql://me:***@host/db" # my.toml, key database_url',
        "workers = 3 # my.toml, key workers",
        "",
        "[[pool]]",
        'name = "heavy"',
        'handlers = "heavy" # my.toml, [[pool]] "heavy", key handlers',
        'workers = 1 # my.toml, [[pool]] "heavy", key workers',
    ]


def test_a_flag_is_named_as_the_place_of_every_pools_value(capsys: pytest.CaptureFixture[str]) -> None:
    """It wins over the tables, so it is where their values come from."""
    Path("my.toml").write_text(FILE)
    pools = json.loads(shown(capsys, "--config", "my.toml", "--workers", "2", "--json"))["pools"]
    assert [each["options"]["workers"] for each in pools] == [{"value": 2, "source": "--workers"}] * 2


def test_a_broken_configuration_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Its mistakes are told as everywhere, one sentence each; exit code 2."""
    Path("my.toml").write_text("workers = 0\nnice = 50\n")
    assert enter(["config", "show", "--config", "my.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(":")[2].partition(":")[0] for line in err.splitlines()] == [
        " my.toml, key workers",
        " my.toml, key nice",
    ]


def test_the_schema_accepts_what_the_daemon_accepts(capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped file, pools, another spelling, and no value where there may be none."""
    assert enter(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == config_schema()
    Draft7Validator.check_schema(schema)
    for text in (
        (CONFIG / "jobwarden.toml").read_text(encoding="utf-8"),
        FILE,
        '[handlers]\ndirectory = "h"\nwatch = "off"\n',
        'nice = "none"\nstarvation_seconds = "none"\ndrain_seconds = 0\n',
    ):
        Settings.model_validate({k: v for k, v in tomllib.loads(text).items() if not isinstance(v, dict)})
        Draft7Validator(schema).validate(tomllib.loads(text))


@pytest.mark.parametrize(
    "broken",
    [
        {"workers": 0},
        {"workers": 513},
        {"workers": 1.5},
        {"worker": 3},
        {"hung_seconds": 1},
        {"log_level": "loud"},
        {"handlers": ""},
        {"handlers": {"folder": "x"}},
        {"database_url": "jobs.db"},
        {"strict_modes": "maybe"},
        {"worker_environment": [3]},
        {"nice": None},
        {"pool": [{"workers": 3}]},
        {"pool": [{"name": "/"}]},
        {"pool": [{"name": "a", "hung_seconds": 20}]},
    ],
)
def test_the_schema_refuses_what_the_daemon_refuses(broken: dict[str, Any]) -> None:
    """Unknown keys, wrong types and values out of bounds are marked while they are typed."""
    assert not Draft7Validator(config_schema()).is_valid(broken)


def test_every_option_has_its_explanation_in_the_schema() -> None:
    """Editors show it, with the default."""
    properties = config_schema()["properties"]
    assert set(properties) == {*OPTIONS, "pool"}
    for name in set(OPTIONS) - {"handlers"}:
        assert properties[name]["description"] == OPTIONS[name].description
        default = OPTIONS[name].get_default(call_default_factory=True)
        if default != []:
            assert properties[name].get("default") == (str(default) if isinstance(default, Path) else default)
