"""A small schema in the shape of the contract, and its door on a real socket of this process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, cast
from uuid import UUID, uuid4

import httpx2
import strawberry
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from db.reads import Reads
from domain.identity import ANYBODY, Actor, ActorKind, Role
from domain.refusals import Conflict, InvalidInput, Problem, RateLimited, Refused, Unauthenticated, Unavailable
from domain.sessions import Claims
from launch.ports import bind
from launch.sockets import Sockets
from resolvers.context import Ports
from resolvers.loaders import Loaders
from schema.build import Schema, build
from schema.callers import Rules
from schema.http import HttpDoor
from schema.roots import ID, Allow, Api, Info
from schema.scalars import Money, PointInput
from subscriptions.following import Following
from tests.waiting import until

SOON = timedelta(minutes=10)
ran: list[str] = []
"""Every root field that was resolved, in order."""
feeding: list[str] = []
"""Feeds that run now."""


@strawberry.type
class PageInfo:
    has_next_page: bool = False


@strawberry.type
class Category:
    name: str = "Fruit"


@strawberry.type
class Product:
    name: str = "Apple"
    category: Category | None = None


@strawberry.type
class Listing:
    id: ID = ID("1")
    sku: str = "A"

    @strawberry.field
    def product(self) -> Product:
        return Product(category=Category())

    @strawberry.field
    def price(self) -> Money:
        return Money(amount=Decimal("249.00"), currency="INR")

    @strawberry.field
    def store(self) -> "Store":
        return Store()

    @strawberry.field
    def siblings(self) -> list["Listing"]:
        return [Listing()]


@strawberry.type
class ListingEdge:
    cursor: str = "c"
    node: Listing = strawberry.field(default_factory=Listing)


@strawberry.type
class ListingConnection:
    @strawberry.field
    def edges(self) -> list[ListingEdge]:
        return [ListingEdge()]

    @strawberry.field
    def nodes(self) -> list[Listing]:
        return [Listing()]

    page_info: PageInfo = strawberry.field(default_factory=PageInfo)
    total_count: int = 1


@strawberry.type
class Store:
    id: ID = ID("1")
    name: str = "Corner"

    @strawberry.field
    def listings(self, first: int = 20, after: str | None = None) -> ListingConnection:
        return ListingConnection()


@strawberry.type
class StoreEdge:
    node: Store = strawberry.field(default_factory=Store)


@strawberry.type
class StoreConnection:
    @strawberry.field
    def edges(self) -> list[StoreEdge]:
        return [StoreEdge()]

    @strawberry.field
    def nodes(self) -> list[Store]:
        return [Store()]


@strawberry.type
class Done:
    count: int


@strawberry.type
class NotDone:
    message: str


Result = Annotated[Done | NotDone, strawberry.union("Result")]


@strawberry.type
class Query:
    @strawberry.field
    async def viewer(self, info: Info) -> str | None:
        ran.append("viewer")
        actor = info.context.actor
        return None if actor is ANYBODY else str(actor)

    @strawberry.field
    async def stores(self, near: PointInput | None = None, first: int = 20, after: str | None = None) -> StoreConnection:
        ran.append("stores")
        return StoreConnection()

    @strawberry.field
    async def search(self, text: str, first: int = 20) -> ListingConnection:
        ran.append("search")
        return ListingConnection()

    @strawberry.field
    async def at(self, time: datetime, price: Decimal = Decimal("1.00")) -> datetime:
        ran.append("at")
        return time

    @strawberry.field(extensions=[Allow(Role.CUSTOMER)])
    async def customer(self) -> Store:
        ran.append("customer")
        return Store()

    @strawberry.field
    async def refused(self, how: str) -> str | None:
        ran.append("refused")
        match how:
            case "conflict":
                raise Refused(Conflict("somebody was first"))
            case "input":
                raise Refused(InvalidInput("no", (Problem("input.point.lat", "must be from -90 to 90"),)))
            case "rate":
                raise Refused(RateLimited("later", datetime.now(UTC) + timedelta(seconds=30)))
            case "away":
                raise Refused(Unavailable("the database is away"))
        raise RuntimeError(f"a bug about +919876543210 and {how}")

    @strawberry.field
    async def wrong_type(self) -> int:
        return cast("int", "not a number at all")

    @strawberry.field
    async def needed(self) -> str:
        raise Refused(Conflict("and so there is no data"))

    @strawberry.field
    async def brief(self) -> str:
        ran.append("brief")
        await asyncio.sleep(0.5)
        return "done"

    @strawberry.field
    async def slow(self) -> str:
        ran.append("slow")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ran.append("cancelled")
            raise
        return "done"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def add(self, units: int = 1) -> Done:
        ran.append("add")
        return Done(count=units)


@strawberry.type
class Frame:
    reset: bool
    number: int


@strawberry.type
class Placed:
    cursor: str


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, up_to: int = 3) -> AsyncIterator[Frame]:
        for number in range(up_to):
            yield Frame(reset=number == 0, number=number)

    @strawberry.subscription
    async def after(self, after: str | None = None) -> AsyncIterator[Placed]:
        """Ten places, from the one after the last that was seen."""
        for number in range(int(after or 0) + 1, 11):
            yield Placed(cursor=str(number))

    @strawberry.subscription
    async def ever(self, every_s: float = 0.01, size: int = 1) -> AsyncIterator[str]:
        feeding.append("ever")
        try:
            while True:
                yield "x" * size
                await asyncio.sleep(every_s)
        finally:
            feeding.remove("ever")

    @strawberry.subscription
    async def silent(self) -> AsyncIterator[str]:
        feeding.append("silent")
        try:
            yield "begun"
            await asyncio.Event().wait()
        finally:
            feeding.remove("silent")

    @strawberry.subscription(extensions=[Allow(Role.CUSTOMER)])
    async def mine(self) -> AsyncIterator[str]:
        yield "mine"

    @strawberry.subscription
    async def breaking(self) -> AsyncIterator[str]:
        yield "once"
        raise RuntimeError("a bug about +919876543210")


def schema() -> Schema:
    return build(Query, Mutation, Subscription)


@dataclass
class Limited:
    """Budgets that are empty where they are told to be."""

    empty: set[str] = field(default_factory=set)
    taken: list[tuple[str, str, int]] = field(default_factory=list)

    async def hit(self, name: str, key: str, cost: int = 1) -> datetime | None:
        self.taken.append((name, key, cost))
        return datetime.now(UTC) + timedelta(seconds=9.5) if name in self.empty else None

    async def clear(self, name: str, key: str) -> None: ...


@dataclass
class Counted:
    operations: list[tuple[str, str]] = field(default_factory=list)
    open_sockets: int = 0
    open_feeds: int = 0

    def operation(self, field: str, code: str, seconds: float) -> None:
        self.operations.append((field, code))

    def sockets(self, change: int) -> None:
        self.open_sockets += change

    def feeds(self, change: int) -> None:
        self.open_feeds += change

    def webhook(self, provider: str, verdict: str) -> None: ...


@dataclass
class Stall:
    """A door that serves. Tokens are what `token` gives out."""

    door: HttpDoor
    limits: Limited
    figures: Counted
    port: int = 0
    claims: dict[str, Claims] = field(default_factory=dict)
    over: set[UUID] = field(default_factory=set)
    away: bool = False
    hangs: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/graphql"

    def token(self, user: UUID | None = None, kind: ActorKind = ActorKind.CUSTOMER, lasts: timedelta = SOON) -> str:
        token = uuid4().hex
        self.claims[token] = Claims(Actor(kind, user or uuid4(), uuid4()), datetime.now(UTC) + lasts)
        return token

    async def authenticate(self, token: str) -> Claims:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise Refused(Unavailable("nobody can be asked"))
        if token not in self.claims:
            raise Refused(Unauthenticated("sign in again"))
        return self.claims[token]

    def client(self, **headers: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(headers=headers, timeout=20)

    async def ask(self, query: str, variables: dict[str, Any] | None = None, **headers: str) -> Any:
        async with self.client(**headers) as client:
            answer = await client.post(self.url, json={"query": query, "variables": variables})
            return answer.json()

    def socket(self, protocols: Sequence[str] = ("graphql-transport-ws",), **options: Any) -> Any:
        spoken = [websockets.Subprotocol(one) for one in protocols] or None
        return websockets.connect(f"ws://127.0.0.1:{self.port}/graphql", subprotocols=spoken, **options)


def make(rules: Rules) -> Stall:
    limits, figures = Limited(), Counted()
    ports = cast("Ports", SimpleNamespace(limits=limits))
    reads = cast("Reads", None)

    def context(actor: Actor, remote: str) -> Api:
        return Api(actor, reads, cast("Any", None), Loaders(reads), ports, remote, hub=Following(cast("Any", None)))

    async def authenticate(token: str) -> Claims:
        return await stall.authenticate(token)

    async def ended(sessions: Any) -> set[UUID]:
        return stall.over & set(sessions)

    stall = Stall(HttpDoor(schema(), context, authenticate, ended, figures, rules), limits, figures)
    return stall


@asynccontextmanager
async def serving(rules: Rules = Rules()) -> AsyncIterator[Stall]:
    stall = make(rules)
    app = Starlette(routes=[Route("/graphql", stall.door), WebSocketRoute("/graphql", stall.door)])
    listening = bind("127.0.0.1", 0)
    stall.port = listening.getsockname()[1]
    config = uvicorn.Config(
        app,
        http="httptools",
        ws=Sockets,
        ws_max_size=200_000,  # past our own limit, which is to be seen
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await until(lambda: server.started)
        yield stall
    finally:
        server.should_exit = True
        await serving
