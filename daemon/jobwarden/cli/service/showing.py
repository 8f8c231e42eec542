"""What `jobwarden service show` tells: each file, and whether it is as this version would install it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from jobwarden import __version__
from jobwarden.cli.service.configuration import first_configuration, handlers_of
from jobwarden.cli.service.marked import Standing, marked, standing
from jobwarden.cli.service.program import obstacles
from jobwarden.cli.service.unit import program_of, with_program

if TYPE_CHECKING:
    from pathlib import Path

    from jobwarden.cli.service.ground import Ground
    from jobwarden.cli.service.layout import Layout

_ASKED = ("ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "StatusText")
_RENEWED = "; `jobwarden service install` renews it"


def findings(layout: Layout, ground: Ground) -> dict[str, str]:
    """What is shown, in its order: name -> value in words."""
    unit, wanted = layout.unit, layout.shipped("config", "jobwarden.toml")
    configuration = ground.read(unit.config)
    rows = {
        "unit": f"{layout.unit_path}: {_standing(ground, layout.unit_path, unit.text)}",
        **{
            f"drop-in {number}": f"{path}: {_standing(ground, path, with_program(text, program=layout.program))}"
            for number, (path, text) in enumerate(layout.drop_ins(ground).items(), 1)
        },
        "program": _program(layout, ground),
        "config": f"{unit.config}: {_standing(ground, unit.config, first_configuration(wanted, unit))}",
        "handlers": str(handlers_of(configuration or b"", unit)),
        "state": str(unit.state),
        "user": _user(unit.user, ground),
        "others": ", ".join(layout.others(ground)) or "none",
    }
    if ground.booted:
        rows |= {"systemd": _as_systemd_sees_it(unit.name)}
    return rows


def _standing(ground: Ground, path: Path, text: str) -> str:
    found = standing(ground.read(path), wanted=marked(text))
    return found.value + (_RENEWED if found is Standing.OLDER else "")


def _program(layout: Layout, ground: Ground) -> str:
    """What the installed unit starts; beside it, this installation, if that is another one."""
    installed = program_of((ground.read(layout.unit_path) or b"").decode(errors="replace"))
    ours = f"{layout.program} ({__version__})"
    problems = [f"; {thing}: {problem}" for thing, problem in obstacles()[:1] if ground.here]
    if installed in (None, layout.program):
        return ours + "".join(problems)
    return f"{installed}, which is not this installation, {ours}"


def _user(name: str | None, ground: Ground) -> str:
    if name is None:
        return "one that systemd makes up"
    number = ground.id_of(name, table="passwd")
    return f"{name} ({number})" if number is not None else f"{name}: missing"


def _as_systemd_sees_it(name: str) -> str:
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return "there is no systemctl"
    words = (systemctl, "show", name, *(f"--property={each}" for each in _ASKED))
    lines = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
    said = dict(line.split("=", 1) for line in lines.splitlines() if "=" in line)
    state = f"{said.get('ActiveState')} ({said.get('SubState')}), {said.get('UnitFileState') or 'not enabled'}"
    started = f", process {said.get('MainPID')}, {said.get('NRestarts')} restarts by itself"
    status = said.get("StatusText", "")
    return state + (started if said.get("MainPID") != "0" else "") + (f": {status}" if status else "")
