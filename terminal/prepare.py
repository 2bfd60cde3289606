from typing import Any

from db.migrate import upgrade
from settings import Settings
from terminal.database import address


def prepare(settings: Settings, empty: bool) -> dict[str, Any]:
    """Migrates, and fills an empty database with the demo town unless `empty`. Safe to repeat."""
    upgrade(address(settings))
    return {}
