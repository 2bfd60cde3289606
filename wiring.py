"""Settings → what the rooms are given. The only file that knows the outside."""

import asyncio
import hmac
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import httpx2
import msgspec
from sqlalchemy import QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from adapters.alerts import AlertHandler, SlackAlerts
from adapters.blobs import DirectoryBlobs, open_blobs
from adapters.bus import open_bus
from adapters.cache import RedisShelf
from adapters.fetching import SafeFetch
from adapters.figures import PrometheusFigures
from adapters.gateways import NoGateway, SandboxGateway
from adapters.limits import NoLimits, RedisLimits
from adapters.logs import configure_logs
from adapters.messages import ConsoleMessages, NoMessages
from adapters.passwords import Argon2Passwords
from adapters.phones import E164Phones
from adapters.positions import open_positions
from adapters.seals import AesSeals, HmacDigests
from adapters.tokens import JwtTokens
from db.events import Beyond
from db.figures import backlog
from db.migrate import check_migrated
from db.mirror import SqlMirror
from db.pool import ping_the_idle
from db.reads import Reads
from db.relay import leadership
from db.unit_of_work import unit_of_work
from domain.alerts import Alerts, NoAlerts
from domain.blobs import Blobs, NoBlobs
from domain.bodies import Bodies
from domain.bus import Bus
from domain.cache import NoShelf
from domain.dispatch import Nearest
from domain.events import Event
from domain.figures import Reading
from domain.identity import Phones, Seals
from domain.intake import Inbound
from domain.limits import Limits
from domain.outbound import Outbound
from domain.pictures import IMAGE_BYTES
from domain.positions import Positions
from domain.retention import Kept
from domain.sessions import Digests, Passwords, Tokens
from domain.threads import Shares, Threads
from domain.unit_of_work import Begin
from launch.ending import Close, close, end
from launch.problem import Problem
from providers.catalogue_file import CatalogueFile
from providers.dotpe import Dotpe
from providers.generic import GENERICS
from providers.omuni import Omuni
from providers.petpooja import Petpooja
from providers.petpooja_orders import PetpoojaOrders
from providers.posist import Posist
from providers.shopify import Shopify
from providers.square import Square
from providers.till import Till
from providers.unicommerce import Unicommerce
from providers.urbanpiper import Urbanpiper
from providers.urbanpiper_orders import UrbanpiperOrders
from providers.vinculum import Vinculum
from providers.wms import Wms
from providers.wms_orders import WmsOrders
from resolvers.context import Ports
from resolvers.sessions import Sessions
from settings import Env, Settings, key_bytes
from subscriptions.cache import Cache
from subscriptions.hub import Hub
from workers.alerts import Watch
from workers.deadlines import Deadlines
from workers.dispatch import Dispatching
from workers.instructions import KEPT, Instructions
from workers.mirror import Mirror
from workers.pictures import Pictures
from workers.pulling import Pulling
from workers.relay import Hints, Relay
from workers.replays import Replays
from workers.retention import Retention
from workers.telling import Tellings
from workers.undos import Undos

ENDED_WITHIN_S, CLOSED_WITHIN_S = 2.0, 1.5
"""What runs is given so long to end, and what is open so long to be closed, beyond the grace of requests: whatever hangs,
the two are less than the five seconds that `up` gives a process."""

TOLD_WITHIN_S = 10.0
TOLD_BYTES = 64 * 1024  # of a till's answer: a yes or a no, and why
"""A till has so long to answer. What UrbanPiper's hub gives one is 5 s."""

