"""`jobwarden completion`: what a shell is given, and what it then offers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobwarden.cli.entry import COMMANDS, enter


def test_bash_offers_the_commands_that_begin_so() -> None:
    """The script is good bash, and what it asks for is answered: commands, those of a group, flags."""
    script = subprocess.run(
        [sys.executable, "-m", "jobwarden", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert offered("re") == sorted(name for name in COMMANDS if name.startswith("re"))
    assert offered("service", "un") == ["uninstall"]
    assert offered("completion", "--he") == ["--help"]


def test_another_shell_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the shells that there are."""
    assert enter(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err


def offered(*words: str) -> list[str]:
    """What is offered for the last of these words, in the way in which the script asks."""
    asking = {"COMP_WORDS": " ".join(("jobwarden", *words)), "COMP_CWORD": str(len(words))}
    answer = subprocess.run(
        [sys.executable, "-m", "jobwarden"],
        env={**os.environ, **asking, "_JOBWARDEN_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    return sorted(answer.stdout.split())
