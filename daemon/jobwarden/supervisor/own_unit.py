"""Asks systemd what it allows the unit that this process is part of, or the one that reads a given config file.

Whoever gets no answer (no systemd, no bus, no right to ask, a wrapper around us) compares nothing: it must never keep a
daemon from starting, and never wait for long. Called by `jobwarden run` before it becomes the keeper, and by `check`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.settings.unit import UnitLimits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PATIENCE_SECONDS = 3.0
_OURS = ("jobwarden.service", "jobwarden@*.service")
_SHOWN = ("Id", "InvocationID", "MainPID", "ControlPID", "TimeoutStopUSec", "ExecStart", "Environment")
_FORWARDED = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS")
"""No secret of the daemon's environment goes to another program."""

_SECONDS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800,
    "month": 2_629_800, "y": 31_557_600,
}  # fmt: skip
"""Units of a time span as systemd prints it (systemd.time(7))."""

_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|min|h|d|w|month|y)")


def ask_own_unit(environment: Mapping[str, str], *, cgroup: Path = Path("/proc/self/cgroup")) -> UnitLimits | None:
    """The limits of the unit whose main or control process this is."""
    invocation = environment.get("INVOCATION_ID")
    found = _unit_of(cgroup) if invocation else None
    if found is None:
        return None
    name, manager = found
    for unit in _ask([name], environment, manager=manager):
        its_processes = {unit.get("MainPID"), unit.get("ControlPID")}
        if unit.get("InvocationID") == invocation and str(os.getpid()) in its_processes:
            return _limits(unit)
    return None


def ask_unit_with(config: Path | None, environment: Mapping[str, str]) -> UnitLimits | None:
    """The limits of our service on this machine that reads this config file."""
    if config is None or not Path("/run/systemd/system").is_dir():  # sd_booted(3)
        return None
    path = re.compile(rf"(?<![^\s=;]){re.escape(str(config.absolute()))}(?![^\s;])")
    for unit in _ask(_OURS, environment):
        if path.search(f"{unit.get('ExecStart', '')} {unit.get('Environment', '')}"):
            return _limits(unit)
    return None


def _unit_of(cgroup: Path) -> tuple[str, str] | None:
    """The service in whose cgroup we are, and which of systemd's managers has it."""
    try:
        lines = cgroup.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        _number, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        services = [each for each in path.split("/") if each.endswith(".service")]
        if controllers not in {"", "name=systemd"} or not services or services[-1].startswith("user@"):
            continue
        return services[-1], "--user" if services[0].startswith("user@") else "--system"
    return None


def _ask(
    units: Sequence[str], environment: Mapping[str, str], *, manager: str = "--system"
) -> Iterator[dict[str, str]]:
    """The properties of each of these units that is loaded."""
    program = shutil.which("systemctl", path=environment.get("PATH"))
    if program is None:
        return
    command = [program, manager, "show", f"--property={','.join(_SHOWN)}", "--", *units]
    kept = {name: environment[name] for name in _FORWARDED if name in environment}
    try:
        answer = subprocess.run(
            command, env={**kept, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, check=True,
            timeout=_PATIENCE_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return
    for block in answer.stdout.decode(errors="replace").split("\n\n"):
        yield dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _limits(unit: Mapping[str, str]) -> UnitLimits | None:
    said = unit.get("TimeoutStopUSec", "")
    if said == "infinity":
        return UnitLimits(unit.get("Id", ""), None)
    parts = [_SPAN.fullmatch(part) for part in said.split()]
    spans = [float(part[1]) * _SECONDS[part[2]] for part in parts if part is not None]
    return UnitLimits(unit.get("Id", ""), sum(spans)) if spans and len(spans) == len(parts) else None
