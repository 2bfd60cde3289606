"""The transaction of a command."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.addresses import SqlAddresses
from db.alerts import SqlAlerts
from db.answering import answering
from db.audit import SqlAudit
from db.batches import SqlBatches
from db.cart import SqlCarts
from db.choices import SqlChoices
from db.conflicts import SqlConflicts
from db.delivery import SqlDeliveries
from db.dispatch import SqlOffers
from db.events import SqlEventLog
from db.failures import SqlFailures
from db.health import SqlHealth
from db.idempotency import SqlIdempotency
from db.identity import SqlIdentity
from db.ids import new_code, new_id, new_number
from db.listings import SqlListings
from db.merchants import SqlMerchants
from db.orders import SqlOrders
from db.payloads import SqlPayloads
from db.payments import SqlPayments
from db.pictures import SqlPictures
from db.profiles import SqlProfiles
from db.pulling import SqlPulls
from db.purchases import SqlPurchases
from db.queue import SqlInstructions
from db.quotes import SqlQuotes
from db.replays import SqlReplays
from db.retention import SqlRetention
from db.riders import SqlRiders
from db.sessions import SqlSessions
from db.sources import SqlSources
from db.stock import SqlStock
from db.strays import SqlStrays
from db.telling import SqlTellings
from db.truth import SqlTruth
from db.undos import SqlUndos
from db.upserts import SqlCatalog
from domain.addresses import AddressStore
from domain.alerts import AlertStore
from domain.audit import AuditLog
from domain.batches import BatchStore
from domain.blobs import StrayStore
from domain.cart import CartStore
from domain.catalog import CatalogStore
from domain.choices import ChoiceStore
from domain.conflicts import ConflictStore
from domain.delivery import DeliveryStore
from domain.dispatch import OfferStore
from domain.events import Event, EventLog
from domain.failures import FailureStore
from domain.health import HealthStore
from domain.idempotency import IdempotencyStore
from domain.identity import IdentityStore
from domain.listings import ListingStore
from domain.merchants import MerchantStore
from domain.orders import OrderStore
from domain.payloads import PayloadStore
from domain.payments import PaymentStore
from domain.pictures import PictureStore
from domain.profile_versions import ProfileStore
from domain.pulling import PullStore
from domain.purchases import PurchaseStore
from domain.queue import InstructionStore
from domain.quotes import QuoteStore
from domain.replays import ReplayStore
from domain.retention import RetentionStore
from domain.riders import RiderStore
from domain.sessions import SessionStore
from domain.sources import SourceStore
from domain.stock import StockStore
from domain.telling import TellingStore
from domain.truth import TruthStore
from domain.undos import UndoStore
from domain.unit_of_work import UnitOfWork

NEW_IDS = iter(new_id, None)


@dataclass
class SqlUnitOfWork:
    connection: AsyncConnection
    gateway: str
    ids: Iterator[UUID]
    idempotency: IdempotencyStore
    carts: CartStore
    quotes: QuoteStore
    purchases: PurchaseStore
    orders: OrderStore
    deliveries: DeliveryStore
    offers: OfferStore
    riders: RiderStore
    payments: PaymentStore
    merchants: MerchantStore
    catalog: CatalogStore
    listings: ListingStore
    choices: ChoiceStore
    stock: StockStore
    events: EventLog
    identity: IdentityStore
    sessions: SessionStore
    addresses: AddressStore
    audit: AuditLog
    sources: SourceStore
    profiles: ProfileStore
    pulls: PullStore
    tellings: TellingStore
    health: HealthStore
    payloads: PayloadStore
    instructions: InstructionStore
    failures: FailureStore
    batches: BatchStore
    undos: UndoStore
    replays: ReplayStore
    truth: TruthStore
    conflicts: ConflictStore
    alerts: AlertStore
    strays: StrayStore
    retention: RetentionStore
    pictures: PictureStore

    def new_id(self) -> UUID:
        return next(self.ids)

    def new_number(self) -> str:
        return new_number()

    def new_code(self) -> str:
        return new_code()

    async def now(self) -> datetime:
        moment: datetime = (await self.connection.execute(select(func.clock_timestamp()))).scalar_one()
        return moment


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    with answering:
        yield


@asynccontextmanager
async def unit_of_work(
    engine: AsyncEngine,
    committed: Callable[[Sequence[Event]], None] = lambda _: None,
    gateway: str = "sandbox",
    ids: Iterator[UUID] = NEW_IDS,
    turns: AbstractAsyncContextManager[object] | None = None,
) -> AsyncIterator[UnitOfWork]:
    """One transaction. Leaving commits; any exception, cancellation included, rolls back. Refuses Unavailable.

    `committed` is told the events after a commit that appended any: it wakes the relay and must not wait.
    `gateway` is who takes what is not paid in cash. `ids` are what new things get, for who must know them beforehand.
    `turns` lets so many of a process in at once, in order: the others wait here, and not on each other's locks.
    """
    async with turns or nullcontext(), _answering(), engine.begin() as connection:
        events, audit = SqlEventLog(connection), SqlAudit(connection)
        yield SqlUnitOfWork(
            connection,
            gateway,
            ids,
            idempotency=SqlIdempotency(connection),
            carts=SqlCarts(connection),
            quotes=SqlQuotes(connection),
            purchases=SqlPurchases(connection),
            orders=SqlOrders(connection),
            deliveries=SqlDeliveries(connection),
            offers=SqlOffers(connection),
            riders=SqlRiders(connection),
            payments=SqlPayments(connection),
            merchants=SqlMerchants(connection),
            catalog=SqlCatalog(connection),
            listings=SqlListings(connection),
            choices=SqlChoices(connection),
            stock=SqlStock(connection),
            events=events,
            identity=SqlIdentity(connection),
            sessions=SqlSessions(connection),
            addresses=SqlAddresses(connection),
            audit=audit,
            sources=SqlSources(connection),
            profiles=SqlProfiles(connection),
            pulls=SqlPulls(connection),
            tellings=SqlTellings(connection),
            health=SqlHealth(connection),
            payloads=SqlPayloads(connection),
            instructions=SqlInstructions(connection),
            failures=SqlFailures(connection),
            batches=SqlBatches(connection),
            undos=SqlUndos(connection),
            replays=SqlReplays(connection),
            truth=SqlTruth(connection),
            conflicts=SqlConflicts(connection),
            alerts=SqlAlerts(connection),
            strays=SqlStrays(connection),
            retention=SqlRetention(connection),
            pictures=SqlPictures(connection),
        )
        await audit.append()
    if events.added:
        committed(events.added)
