"""From arguments to a command, and from whatever a command raises to one sentence and an exit code.

Only the command that is called is imported: `jobwarden add` must start fast. The last edge before the shell:
a mistake of the user never gives a traceback, a mistake of ours always does.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, TextIO

import typer

from jobwarden.errors import (
    AnswerLostError,
    InvalidSettingsError,
    JobwardenError,
    StateDirectoryTakenError,
    StoreError,
    WaitTimeoutError,
)

SUCCESS, FAILED, WRONG_USE, TAKEN, INTERRUPTED = 0, 1, 2, 75, 130
"""TAKEN: another daemon holds the state directory; trying again later may help, so it is no wrong use."""

COMMANDS = {
    "run": "jobwarden.cli.daemon",
    "demo": "jobwarden.cli.demo",
    "add": "jobwarden.cli.add",
    "list": "jobwarden.cli.look",
    "show": "jobwarden.cli.look",
    "logs": "jobwarden.cli.logs",
    "explain": "jobwarden.cli.explain",
    "edit": "jobwarden.cli.edit",
    "cancel": "jobwarden.cli.change",
    "retry": "jobwarden.cli.change",
    "replay": "jobwarden.cli.change",
    "remove": "jobwarden.cli.removal",
    "clear": "jobwarden.cli.removal",
    "pause": "jobwarden.cli.control",
    "resume": "jobwarden.cli.control",
    "limit": "jobwarden.cli.control",
    "controls": "jobwarden.cli.control",
    "drain": "jobwarden.cli.drain",
    "status": "jobwarden.cli.status",
    "counts": "jobwarden.cli.counts",
    "events": "jobwarden.cli.events",
    "cleanup": "jobwarden.cli.upkeep",
    "reclaim": "jobwarden.cli.upkeep",
    "check": "jobwarden.cli.check",
    "config": "jobwarden.cli.config",
    "reload": "jobwarden.cli.reload",
    "migrate": "jobwarden.cli.daemon",
    "backup": "jobwarden.cli.backup",
    "doctor": "jobwarden.cli.doctor",
    "service": "jobwarden.cli.service",
    "completion": "jobwarden.cli.completion",
    "version": "jobwarden.cli.version",
}
"""Each command and the module that holds a function `NAME_command`, or `NAME_commands`: a function for each word that
may follow it."""

# typer raises click's errors, newer ones those of a private copy; BadParameter is the one that it exports.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def enter(arguments: list[str]) -> int:
    """Run one command line and return the exit code of the process."""
    _fill_streams()
    try:
        code = _app(arguments)(args=arguments, prog_name="jobwarden", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else SUCCESS
    except (KeyboardInterrupt, typer.Abort):
        return _tell("interrupted", code=INTERRUPTED)
    except BrokenPipeError:
        _drop(sys.stdout)
        return FAILED
    except JobwardenError as error:
        return _explain(error)
    except ClickException as error:
        return _correct(error)
    except OSError as error:
        _drop(sys.stdout)
        return _tell(f"{error.filename or 'standard output'}: {error.strerror}", code=FAILED)


def _app(arguments: list[str]) -> typer.Typer:
    app = typer.Typer(
        help="A worker pool for background jobs that kills what hangs and loses nothing.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_common)
    for name in _wanted(arguments):
        _register(app, name)
    return app


def _register(app: typer.Typer, name: str) -> None:
    """One command, or a group: a module with `NAME_commands` says what may follow the name."""
    module = import_module(COMMANDS[name])
    members = getattr(module, f"{name}_commands", None)
    if members is None:
        app.command(name)(getattr(module, f"{name}_command"))
        return
    group = typer.Typer(help=(module.__doc__ or "").partition("\n")[0], no_args_is_help=True, rich_markup_mode=None)
    for member, command in members.items():
        group.command(member)(command)
    app.add_typer(group, name=name)


def _wanted(arguments: list[str]) -> list[str]:
    """The commands to register: the one that is called, or all of them for help and completion."""
    if arguments and arguments[0] in COMMANDS and _present(arguments[0]):
        return arguments[:1]
    return [name for name in COMMANDS if _present(name)]


def _present(name: str) -> bool:
    return find_spec(COMMANDS[name]) is not None


def _print_version(wanted: bool) -> None:
    if wanted:
        from jobwarden import __version__

        print(f"jobwarden {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that come before a command."""


def _explain(error: JobwardenError) -> int:
    if isinstance(error, InvalidSettingsError):
        for problem in error.problems:
            _tell(problem, code=WRONG_USE)
        return WRONG_USE
    if isinstance(error, StateDirectoryTakenError):
        return _tell(str(error), code=TAKEN)
    failed = isinstance(error, WaitTimeoutError | StoreError | AnswerLostError)
    return _tell(str(error), code=FAILED if failed else WRONG_USE)


def _correct(error: Exception) -> int:
    """Tell what is wrong with the arguments; without any, what there is to choose from, in its lines."""
    if type(error).__name__ != "NoArgsIsHelpError":
        return _tell(_usage_sentence(error), code=WRONG_USE)
    print(getattr(error, "message", error), file=sys.stderr)
    return WRONG_USE


_UNREADABLE = re.compile(r"Invalid value for '([^']+)': Input should be a valid (\w+)[^;]*")
"""What pydantic, which typer may ask, says of a value that it cannot read."""


def _usage_sentence(error: Exception) -> str:
    message = " ".join(getattr(error, "format_message", error.__str__)().split()).rstrip(".")
    message = _UNREADABLE.sub(r"\1: is no \2", message).replace(": Value error, ", ": ")
    path = getattr(getattr(error, "ctx", None), "command_path", "jobwarden")
    return f"{message}; see `{path} --help`"


def _tell(sentence: str, *, code: int) -> int:
    try:
        print(f"jobwarden: {sentence}", file=sys.stderr, flush=True)
    except OSError:  # a full disk behind it must not change the exit code
        _drop(sys.stderr)
    return code


def _fill_streams() -> None:
    """Started with a closed 0, 1 or 2: read nothing, print to nobody, and let no other file take that number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, descriptor == number)
            setattr(sys, name, os.fdopen(descriptor, mode))


def _drop(stream: TextIO) -> None:
    """Nobody takes what is written there any more; keep the interpreter's last flush from complaining about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
