from typing import Any

from db.migrate import upgrade
from settings import Settings
from terminal.database import address
from terminal.desk import Desk, at_desk
from terminal.ready import NOTHING, tell_of_the_town
from terminal.seed import seed_the_town


def prepare(settings: Settings, empty: bool) -> dict[str, Any]:
    """Migrates, and puts the demo town in unless `empty`; says what the ready line tells of it. Safe to repeat."""
    upgrade(address(settings))
    if empty:
        return NOTHING

    async def fill(desk: Desk) -> dict[str, Any]:
        await seed_the_town(desk)
        return await tell_of_the_town(desk)

    return at_desk(fill, settings)