LOGGERS = ("haat", "uvicorn.error", "asyncio")
"""Whose errors people are told: our own, and those of what runs us when something of ours was not caught."""
IMAGE_WITHIN_S = 15.0
TRIES, TRIES_EACH = 4, 1
"""Profiles that are tried at once on what came: by all who ask a process, and by one."""
_PROVIDERS: tuple[Inbound, ...] = (
    Petpooja(),
    Wms(),
    Vinculum(),
    Unicommerce(),
    CatalogueFile(),
    Till(),
    Urbanpiper(),
    Posist(),
    Dotpe(),
    Omuni(),
    Square(),
    Shopify(),
    *GENERICS,
)
INBOUNDS = {one.provider: one for one in _PROVIDERS}
"""Every provider whose words we know, by its name in the paths."""
_TOLD: tuple[Outbound, ...] = (PetpoojaOrders(), UrbanpiperOrders(), WmsOrders())
OUTBOUNDS = {one.provider: one for one in _TOLD}
"""Those whose tills and warehouses are told of orders."""


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
        JwtTokens([key_bytes(key) for key in settings.signing_keys], settings.public_url or "haat"),
        Argon2Passwords(),
        HmacDigests(sealing),
        AesSeals(sealing),
        E164Phones(),
    )


@dataclass(frozen=True)
class Wiring:
    """What one process is made of, whichever role it has."""

    settings: Settings
    engine: AsyncEngine
    intake_engine: AsyncEngine  # a pool of its own: browsing cannot starve the webhooks
    bus: Bus
    hub: Hub
    cache: Cache
    relay: Relay
    hints: Hints
    arrivals: Hints  # wakes whoever carries out what a door has kept
    ports: Ports
    figures: PrometheusFigures
    alerts: Alerts
    sandbox: SandboxGateway | None
    http: httpx2.AsyncClient
    turns: asyncio.Semaphore
    blobs: Blobs

    @cached_property
    def reads(self) -> Reads:
        return Reads(self.engine)

    @cached_property
    def intake_reads(self) -> Reads:
        return Reads(self.intake_engine)

    @property
    def unit_of_work(self) -> Begin:
        return partial(unit_of_work, self.engine, self.committed, self.ports.gateway.name, turns=self.turns)

    @property
    def intake_unit_of_work(self) -> Begin:
        return partial(unit_of_work, self.intake_engine, self.committed, self.ports.gateway.name)

    def committed(self, events: Sequence[Event]) -> None:
        """Who has written here reads here what was written: before the log has it, the cache knows."""
        self.cache.foretold([Beyond(None, one.topic.value, one.stream, one.entity, one.seq, one.concerns) for one in events])
        self.hints.committed()

    async def ready(self) -> None:
        """Raises what is in the way of serving. Redis is not: browsing and ordering go on without it."""
        await check_migrated(self.engine)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """For the sandbox gateway's webhook."""
        return (await self.http.post(url, content=body, headers=dict(headers))).status_code


