from db.migrate import downgrade, upgrade
from settings import Settings
from terminal.database import address
from terminal.said import say


def migrate(settings: Settings, down: str | None) -> None:
    """To the newest schema, or back to `down`. One at a time on a database: the others wait."""
    url = address(settings)
    if down is None:
        upgrade(url)
    else:
        downgrade(url, down)
    say(f"the schema is at {down or 'its head'}")
