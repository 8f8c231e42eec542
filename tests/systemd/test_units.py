from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.systemd_lab import UNITS

HIGHEST_EXPOSURE = 1.0
"""Of the units themselves, with delegation. A drop-in says what it costs in its own first lines."""

SERVICES = ("jobwarden.service", "jobwarden@.service")
DROP_INS = ("jobwarden-runas.conf", "jobwarden-internet.conf")
INSTANCE = (
    ("jobwarden-%i/", "jobwarden/"),
    ("Directory=jobwarden-%i", "Directory=jobwarden"),
    ("/jobwarden-%i", "/jobwarden"),
    (":jobwarden-%i.", ":jobwarden."),
    ("system.slice/system-jobwarden.slice/", "system.slice/"),
    (" (%i)", ""),
)
"""What an instance has of its own, and what the single service says instead."""


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here; Debian's package systemd has it")


def exposure(unit: Path) -> float:
    """What `systemd-analyze security` makes of it, from 0 (none) to 10."""
    need("systemd-analyze")
    answer = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = re.findall(r"Overall exposure level for .*: ([0-9.]+)", answer.stdout)
    return float(found)


def directives(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith(("#", "["))]


@pytest.mark.parametrize("name", SERVICES)
def test_a_shipped_unit_exposes_hardly_anything(name: str) -> None:
    """`systemd-analyze security` gives at most 1.0, with delegation."""
    assert exposure(UNITS / name) <= HIGHEST_EXPOSURE


@pytest.mark.parametrize("name", DROP_INS)
def test_a_drop_in_says_what_it_costs(name: str, tmp_path: Path) -> None:
    """The exposure in its head is that of the unit with it."""
    drop_in = (UNITS / name).read_text()
    (said, without) = re.findall(r"# Exposure with it: ([0-9.]+) \(without: ([0-9.]+)\)", drop_in)[0]
    shutil.copy(UNITS / SERVICES[0], tmp_path)
    folder = tmp_path / f"{SERVICES[0]}.d"
    folder.mkdir()
    (folder / name).write_text(drop_in)
    assert exposure(tmp_path / SERVICES[0]) == float(said)
    assert exposure(UNITS / SERVICES[0]) == float(without)


def test_systemd_has_nothing_to_say_about_the_units() -> None:
    """`systemd-analyze verify` is silent."""
    need("systemd-analyze")
    units = [UNITS / name for name in SERVICES]
    answer = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_an_instance_is_the_same_service_in_a_place_of_its_own() -> None:
    """jobwarden@.service and jobwarden.service differ in names and folders only."""
    instance = (UNITS / SERVICES[1]).read_text()
    for own, single in INSTANCE:
        assert own in instance
        instance = instance.replace(own, single)
    assert directives(instance) == directives((UNITS / SERVICES[0]).read_text())


@pytest.mark.parametrize("name", SERVICES)
def test_every_directive_of_the_sandbox_that_is_open_has_its_reason(name: str) -> None:
    """What costs exposure is explained in a comment of the unit, with what to write instead."""
    text = (UNITS / name).read_text()
    for each in ("Delegate=yes", "RestrictAddressFamilies=", "IPAddressAllow=", "ProtectProc=", "NoExecPaths="):
        (line,) = [index for index, line in enumerate(text.splitlines()) if line.startswith(each)]
        before = text.splitlines()[max(0, line - 2) : line]
        assert any(comment.startswith("#") for comment in before), f"{each} has no reason above it"
