"""Many hosts: the node's row names the locked file of its state directory; PostgreSQL and MariaDB begin here.

Written out, not taken from `schema.py`: a revision describes the past and never changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("node", sa.Column("state_lock", sa.String(64)))


def downgrade() -> None:
    op.drop_column("node", "state_lock")
