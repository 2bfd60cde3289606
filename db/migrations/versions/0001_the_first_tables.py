"""The first tables."""

from uuid import uuid4

from alembic import op

from db.tables import log_epoch, metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
    op.get_bind().execute(log_epoch.insert().values(epoch=uuid4().hex[:8]))


def downgrade() -> None:
    metadata.drop_all(op.get_bind())
