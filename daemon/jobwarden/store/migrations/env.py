"""Alembic's entry: runs the revisions on the connection that `upgrade` handed over, in its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import context

from jobwarden.store.migrations import version_table
from jobwarden.store.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from alembic.runtime.migration import MigrationContext, MigrationInfo


def _note(
    ctx: MigrationContext,  # noqa: ARG001 - Alembic calls by these names
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    context.config.attributes["applied"].extend(step.up_revision_ids)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=version_table(context.config.attributes["connection"]),
    on_version_apply=_note,
    render_as_batch=True,
)
context.run_migrations()
