"""The operator's desk over a database of the tests."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.passwords import Argon2Passwords
from db.reads import Reads
from launch.load import load
from terminal.desk import Desk
from tests.callers import CHEAP
from wiring import trust


def desk_of(engine: AsyncEngine, database_url: str, data: Path) -> Desk:
    settings = load(data=data, database_url=database_url, public_url="http://127.0.0.1:9")
    return Desk(settings, engine, Reads(engine), replace(trust(settings), passwords=Argon2Passwords(CHEAP)))