async def _relay(wiring: Wiring) -> None:
    """The log, and beside it the commands: what keeps the one from being told is nothing to the other."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wiring.relay.run())
        tasks.create_task(Mirror(SqlMirror(wiring.engine), wiring.bus).run())


async def _instructions(wiring: Wiring) -> None:
    await Instructions(wiring.unit_of_work, wiring.reads, INBOUNDS, bus=wiring.bus, bodies=wiring.ports.bodies).run()


async def _deadlines(wiring: Wiring) -> None:
    await Deadlines(wiring.reads, wiring.unit_of_work, wiring.ports.gateway).run()


async def _dispatch(wiring: Wiring) -> None:
    await Dispatching(wiring.reads, wiring.unit_of_work, wiring.ports.positions, wiring.bus, Nearest()).run()


async def _replays(wiring: Wiring) -> None:
    await Replays(wiring.unit_of_work).run()


async def _undos(wiring: Wiring) -> None:
    await Undos(wiring.unit_of_work).run()


async def _alerts(wiring: Wiring) -> None:
    await Watch(wiring.unit_of_work, wiring.alerts, wiring.settings.alerts_relay_lag_s).run()


async def _pulling(wiring: Wiring) -> None:
    fetch = SafeFetch(loopback=wiring.settings.env is not Env.PRODUCTION)
    kept, bodies = wiring.arrivals.committed, wiring.ports.bodies
    await Pulling(wiring.reads, wiring.unit_of_work, INBOUNDS, wiring.ports.seals, fetch, kept=kept, bodies=bodies).run()


async def _retention(wiring: Wiring) -> None:
    settings = wiring.settings
    kept = Kept.of_days(settings.payload_inline_days, settings.payload_body_days, settings.payload_days)
    await Retention(wiring.unit_of_work, wiring.blobs, wiring.ports.bodies, kept).run()


async def _pictures(wiring: Wiring) -> None:
    if isinstance(wiring.blobs, NoBlobs):  # what is wanted waits for one
        await asyncio.Event().wait()
    fetch = SafeFetch(loopback=wiring.settings.env is not Env.PRODUCTION, timeout_s=IMAGE_WITHIN_S, most_bytes=IMAGE_BYTES)
    await Pictures(wiring.unit_of_work, fetch, wiring.blobs).run()


async def _telling(wiring: Wiring) -> None:
    fetch = SafeFetch(loopback=wiring.settings.env is not Env.PRODUCTION, timeout_s=TOLD_WITHIN_S, most_bytes=TOLD_BYTES)
    await Tellings(wiring.reads, wiring.unit_of_work, OUTBOUNDS, wiring.ports.seals, fetch, wiring.bus).run()


Worker = Callable[[Wiring], Awaitable[None]]
WORKERS: Mapping[str, Worker] = {
    "relay": _relay,
    "instructions": _instructions,
    "deadlines": _deadlines,
    "dispatch": _dispatch,
    "replays": _replays,
    "undos": _undos,
    "pulling": _pulling,
    "telling": _telling,
    "alerts": _alerts,
    "retention": _retention,
    "pictures": _pictures,
}
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
        await end(tasks, ENDED_WITHIN_S)


def start_logs(settings: Settings) -> None:
    """Of a process that serves or works: everything that is logged from here on goes one way."""
    configure_logs(settings.log_level)


@asynccontextmanager
async def wire(settings: Settings, workers: Iterable[str] = ()) -> AsyncIterator[Wiring]:
    """`workers` are the loops this process will run: one that has the relay wakes it without the bus."""
    names = set(workers)
    closings: dict[str, Close] = {}
    async with AsyncExitStack() as open_things:
        open_things.push_async_callback(close, closings, CLOSED_WITHIN_S)
        engine = open_engine(settings, settings.pool_size, "haat")
        closings["database"] = engine.dispose
        intake_engine = open_engine(settings, settings.intake_pool_size, "haat intake")
        closings["database of the intake"] = intake_engine.dispose
        redis_url = None if settings.redis_url is None or settings.in_memory else settings.redis_url.get_secret_value()
        bus = open_bus(redis_url or "memory://")
        await bus.start()
        closings["bus"] = bus.stop
        limits = RedisLimits(redis_url, key_bytes(settings.sealing_keys[0])) if settings.rate_limits else NoLimits()
        closings["limits"] = limits.close
        shelf = RedisShelf(redis_url) if redis_url and settings.cache_bytes else None
        if shelf is not None:
            closings["cache"] = shelf.close
        positions = open_positions(redis_url)
        closings["positions"] = positions.close
        relay = Relay(partial(leadership, engine), bus)
        hub = Hub(bus, Reads(engine))
        http = httpx2.AsyncClient(timeout=10)
        closings["http"] = http.aclose
        blobs = open_store(settings)
        sandbox = None if settings.env is Env.PRODUCTION else SandboxGateway(_sandbox_key(settings))
        figures = open_figures(settings, engine, intake_engine, bus)
        telling = asyncio.create_task(figures.run(), name="figures")
        open_things.push_async_callback(end, [telling], ENDED_WITHIN_S)
        alerts = await open_things.enter_async_context(alerting(settings, figures))
        yield Wiring(
            settings,
            engine,
            intake_engine,
            bus,
            hub,
            Cache(hub, shelf or NoShelf(), settings.cache_bytes),
            relay,
            Hints(bus, relay if "relay" in names else None),
            Hints(bus, None, KEPT),
            open_ports(settings, engine, bus, sandbox, limits, positions, blobs),
            figures,
            alerts,
            sandbox,
            http,
            asyncio.Semaphore(settings.writes_at_once),
            blobs,
        )


@asynccontextmanager
async def alerting(settings: Settings, figures: PrometheusFigures) -> AsyncIterator[Alerts]:
    """Whatever logs an error alerts too, for as long as this lasts."""
    if settings.alerts_url is None:
        yield NoAlerts()
        return
    name = f"Haat {settings.env.value} on {socket.gethostname()}"
    alerts = SlackAlerts(settings.alerts_url.get_secret_value(), name, figures)
    handler = AlertHandler(alerts)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    sending = asyncio.create_task(alerts.run(), name="alerts")
    try:
        yield alerts
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        await end([sending], ENDED_WITHIN_S)
        await close({"alerts": alerts.close}, 1.0)


def open_figures(settings: Settings, engine: AsyncEngine, intake_engine: AsyncEngine, bus: Bus) -> PrometheusFigures:
    async def connections() -> Sequence[Reading]:
        pools = (("apps", engine.pool, settings.pool_size), ("intake", intake_engine.pool, settings.intake_pool_size))
        return [
            Reading("pool_connections", count, {"pool": name, "state": state})
            for name, pool, size in pools
            if isinstance(pool, QueuePool)
            for state, count in (("in use", pool.checkedout()), ("most", size + settings.pool_overflow))
        ]

    async def joined() -> Sequence[Reading]:
        return [Reading("bus_up", bus.up)]

    return PrometheusFigures({"backlog": partial(backlog, Reads(engine))}, {"connections": connections, "bus": joined})


def open_ports(
    settings: Settings,
    engine: AsyncEngine,
    bus: Bus,
    sandbox: SandboxGateway | None,
    limits: Limits,
    positions: Positions,
    blobs: Blobs,
) -> Ports:
    ours = trust(settings)
    return Ports(
        tokens=ours.tokens,
        passwords=ours.passwords,
        digests=ours.digests,
        seals=ours.seals,
        phones=ours.phones,
        messages=NoMessages() if settings.env is Env.PRODUCTION else ConsoleMessages(),
        limits=limits,
        sessions=Sessions(Reads(engine)),
        gateway=sandbox or NoGateway(),
        inbounds=INBOUNDS,
        outbounds=OUTBOUNDS,
        url=(settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/"),
        bus=bus,
        positions=positions,
        bodies=Bodies(blobs, settings.payload_inline_bytes),
        tries=Shares(Threads("tries", TRIES), TRIES_EACH),
    )


def open_store(settings: Settings) -> Blobs:
    """In production a directory is only believed where it is named: it may be of one machine of many."""
    if settings.blob_url is not None:
        return open_blobs(settings.blob_url)
    return NoBlobs() if settings.env is Env.PRODUCTION else DirectoryBlobs(settings.data.resolve() / "blobs")


def open_bodies(settings: Settings) -> Bodies:
    """For commands."""
    return Bodies(open_store(settings), settings.payload_inline_bytes)


def _sandbox_key(settings: Settings) -> bytes:
    """Every process must make the same references, and recognise the same signatures."""
    return hmac.digest(key_bytes(settings.sealing_keys[0]), b"the sandbox gateway", "sha256")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def open_engine(settings: Settings, pool_size: int, name: str) -> AsyncEngine:
    if settings.database_url is None:
        raise Problem("there is no database", "start ./haat up, or set HAAT_DATABASE_URL")
    engine = create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=settings.pool_overflow,
        pool_timeout=settings.pool_timeout_s,
        pool_recycle=settings.pool_recycle_s,
        json_serializer=_json,
        json_deserializer=msgspec.json.decode,
        hide_parameters=True,  # an error is logged, and what was asked with may be anybody's
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
    ping_the_idle(engine)
    return engine
