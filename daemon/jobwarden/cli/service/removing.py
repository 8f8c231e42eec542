"""The plan of `jobwarden service uninstall`: the service goes; what is the operator's stays, unless told otherwise.

Pure but for looking, as `installing` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobwarden.cli.service.marked import untouched
from jobwarden.cli.service.steps import Command, Keep, Remove, SetAside, Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobwarden.cli.service.ground import Ground
    from jobwarden.cli.service.layout import Layout


def plan(layout: Layout, ground: Ground, *, purge: bool) -> list[Step]:
    """The steps in their order; with `purge` also configuration, handlers, jobs and user go."""
    others = layout.others(ground)
    return [
        *_switched_off(layout, ground),
        *_units(layout, ground, others=others),
        *(_purged(layout, ground, last=not others) if purge else _kept(layout, ground)),
    ]


def _switched_off(layout: Layout, ground: Ground) -> Iterator[Step]:
    if ground.there(layout.unit_path):
        yield Command(ground.told_to_systemd("disable", *(("--now",) if ground.booted else ()), layout.unit.name))


def _units(layout: Layout, ground: Ground, *, others: list[str]) -> Iterator[Step]:
    """The template stays as long as other instances of it are enabled; what all services share, as long as any is."""
    if not layout.shares_its_unit(others):
        yield from _gone(ground, layout.unit_path)
        yield from _drop_ins(layout, ground)
    if not others:
        yield from _gone(ground, layout.sysusers)
        if ground.at(layout.link).is_symlink() and layout.is_ours(ground.at(layout.link)):
            yield Remove(layout.link)
    if ground.booted and ground.there(layout.unit_path):
        yield Command(ground.told_to_systemd("daemon-reload"))


def _drop_ins(layout: Layout, ground: Ground) -> Iterator[Step]:
    """What `systemctl edit` wrote is the operator's."""
    found = [layout.drop_in_folder / name for name in ground.names(layout.drop_in_folder)]
    ours = [path for path in found if untouched(ground.read(path) or b"")]
    yield from (Remove(path) if path in ours else Keep(path, "it was not written by this command") for path in found)
    if found and ours == found:
        yield Remove(layout.drop_in_folder, whole=True)


def _gone(ground: Ground, path: Path) -> Iterator[Step]:
    found = ground.read(path)
    if found is not None:
        yield Remove(path) if untouched(found) else SetAside(path)


def _kept(layout: Layout, ground: Ground) -> Iterator[Step]:
    kept = {
        layout.unit.config: "the configuration",
        layout.unit.handlers: "the handlers",
        layout.unit.state: "the jobs",
    }
    yield from (
        Keep(path, f"{what}; `--purge` removes {'them' if what[-1] == 's' else 'it'}")
        for path, what in kept.items()
        if ground.there(path)
    )


def _purged(layout: Layout, ground: Ground, *, last: bool) -> Iterator[Step]:
    """The user is the others', too."""
    unit = layout.unit
    yield from (Remove(path, whole=True) for path in (unit.config.parent, unit.state) if ground.there(path))
    if last and unit.user is not None and ground.id_of(unit.user, table="passwd") is not None:
        root = () if ground.here else ("--root", str(ground.root))
        yield Command(("userdel", *root, unit.user))
