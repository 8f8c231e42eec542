"""`jobwarden run` and `migrate`: the daemon's own commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, find_url
from jobwarden.cli.printing import print_json
from jobwarden.cli.setting_flags import with_a_flag_per_setting
from jobwarden.errors import InvalidJobError
from jobwarden.settings import load_settings

if TYPE_CHECKING:
    from jobwarden.supervisor.terms import Errand


@with_a_flag_per_setting
def run_command(
    *,
    once: Annotated[bool, typer.Option("--once", help="Claim ready jobs once, run them, and end.")] = False,
    burst: Annotated[bool, typer.Option("--burst", help="Run jobs until nothing is ready, and end.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            help="With --once or --burst: at most so many jobs; by default 100 with --once.", show_default=False
        ),
    ] = None,
    job_type: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="With --once or --burst: only this type; repeat it for more.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    **flags: object,
) -> None:
    """Run the daemon in the foreground.

    It ends with SIGTERM or SIGINT. With --once or --burst it runs what is ready, prints {"processed": N} on standard
    output, and ends with 0, also if jobs failed; 1 says that the handlers or the database cannot be used.
    """
    errand = _errand(once=once, burst=burst, limit=limit, types=job_type or [])
    settings = load_settings(config=config, flags=flags)
    from jobwarden.supervisor.start import start

    if errand is not None and len(settings.pools) > 1:
        names = ", ".join(pool.name for pool in settings.pools)
        raise InvalidJobError("pool", f"is missing; --once and --burst run the jobs of one pool: name one of {names}")
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    start(settings, config=config, flags=given, errand=errand)


def _errand(*, once: bool, burst: bool, limit: int | None, types: list[str]) -> Errand | None:
    """What is to be processed by hand; None for a daemon that stays. Raises InvalidJobError."""
    from jobwarden.client.arguments import LARGEST_PAGE

    if once and burst:
        raise InvalidJobError("burst", "goes on where --once ends; give one of the two")
    if not (once or burst):
        for name, value in (("limit", limit), ("type", types)):
            if value not in (None, []):
                raise InvalidJobError(name, "is for --once and --burst only; add one of them")
        return None
    if limit is not None and not 1 <= limit <= LARGEST_PAGE:
        raise InvalidJobError("limit", f"{limit} is not possible; give an integer from 1 to {LARGEST_PAGE}")
    if "" in types:
        raise InvalidJobError("type", "is empty; name a job type")
    from jobwarden.supervisor.terms import Errand

    return Errand(burst=burst, limit=limit, types=tuple(dict.fromkeys(types)))


def migrate_command(*, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Bring the tables to this version's schema.

    Creates them if there are none.
    """
    from jobwarden.settings import examine_settings
    from jobwarden.store.dialects import StoreOptions, dialect_for
    from jobwarden.store.store import Store

    settings, _problems = examine_settings(config=config, flags={})  # of which only those of the URL matter here
    options = StoreOptions(file_mode=settings.file_mode)
    store = Store(dialect_for(find_url(database_url, config), options))
    try:
        applied = store.migrate()
        revision = store.schema_revision()
    finally:
        store.close()
    if as_json:
        print_json({"applied": applied, "revision": revision})
    else:
        print(f"schema {revision}: {'applied ' + ', '.join(applied) if applied else 'nothing to do'}")
