"""Settings → what the rooms are given. The only file that knows the outside."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from adapters.passwords import Argon2Passwords
from adapters.phones import E164Phones
from adapters.seals import AesSeals, HmacDigests
from adapters.tokens import JwtTokens
from domain.identity import Phones, Seals
from domain.intake import Inbound
from domain.sessions import Digests, Passwords, Tokens
from launch.problem import Problem
from providers.catalogue_file import CatalogueFile
from providers.petpooja import Petpooja
from providers.wms import Wms
from settings import Settings, key_bytes

_PROVIDERS: tuple[Inbound, ...] = (Petpooja(), Wms(), CatalogueFile())
INBOUNDS = {one.provider: one for one in _PROVIDERS}
"""Every provider whose words we know, by its name in the paths."""


@dataclass(frozen=True)
class Wiring:
    settings: Settings
    engine: AsyncEngine

    async def ready(self) -> None:
        """Raises what is in the way of serving."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))


@dataclass(frozen=True)
class Trust:
    """What accounts, sessions and secrets rest on: one making of it from the keys, for servers and commands alike."""

    tokens: Tokens
    passwords: Passwords
    digests: Digests
    seals: Seals
    phones: Phones


def trust(settings: Settings) -> Trust:
    sealing = [key_bytes(key) for key in settings.sealing_keys]
    return Trust(
        JwtTokens(
            [key_bytes(key) for key in settings.signing_keys], settings.public_url or f"http://{settings.host}:{settings.port}"
        ),
        Argon2Passwords(),
        HmacDigests(sealing),
        AesSeals(sealing),
        E164Phones(),
    )


Worker = Callable[[Wiring], Awaitable[None]]
WORKERS: dict[str, Worker] = {}
"""The loops of `./haat work`, by name; each runs until it is cancelled."""


@asynccontextmanager
async def working(wiring: Wiring, names: Iterable[str]) -> AsyncIterator[None]:
    """Runs these loops beside the caller. One that ends by itself ends the process: whoever keeps it starts it anew."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            logging.getLogger("haat").error("worker %s ended", task.get_name(), exc_info=task.exception())
            os.kill(os.getpid(), signal.SIGTERM)

    async def run(worker: Worker) -> None:
        await worker(wiring)

    tasks = [asyncio.create_task(run(WORKERS[name]), name=name) for name in names]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def wire(settings: Settings) -> AsyncIterator[Wiring]:
    engine = open_engine(settings, settings.pool_size, "haat")
    try:
        yield Wiring(settings, engine)
    finally:
        await engine.dispose()


def open_engine(settings: Settings, pool_size: int, name: str) -> AsyncEngine:
    if settings.database_url is None:
        raise Problem("there is no database", "start ./haat up, or set HAAT_DATABASE_URL")
    return create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=settings.pool_overflow,
        pool_timeout=settings.pool_timeout_s,
        pool_pre_ping=True,
        pool_recycle=settings.pool_recycle_s,
        connect_args={
            "timeout": settings.database_connect_timeout_s,
            "command_timeout": settings.database_command_timeout_s,
            "server_settings": {
                "application_name": name,
                "statement_timeout": str(settings.statement_timeout_ms),
                "lock_timeout": str(settings.lock_timeout_ms),
                "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
            },
        },
    )
