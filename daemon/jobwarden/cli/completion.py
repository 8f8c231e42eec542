"""`jobwarden completion`: the script with which a shell completes commands and flags."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells whose scripts we print; typer makes them."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion_command(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print what completes commands and flags in a shell.

    For bash: `jobwarden completion bash > /etc/bash_completion.d/jobwarden`, or in one's own .bashrc
    `eval "$(jobwarden completion bash)"`.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # its place since 0.15

    print(get_completion_script(prog_name="jobwarden", complete_var="_JOBWARDEN_COMPLETE", shell=shell.value))
