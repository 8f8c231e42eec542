"""What systemd allows our unit, asked with a `systemctl` of our own, and what that means for the settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobwarden.errors import InvalidSettingsError
from jobwarden.settings import Settings
from jobwarden.settings.unit import UnitLimits, require_time_to_stop, stop_problem
from jobwarden.supervisor.own_unit import ask_own_unit

INVOCATION = "0f" * 16


Ask = Callable[..., UnitLimits | None]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask a systemctl that prints these lines, from within this cgroup."""

    def ask_it(
        *,
        cgroup: str = "0::/system.slice/jobwarden.service/daemon",
        stop: str = "1min 30s",
        pid: int | None = None,
        invocation: str = INVOCATION,
        code: int = 0,
    ) -> UnitLimits | None:
        (tmp_path / "cgroup").write_text(f"12:pids:/user.slice/other.service\n{cgroup}\n")
        unit = cgroup.rpartition("/")[0].rpartition("/")[2] if cgroup.endswith("daemon") else cgroup.rpartition("/")[2]
        program = tmp_path / "systemctl"
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nenv >> {tmp_path}/environment\n'
            f"echo Id={unit}\necho InvocationID={invocation}\necho MainPID={os.getpid() if pid is None else pid}\n"
            f"echo ControlPID=0\necho TimeoutStopUSec={stop}\nexit {code}\n"
        )
        program.chmod(0o755)
        environment = {"PATH": str(tmp_path), "INVOCATION_ID": INVOCATION, "JOBWARDEN_DATABASE_PASSWORD": "s3cret"}
        return ask_own_unit(environment, cgroup=tmp_path / "cgroup")

    return ask_it


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("1min 30s", 90),
        ("45s", 45),
        ("2h 5min 1s 500ms", 7501.5),
        ("1w 1d", 691_200),
        ("infinity", None),
    ],
)
def test_systemd_is_asked_how_long_our_unit_may_stop(ask: Ask, said: str, seconds: float | None) -> None:
    """In the words in which `systemctl show` prints a time span (systemd.time(7))."""
    assert ask(stop=said) == UnitLimits("jobwarden.service", seconds)


def test_the_unit_is_the_one_in_whose_cgroup_we_are(ask: Ask, tmp_path: Path) -> None:
    """An instance, a leaf of a delegated tree, or a service of the user's own manager."""
    for cgroup, name, manager in [
        ("0::/system.slice/system-jobwarden.slice/jobwarden@a.service", "jobwarden@a.service", "--system"),
        ("0::/user.slice/user-1.slice/user@1.service/app.slice/x.service", "x.service", "--user"),
        ("1:name=systemd:/system.slice/y.service", "y.service", "--system"),
    ]:
        assert ask(cgroup=cgroup) == UnitLimits(name, 90)
        line = (tmp_path / "asked").read_text().splitlines()[-1]
        assert (line.split()[0], line.split()[-1]) == (manager, name)
    assert "s3cret" not in (tmp_path / "environment").read_text()


def test_without_a_clear_answer_nothing_is_compared(ask: Ask, tmp_path: Path) -> None:
    """Another unit's process, an answer that nobody understands, no systemctl: no daemon is kept from starting."""
    assert ask(invocation="00" * 16) is None
    assert ask(pid=1) is None
    assert ask(stop="soon") is None
    assert ask(stop="") is None
    assert ask(code=1) is None
    assert ask(cgroup="0::/user.slice/user-1.slice/user@1.service") is None
    assert ask(cgroup="0::/") is None
    here = {"PATH": str(tmp_path / "nowhere"), "INVOCATION_ID": INVOCATION}
    assert ask_own_unit(here, cgroup=tmp_path / "cgroup") is None
    assert ask_own_unit(here, cgroup=tmp_path / "gone") is None
    assert ask_own_unit({}, cgroup=tmp_path / "cgroup") is None


def test_a_drain_longer_than_the_unit_waits_is_refused() -> None:
    """With the longest grace of all pools, and five seconds for the end; both ways out are told with their numbers."""
    settings = Settings(
        drain_seconds=60,
        pool=[{"name": "a", "handlers": "a", "kill_grace_seconds": 20}, {"name": "b", "handlers": "b"}],  # type: ignore[list-item]
    )
    for stop in (None, 85):
        require_time_to_stop(settings, UnitLimits("jobwarden.service", stop))
    require_time_to_stop(settings, None)
    with pytest.raises(InvalidSettingsError) as caught:
        require_time_to_stop(settings, UnitLimits("jobwarden.service", 84.5))
    assert str(caught.value) == (
        "drain_seconds: 60 s, and 25 s for kill_grace_seconds and the end, are more than the 84.5 s after which "
        "systemd kills jobwarden.service (TimeoutStopSec=); lower it to 59 at most, or set TimeoutStopSec=85 with "
        "`systemctl edit jobwarden.service`"
    )
    hopeless = stop_problem(settings, UnitLimits("jobwarden.service", 10)) or ""
    assert "; set TimeoutStopSec=85" in hopeless


def test_the_defaults_fit_the_shipped_units() -> None:
    """Nobody has to change anything for the service to start."""
    folder = Path(__file__).resolve().parents[2] / "systemd"
    for name in ("jobwarden.service", "jobwarden@.service"):
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        (stop,) = [line.removeprefix("TimeoutStopSec=") for line in lines if line.startswith("TimeoutStopSec=")]
        assert stop_problem(Settings(), UnitLimits(name, float(stop))) is None
