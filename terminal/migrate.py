from db.migrate import downgrade, upgrade
from settings import Settings
from terminal.said import say
from terminal.serve import with_servers


def migrate(settings: Settings, down: str | None) -> None:
    """To the newest schema, or back to `down`. One at a time on a database: the others wait."""
    url = with_servers(settings).database_url
    if url is None:
        return
    if down is None:
        upgrade(url.get_secret_value())
    else:
        downgrade(url.get_secret_value(), down)
    say(f"the schema is at {down or 'its head'}")
