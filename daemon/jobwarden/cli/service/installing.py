"""The plan of `jobwarden service install`: what is still missing for this installation to be a service.

Pure but for looking: nothing is changed here. What is there already and as it should be gives no step, so a second
install has nothing to do; what somebody edited is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.cli.service import program
from jobwarden.cli.service.configuration import first_configuration, handlers_of
from jobwarden.cli.service.marked import Standing, marked, standing
from jobwarden.cli.service.steps import Command, Copy, Keep, MakeFolder, MakeLink, Step, Write
from jobwarden.cli.service.unit import with_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobwarden.cli.service.ground import Ground
    from jobwarden.cli.service.layout import Layout

USUAL_PATH = tuple(map(Path, ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")))


def plan(layout: Layout, ground: Ground, *, now: bool, drop_ins: Sequence[str]) -> list[Step]:
    """The steps in their order; with `now` the service is started, or restarted if it runs."""
    units = [*_units(layout, ground, drop_ins=drop_ins)]
    return [
        *_user(layout, ground),
        *_configuration(layout, ground),
        *units,
        *_link(layout, ground),
        *_switched_on(layout, ground, changed=any(isinstance(each, Write) for each in units), now=now),
    ]


def _user(layout: Layout, ground: Ground) -> Iterator[Step]:
    user = layout.unit.user
    if user is None:
        return
    yield from _file(ground, layout.sysusers, layout.sysusers_text())
    if ground.id_of(user, table="passwd") is None:
        root = () if ground.here else (f"--root={ground.root}",)
        yield Command(("systemd-sysusers", *root, layout.sysusers.name))


def _configuration(layout: Layout, ground: Ground) -> Iterator[Step]:
    unit = layout.unit
    yield from _folder(ground, unit.config.parent)
    text = first_configuration(layout.shipped("config", "jobwarden.toml"), unit)
    there = ground.read(unit.config)
    yield from _file(ground, unit.config, text, mode=0o640, group=unit.user)
    handlers = handlers_of(there if there is not None else text.encode(), unit)
    if not ground.there(handlers):
        yield from _folder(ground, handlers)
        yield from (Copy(handlers / source.name, source) for source in layout.examples())


def _units(layout: Layout, ground: Ground, *, drop_ins: Sequence[str]) -> Iterator[Step]:
    yield from _file(ground, layout.unit_path, layout.unit.text)
    for path, shipped in layout.drop_ins(ground, wanted=drop_ins).items():
        yield from _folder(ground, path.parent)
        yield from _file(ground, path, with_program(shipped, program=layout.program))


def _link(layout: Layout, ground: Ground) -> Iterator[Step]:
    """A name in PATH, where there is none yet."""
    script = program.program_file()
    if script is not None and not any(ground.there(folder / "jobwarden") for folder in USUAL_PATH):
        yield MakeLink(layout.link, script)


def _switched_on(layout: Layout, ground: Ground, *, changed: bool, now: bool) -> Iterator[Step]:
    if ground.booted and changed:
        yield Command(ground.told_to_systemd("daemon-reload"))
    if not ground.there(layout.enabled):
        yield Command(ground.told_to_systemd("enable", layout.unit.name))
    if now:
        name = layout.unit.name
        yield Command(ground.told_to_systemd("restart", name), hint=f"; see `journalctl --unit={name} --lines=20`")


def _folder(ground: Ground, path: Path) -> Iterator[Step]:
    if not ground.there(path):
        yield MakeFolder(path)


def _file(ground: Ground, path: Path, text: str, *, mode: int = 0o644, group: str | None = None) -> Iterator[Step]:
    wanted = marked(text)
    match standing(ground.read(path), wanted=wanted):
        case Standing.MISSING | Standing.OLDER as found:
            yield Write(path, wanted, mode=mode, group=group, renewed=found is Standing.OLDER)
        case Standing.EDITED:
            yield Keep(path, "it was not written by this command, or was edited since")
        case Standing.SAME:
            pass
