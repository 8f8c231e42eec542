"""Make a systemd service of this installation, show it, or take it away.

program     this installation, and what would keep a service from starting it
unit        what a shipped unit says; all else follows from it
layout      where everything of one service lies
installing  the plan of `install` · removing  the plan of `uninstall` · steps  what plans consist of
marked      how edits are seen, so that no edited file is overwritten
ground      this machine, or a file system below `--root`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson
from jobwarden.cli.printing import print_json, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobwarden.cli.service.ground import Ground
    from jobwarden.cli.service.layout import Layout
    from jobwarden.cli.service.steps import Step

Instance = Annotated[
    str | None,
    typer.Option(
        "--instance", metavar="NAME", help="A service beside others: jobwarden@NAME.service.", show_default=False
    ),
]
Root = Annotated[
    Path,
    typer.Option("--root", metavar="DIR", help="Another file system, an image for example; nothing is started."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this it is only shown.")]


def install_command(
    *,
    instance: Instance = None,
    drop_ins: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME",
            help="With a shipped drop-in: `runas` for pools with a `user`, `internet` for handlers that talk to it, "
            "`notify-reload` (systemd 253). Repeat it for more.",
            show_default=False,
        ),
    ] = None,
    yes: Yes = False,
    now: Annotated[bool, typer.Option("--now", help="Do it, and start the service; restart it if it runs.")] = False,
    root: Root = Path("/"),
    as_json: AsJson = False,
) -> None:
    """Show, or with --yes write, unit, configuration, user and folders for this installation.

    A second time it only does what is missing, after an update of jobwarden for example. Edited files are kept.
    """
    from jobwarden.cli.service import installing

    ground, layout = _settle(root, instance)
    if now:
        _refuse_without_systemd(ground)
    if yes or now:
        _refuse_obstacles(ground)
    steps = installing.plan(layout, ground, now=now, drop_ins=drop_ins or [])
    _carry_out(steps, ground, really=yes or now, as_json=as_json, way="--yes does this, --now also starts it")
    if not as_json:
        _say_what_is_next(layout, ground, done=yes or now, started=now)


def uninstall_command(
    *,
    instance: Instance = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove configuration, handlers, all jobs and the user, too.")
    ] = False,
    yes: Yes = False,
    root: Root = Path("/"),
    as_json: AsJson = False,
) -> None:
    """Show, or with --yes do, what takes the service away: running jobs are drained, files that were not edited go.

    Configuration, handlers and jobs stay, unless --purge is said.
    """
    from jobwarden.cli.service import removing

    ground, layout = _settle(root, instance)
    steps = removing.plan(layout, ground, purge=purge)
    _carry_out(steps, ground, really=yes, as_json=as_json, way="--yes does this")


def show_command(*, instance: Instance = None, root: Root = Path("/"), as_json: AsJson = False) -> None:
    """Show what is installed, and whether it is as this version would install it.

    Exit code 1 if the service is not installed.
    """
    from jobwarden.cli.service.showing import findings

    ground, layout = _settle(root, instance)
    rows = findings(layout, ground)
    if as_json:
        print_json(rows)
    else:
        for name, value in rows.items():
            print(f"{name:<10} {printable(value)}")
    if not ground.there(layout.unit_path):
        raise typer.Exit(1)


service_commands: dict[str, Callable[..., None]] = {
    "install": install_command,
    "uninstall": uninstall_command,
    "show": show_command,
}


def _settle(root: Path, instance: str | None) -> tuple[Ground, Layout]:
    from jobwarden.cli.service.errors import ServiceError
    from jobwarden.cli.service.ground import Ground
    from jobwarden.cli.service.layout import Layout

    if not root.is_dir():
        raise ServiceError("--root", f"{root} is no folder; give that of a file system")
    ground = Ground(root)
    return ground, Layout(instance, systemd_version=ground.systemd_version())


def _carry_out(steps: Sequence[Step], ground: Ground, *, really: bool, as_json: bool, way: str) -> None:
    """Print the plan, or do it step by step; 1 if a step fails."""
    from jobwarden.cli.service.errors import ServiceError, StepFailedError

    if really and ground.here and os.geteuid() != 0:
        raise ServiceError("--yes", "a service of the system is made by root; say the same with sudo in front of it")
    try:
        _go_through(steps, ground, really=really, quiet=as_json)
    except StepFailedError as error:
        print(f"jobwarden: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print_json({"done": really, "steps": [{"do": each.told(), "content": each.shown()} for each in steps]})
    elif not steps:
        print("nothing to do")
    elif not really:
        print(f"nothing was changed; {way}")


def _go_through(steps: Sequence[Step], ground: Ground, *, really: bool, quiet: bool) -> None:
    for step in steps:
        if not quiet:
            print(step.told() if really else f"would {step.told()}", flush=True)
        if really:
            step.do(ground)
        elif not quiet:
            _print_indented(step.shown())


def _print_indented(text: str) -> None:
    for line in text.splitlines():
        print(f"    {printable(line)}".rstrip())


def _refuse_without_systemd(ground: Ground) -> None:
    from jobwarden.cli.service.errors import ServiceError

    if not ground.booted:
        where = "no systemd runs here" if ground.here else "nothing can be started below --root"
        raise ServiceError("--now", f"{where}; --yes alone installs the service, which starts with the next boot")


def _refuse_obstacles(ground: Ground) -> None:
    from jobwarden.cli.service.errors import ServiceError
    from jobwarden.cli.service.program import obstacles

    if ground.here and (found := obstacles()):
        raise ServiceError(*found[0])


def _say_what_is_next(layout: Layout, ground: Ground, *, done: bool, started: bool) -> None:
    from jobwarden.cli.service.program import obstacles

    if not done:
        for each in obstacles() if ground.here else ():
            print(f"in the way: {printable(': '.join(each))}")
        return
    if not started and ground.here:
        print(f"next: systemctl restart {layout.unit.name}")
    print(
        f"handlers belong into {layout.unit.handlers}; jobwarden status --config {layout.unit.config} shows it at work"
    )
