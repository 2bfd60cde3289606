"""The one transaction of a command, as the domain sees it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
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
    from domain.events import EventLog
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


class UnitOfWork(Protocol):
    """One transaction, and the stores that write in it.

    Locks are taken in one order, whoever needs several: idempotency, cart, quote, purchase, orders by id, delivery,
    rider, offers, payment, stock by id, holds; last of all, as it commits, the heads of the audit's chains.
    """

    idempotency: "IdempotencyStore"
    carts: "CartStore"
    quotes: "QuoteStore"
    purchases: "PurchaseStore"
    orders: "OrderStore"
    deliveries: "DeliveryStore"
    offers: "OfferStore"
    riders: "RiderStore"
    payments: "PaymentStore"
    merchants: "MerchantStore"
    catalog: "CatalogStore"
    listings: "ListingStore"
    choices: "ChoiceStore"
    stock: "StockStore"
    events: "EventLog"
    identity: "IdentityStore"
    sessions: "SessionStore"
    addresses: "AddressStore"
    audit: "AuditLog"
    sources: "SourceStore"
    profiles: "ProfileStore"
    pulls: "PullStore"
    tellings: "TellingStore"
    health: "HealthStore"
    payloads: "PayloadStore"
    instructions: "InstructionStore"
    failures: "FailureStore"
    batches: "BatchStore"
    undos: "UndoStore"
    replays: "ReplayStore"
    truth: "TruthStore"
    conflicts: "ConflictStore"
    alerts: "AlertStore"
    strays: "StrayStore"
    retention: "RetentionStore"
    pictures: "PictureStore"
    gateway: str  # the payment provider's name for what is not paid in cash

    def new_id(self) -> UUID:
        """A UUIDv7: later ones sort later."""

    def new_number(self) -> str:
        """What people call an order or a purchase by: eight characters none of which looks like another."""

    def new_code(self) -> str:
        """A handover code: four digits nobody can guess from another."""

    async def now(self) -> datetime:
        """The database's clock, which decides all that expires."""


Begin = Callable[[], AbstractAsyncContextManager[UnitOfWork]]
