"""Names of secret payload fields by job type: views mask them also while no daemon runs.

Written out, not taken from `schema.py`: a revision describes the past and never changes. Daemons of the version before
neither read nor write this table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_MARIADB = """
CREATE TABLE IF NOT EXISTS secret_field (
    job_type varchar(255) NOT NULL,
    name varchar(255) NOT NULL,
    PRIMARY KEY (job_type, name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin
  COMMENT = 'jobwarden; made by revision 0004'
"""

_POSTGRESQL = """
CREATE TABLE secret_field (
    job_type text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (job_type, name)
)
"""


def upgrade() -> None:
    match op.get_bind().dialect.name:
        case "mariadb":
            op.execute(_MARIADB)
        case "postgresql":
            op.execute(_POSTGRESQL)
        case _:
            op.create_table(
                "secret_field",
                sa.Column("job_type", sa.String(255), primary_key=True),
                sa.Column("name", sa.String(255), primary_key=True),
            )


def downgrade() -> None:
    op.drop_table("secret_field")
