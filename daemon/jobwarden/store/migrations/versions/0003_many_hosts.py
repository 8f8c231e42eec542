"""Many hosts: the node's row names the locked file of its state directory; PostgreSQL and MariaDB begin here.

Written out, not taken from `schema.py`: a revision describes the past and never changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobwarden.store.migrations import first_mariadb, first_postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    match op.get_bind().dialect.name:
        case "sqlite":
            op.add_column("node", sa.Column("state_lock", sa.String(64)))
        case "postgresql":
            for statement in first_postgresql.STATEMENTS:
                op.execute(statement)
        case "mariadb":
            for statement in first_mariadb.STATEMENTS:
                op.execute(statement)
        case name:
            message = f"no revision makes a store in {name}"
            raise NotImplementedError(message)


def downgrade() -> None:
    op.drop_column("node", "state_lock")
