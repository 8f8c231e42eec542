"""Make `config/README.md` and `config/jobwarden.toml` from `Settings`; a test compares them with the files.

python -m jobwarden.settings.docs > config/README.md
python -m jobwarden.settings.docs toml > config/jobwarden.toml
"""

from __future__ import annotations

import json
import sys
import textwrap

from jobwarden.settings.changes import ONLY_AT_A_START
from jobwarden.settings.describe import accepts, default_text
from jobwarden.settings.model import HANDLER_ENVIRONMENT, OPTIONS
from jobwarden.settings.pool import PoolOptions
from jobwarden.settings.secret_files import CREDENTIALS

_CHAPTERS = {
    "database_url": "Where the jobs are",
    "handlers": "The code that runs them",
    "secret_fields": "What nobody is told",
    "state_dir": "This daemon's own folder",
    "user": "As whom they run",
    "workers": "The workers",
    "default_timeout_ms": "Limits of a job",
    "lease_seconds": "Life and death of a daemon",
    "retention_completed_days": "How long ended jobs are kept",
    "log_level": "The log",
}
"""Headings, each before the option that it begins with."""

_WIDTH = 100

_PAGE = """\
# Options

This page and `jobwarden.toml` beside it are made from the class `Settings` in
`daemon/jobwarden/settings/model.py`, by `python -m jobwarden.settings.docs`. `jobwarden check` lists all
that is wrong with a configuration; `jobwarden run` refuses to start with the same words.

An option is taken from the first place that has it:

1. a flag of `jobwarden run`: `--kill-grace-seconds 5`
2. the environment: `JOBWARDEN_KILL_GRACE_SECONDS=5` (an empty variable counts as not set)
3. systemd's credentials, for {credentials}: `LoadCredential=database_password:/etc/jobwarden/password`
   in the unit
4. the files `conf.d/*.toml` beside the config file, by name, the last one first; the pools of all files add up
5. the TOML file: `kill_grace_seconds = 5`; `--config FILE` names it, else the variable `JOBWARDEN_CONFIG`,
   else no file is read
6. the default

`jobwarden config show` prints what is in force and where each value comes from. `jobwarden config schema` prints
a JSON Schema for editors: write `#:schema jobwarden.schema.json` into the first line of the file for those that
know the Taplo language server.

An unknown key in the file and an unknown variable that begins with `JOBWARDEN_` are errors. No options are
the variables `JOBWARDEN_CONFIG`, `JOBWARDEN_NODE` (the daemon marks its processes with it) and all that
begin with `JOBWARDEN_TEST_`. A relative path, also that in a `sqlite:///` URL, is relative to the directory
in which the command is started, not to the file. In the environment and in flags a list is written with
commas (that of `redact` as JSON, or one pattern alone), `none` means no value, and `yes`, `on`, `1` mean
true as `no`, `off`, `0` mean false; the flags of an option that is true or false are `--strict-modes` and
`--no-strict-modes`.

After a change, run `jobwarden reload` or send the daemon SIGHUP. What belongs to a pool applies at once or with the
generation that is loaded then; {restart}
need a restart, as does a pool that is added or removed: log and `status` name what waits for one. All else is live.
A file with a mistake in it changes nothing.

| option | default | takes | meaning |
|---|---|---|---|
{rows}

## Pools

Without more, all workers are one pool, called `default`. Pools of their own keep heavy work from holding up quick work,
and give a directory of handlers its own interpreter, user and limits. Each `[[pool]]` in the file has a `name` and any
of the options marked with `*` in the table; what it leaves out it takes from the top of the file:

```toml
{example}
```

The order of places is the same as above: a flag or variable wins over every pool. No two pools share a directory, and
none lies inside another one's. A job type belongs to one pool; whoever loads it second is told which file has it.
`jobwarden run --pool NAME` runs only that pool (repeat it for more), so that several daemons can share one file, each
with a `--state-dir` of its own. `--once` and `--burst` run the jobs of one pool.

`[handlers]` with `directory`, `python` and `watch` is another spelling of `handlers`, `python` and `watch`.

## What handlers see

Handlers see these environment variables and those named in `worker_environment`, and no others:
{environment}. A name that ends in `*` stands for all that begin so.
"""

_EXAMPLE = """\
[[pool]]
name = "quick"
handlers = "handlers/quick"

[[pool]]
name = "heavy"
handlers = "handlers/heavy"
python = "heavy/.venv/bin/python"
workers = 2
nice = 10
memory_limit_mb = 2_048\
"""

_FILE_TAIL = """

# Pools ----------------------------------------------------------------------------------------------
#
# Each has a name and any of the options above from `handlers` to `captured_output_bytes`; config/README.md
# tells more. These tables come last in the file.
#
"""

_FILE_HEAD = """\
# Every option of jobwarden with its default. The files conf.d/*.toml beside this one, systemd's credentials,
# JOBWARDEN_... variables and flags win over it.
# Relative paths are relative to the directory in which `jobwarden` is started.
# Made by `python -m jobwarden.settings.docs toml`; config/README.md has the same as a table.
"""


def options_page() -> str:
    """The text of `config/README.md`."""
    environment = ", ".join(f"`{name}`" for name in HANDLER_ENVIRONMENT)
    restart = ", ".join(f"`{name}`" for name in ONLY_AT_A_START)
    rows = "\n".join(_row(name) for name in OPTIONS)
    credentials = " and ".join(f"`{name}`" for name in CREDENTIALS)
    return _PAGE.format(rows=rows, environment=environment, restart=restart, credentials=credentials, example=_EXAMPLE)


def options_file() -> str:
    """The text of `config/jobwarden.toml`: every option with its default, one without stands in a comment."""
    example = textwrap.indent(_EXAMPLE, "#     ", predicate=lambda _line: True).replace("#     \n", "#\n")
    return _FILE_HEAD + "".join(_chapter(name) + _entry(name) for name in OPTIONS) + _FILE_TAIL + example + "\n"


def _row(name: str) -> str:
    default = default_text(name)
    shown = "none" if default is None else f"`{default}`"
    mark = "*" if name in PoolOptions.model_fields else ""
    return f"| `{name}`{mark} | {shown} | {accepts(name)} | {OPTIONS[name].description} |"


def _chapter(name: str) -> str:
    heading = _CHAPTERS.get(name)
    return f"\n\n# {heading} {'-' * (_WIDTH - len(heading) - 3)}\n" if heading else ""


def _entry(name: str) -> str:
    field, default = OPTIONS[name], default_text(name)
    text = f"{field.description} Takes {accepts(name)}."
    comment = textwrap.fill(text, width=_WIDTH, initial_indent="# ", subsequent_indent="# ")
    line = f"{name} = {default}" if default else f"# {name} = {json.dumps((field.examples or ['...'])[0])}"
    return f"\n{comment}\n{line}\n"


if __name__ == "__main__":
    sys.stdout.write(options_file() if sys.argv[1:] == ["toml"] else options_page())
