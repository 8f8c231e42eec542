"""Configuration under a real systemd: what contradicts the unit is refused, at a reload as at a start."""

from __future__ import annotations

from tests.support.systemd_service import CONFIGURATION, UNIT, Service

REFUSED = (
    "drain_seconds: 60 s, and 5.3 s for kill_grace_seconds and the end, are more than the 45 s after which systemd "
    f"kills {UNIT} (TimeoutStopSec=); lower it to 39 at most, or set TimeoutStopSec=66 with `systemctl edit {UNIT}`"
)


def test_a_drain_longer_than_the_unit_waits_is_refused(service: Service) -> None:
    """A running daemon keeps its settings, `check` says so to whoever asks, a start ends with exit code 2."""
    service.configure(drain_seconds=60)
    try:
        assert service.do("reload", check=False).returncode != 0
        assert service.show("ActiveState") == "active"
        checked = service.lab.run(
            "jobwarden", "check", "--config", f"{CONFIGURATION}/jobwarden.toml", "--no-strict-modes", check=False
        )
        assert REFUSED in checked.stdout
        service.do("stop")
        assert service.do("start", check=False).returncode != 0
        assert service.show("ExecMainStatus") == "2"
        journal = service.lab.run("journalctl", "--no-pager", "--output=cat", "--unit", UNIT).stdout
        assert journal.count(f"jobwarden: {REFUSED}") == 1
    finally:
        service.configure()
        service.ensure_started()
    assert service.show("ActiveState") == "active"
