"""Options that are made from data or shared by several commands, put into the signatures that typer reads.

A command takes such options as `**given`; a decorator made with `extended` names them. Used by the modules that
define commands; it must never judge a value.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def option(
    name: str, kind: Any, *flags: str, about: str, metavar: str | None = None, default: Any = None
) -> inspect.Parameter:
    """One option of a command. `kind` is its type, `about` its help; `default` means that it was not given."""
    settings = typer.Option(*flags, metavar=metavar, help=about, show_default=False)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, settings])


def extended(command: Callable[..., None], options: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """The command, which takes `**given`, with these options in its signature instead."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    kept = [each for each in own if each.kind is not inspect.Parameter.VAR_KEYWORD]
    signature = inspect.Signature([*kept, *options])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return command
