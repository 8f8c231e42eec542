"""The class `Settings` by itself: defaults, bounds, and the pages and the file that are made from it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobwarden.settings import Settings
from jobwarden.settings.address import address_problem, mask_password
from jobwarden.settings.describe import accepts
from jobwarden.settings.docs import options_file, options_page
from jobwarden.settings.model import OPTIONS
from jobwarden.store import deaths
from jobwarden.supervisor import renewal

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_the_config_file_holds_every_option_with_its_default() -> None:
    """`config/jobwarden.toml` sets each option to its default; one without a default stands in a comment."""
    text = (CONFIG / "jobwarden.toml").read_text(encoding="utf-8")
    assert Settings.model_validate(tomllib.loads(text)) == Settings()
    named = re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE)
    assert named == list(OPTIONS)


def test_the_config_file_is_the_one_made_from_the_class() -> None:
    """After a change of Settings: `python -m jobwarden.settings.docs toml > config/jobwarden.toml`."""
    assert (CONFIG / "jobwarden.toml").read_text(encoding="utf-8") == options_file()


def test_the_page_about_options_is_the_one_made_from_the_class() -> None:
    """After a change of Settings: `python -m jobwarden.settings.docs > config/README.md`."""
    assert (CONFIG / "README.md").read_text(encoding="utf-8") == options_page()


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_says_in_a_sentence_what_it_is_for(name: str) -> None:
    """No option is without a doc line and words for what it takes; each example is a value that it takes."""
    field = OPTIONS[name]
    assert field.description is not None
    assert field.description.endswith(".")
    assert accepts(name)
    for example in field.examples or []:
        Settings.model_validate({name: example})


def test_the_environment_of_tests_does_not_reach_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Settings(...)` knows only what it is given; `load_settings` brings file and environment."""
    monkeypatch.setenv("JOBWARDEN_WORKERS", "7")
    assert Settings().workers == OPTIONS["workers"].default


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen: a reload makes new ones."""
    with pytest.raises(ValidationError):
        Settings().workers = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg://me:p@ss:word@host/db", "postgresql+psycopg://me:***@host/db"),
        ("mysql://:s3cret@host/db", "mysql://:***@host/db"),
        ("postgresql://host/db?user=me&password=s3cret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:///jobs.db", "sqlite:///jobs.db"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    """`shown_url` is the URL with stars for the password, and the settings' own text leaves the URL out."""
    assert mask_password(url) == shown
    settings = Settings(database_url=url)
    assert settings.shown_url == shown
    assert "s3cret" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("jobs.db", "sqlite:///jobwarden.db"),
        ("postgrsql://me@host/db", "did you mean postgresql://?"),
        ("redis://host", "use one of sqlite"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "in memory"),
        ("sqlite://jobs.db", "three before a relative path"),
    ],
)
def test_a_bad_database_url_is_explained(url: str, hint: str) -> None:
    """Each usual mistake in a database URL has a sentence with the way out."""
    assert hint in (address_problem(url) or "")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///jobs.db",
        "sqlite:////var/lib/jobs.db",
        "postgresql+psycopg://me@host/db",
        "postgres://me@host/db",
        "mariadb://host/db",
    ],
)
def test_a_good_database_url_is_accepted(url: str) -> None:
    """The URLs of the documentation are no problem."""
    assert address_problem(url) is None


def test_waiting_for_a_lock_stays_below_the_lease() -> None:
    """A write that waits longer than the lease would cost the daemon all its jobs."""
    assert Settings(lease_seconds=3, busy_timeout_seconds=30).lock_timeout_seconds == 1
    assert Settings(lease_seconds=300, busy_timeout_seconds=30).lock_timeout_seconds == 30


def test_no_lease_is_shorter_than_three_heartbeats() -> None:
    """The heartbeat is a part of the lease, so that no setting can say otherwise."""
    assert renewal.BEATS_PER_LEASE == deaths.BEATS_PER_LEASE >= 3
