"""Reading the configuration again: it is valid as a whole, or nothing changes; what needs a restart is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobwarden.settings import Settings, load_settings
from jobwarden.settings.changes import ONLY_AT_A_START, restarts_needed
from jobwarden.supervisor.handover import Handover
from jobwarden.supervisor.reconfiguring import CONFIGURATION_STAYS, Reconfiguring


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "my.toml"
    path.write_text("workers = 2\n")
    return path


def reading(config: Path, told: list[Settings]) -> Reconfiguring:
    """As a daemon that was started with this file."""
    handover = Handover(
        config=str(config), flags={}, node_id="n", page=0, locks=[], node_lock=None, keeper_pid=1, errand=None
    )
    started = load_settings(config=config, flags={})
    return Reconfiguring(started, handover, launchers={}, followers=(told.append,))


def test_what_is_valid_goes_to_everybody_whom_it_concerns(config: Path) -> None:
    """The pools get their terms, the followers the settings, and there is nothing to remark."""
    told: list[Settings] = []
    parts = reading(config, told)
    config.write_text('workers = 3\nlog_level = "debug"\n')
    assert [change.terms.workers for change in parts.read_again()] == [3]
    assert [(settings.workers, settings.log_level) for settings in told] == [(3, "debug")]
    assert parts.remarks == []


@pytest.mark.parametrize("text", ["workers = 0\n", "wrokers = 3\n", 'workers = 3\nuser = "no-such-user-here"\n'])
def test_a_mistake_changes_nothing_and_stays_among_the_remarks(config: Path, text: str) -> None:
    """P6: also a user who is not there is found before anything has changed; what is corrected is not told any more."""
    told: list[Settings] = []
    parts = reading(config, told)
    config.write_text(text)
    assert parts.read_again() == []
    assert told == []
    (remark,) = parts.remarks
    assert remark.startswith(CONFIGURATION_STAYS)
    config.write_text("workers = 2\n")
    assert len(parts.read_again()) == 1
    assert parts.remarks == []


def test_what_the_daemon_was_built_on_needs_a_restart() -> None:
    """Each such option, and each pool that comes or goes, is one sentence without a value."""
    changes = {
        "database_url": "postgresql://me@host/db",
        "database_password": "s3cret",
        "synchronous": "normal",
        "busy_timeout_seconds": 1,
        "state_dir": "other",
        "lease_seconds": 60,
        "hung_seconds": 60,
    }
    assert set(changes) == set(ONLY_AT_A_START)
    told = list(restarts_needed(Settings(), Settings.model_validate({**changes, "pool": [{"name": "a"}]})))
    assert [sentence.partition(":")[0] for sentence in told] == [
        *(f"restart needed for {name}" for name in ONLY_AT_A_START),
        'restart needed for [[pool]] "a"',
        'restart needed for [[pool]] "default"',
    ]
    assert "s3cret" not in "".join(told)
    live = Settings(workers=9, nice=3, drain_seconds=1, retention_completed_days=None, log_format="human")
    assert list(restarts_needed(Settings(), live)) == []
