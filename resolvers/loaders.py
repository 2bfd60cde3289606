"""Batched reads: what fields of one operation ask for one by one goes to the database as one statement."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import TypeVar
from uuid import UUID

from aiodataloader import DataLoader

from db import (
    batches,
    catalog,
    delivery,
    failures,
    health,
    mappings,
    merchants,
    orders,
    payments,
    profiles,
    purchases,
    riders,
    sources,
    stock,
    telling,
    truth,
)
from db.catalog import CategoryRow, ListingRow, ModifierGroupRow, ModifierRow
from db.delivery import DeliveryRow
from db.failures import Instruction, Payload
from db.health import SourceHealth
from db.mappings import Key, Suggested
from db.orders import OrderEventRow, OrderLineRow, OrderRow
from db.payments import PaymentRow
from db.purchases import PurchaseRow
from db.reads import Reads
from db.sources import Source, Traffic
from db.telling import Untold, UntoldNews
from domain.failures import Failure
from domain.identity import ANYBODY, Actor
from domain.merchants import Merchant, Store
from domain.positions import Position
from domain.profile_versions import SourceProfile
from domain.stock import StockLevel

Row = TypeVar("Row")
BATCH = 500


def by_key(read: Callable[[list[UUID]], Awaitable[Iterable[Row]]], key: Callable[[Row], UUID]) -> DataLoader[UUID, Row | None]:
    """One row a key, None where there is none."""

    async def load(ids: list[UUID]) -> list[Row | None]:
        found = {key(row): row for row in await read(ids)}
        return [found.get(id) for id in ids]  # a loader answers in the order of its keys

    return DataLoader(load, max_batch_size=BATCH)


def by_parent(
    read: Callable[[list[UUID]], Awaitable[Iterable[Row]]], parent: Callable[[Row], UUID]
) -> DataLoader[UUID, Sequence[Row]]:
    """All rows of a key, in the order read."""

    async def load(ids: list[UUID]) -> list[Sequence[Row]]:
        found: dict[UUID, list[Row]] = {id: [] for id in ids}
        for row in await read(ids):
            found[parent(row)].append(row)
        return [found[id] for id in ids]

    return DataLoader(load, max_batch_size=BATCH)


def first_of(read: Callable[[list[UUID]], Awaitable[Iterable[tuple[UUID, Row]]]]) -> DataLoader[UUID, Row | None]:
    """The row read with each key, None where there is none."""

    async def load(ids: list[UUID]) -> list[Row | None]:
        found = dict(await read(ids))
        return [found.get(id) for id in ids]

    return DataLoader(load, max_batch_size=BATCH)


def all_of(read: Callable[[list[UUID]], Awaitable[Iterable[tuple[UUID, Row]]]]) -> DataLoader[UUID, Sequence[Row]]:
    """All rows read with a key, in the order read."""

    async def load(ids: list[UUID]) -> list[Sequence[Row]]:
        found: dict[UUID, list[Row]] = {id: [] for id in ids}
        for id, row in await read(ids):
            found[id].append(row)
        return [found[id] for id in ids]

    return DataLoader(load, max_batch_size=BATCH)


class Loaders:
    """What one operation has loaded, or one event of a subscription. Nothing is remembered longer.

    Each is made when a field first asks for it: most operations need two or three of them.
    """

    def __init__(self, reads: Reads, actor: Actor = ANYBODY) -> None:
        self._reads = reads
        self._actor = actor

    # ------------------------------------------------------------ what is sold

    @cached_property
    def stores(self) -> DataLoader[UUID, Store | None]:
        return by_key(partial(merchants.stores_by_id, self._reads), lambda store: store.id)

    @cached_property
    def merchants(self) -> DataLoader[UUID, Merchant | None]:
        return by_key(partial(merchants.merchants_by_id, self._reads), lambda merchant: merchant.id)

    @cached_property
    def categories(self) -> DataLoader[UUID, CategoryRow | None]:
        return by_key(partial(catalog.categories_by_id, self._reads), lambda category: category.id)

    @cached_property
    def categories_of_store(self) -> DataLoader[UUID, Sequence[CategoryRow]]:
        return all_of(partial(catalog.categories_of_stores, self._reads))

    @cached_property
    def listings(self) -> DataLoader[UUID, ListingRow | None]:
        return by_key(partial(catalog.listings_by_id, self._reads), lambda listing: listing.id)

    @cached_property
    def siblings(self) -> DataLoader[UUID, Sequence[ListingRow]]:
        return all_of(partial(catalog.siblings, self._reads))

    @cached_property
    def modifiers(self) -> DataLoader[UUID, ModifierRow | None]:
        return by_key(partial(catalog.modifiers_by_id, self._reads), lambda modifier: modifier.id)

    @cached_property
    def modifier_groups(self) -> DataLoader[UUID, Sequence[ModifierGroupRow]]:
        return by_parent(partial(catalog.modifier_groups, self._reads), lambda group: group.listing_id)

    @cached_property
    def levels(self) -> DataLoader[UUID, StockLevel | None]:
        return by_key(partial(stock.levels, self._reads), lambda level: level.listing_id)

    # ------------------------------------------------------------ what is bought

    @cached_property
    def orders(self) -> DataLoader[UUID, OrderRow | None]:
        return by_key(partial(orders.orders_by_id, self._reads, self._actor), lambda order: order.id)

    @cached_property
    def order_lines(self) -> DataLoader[UUID, Sequence[OrderLineRow]]:
        return by_parent(partial(orders.lines_of, self._reads), lambda line: line.order_id)

    @cached_property
    def order_history(self) -> DataLoader[UUID, Sequence[OrderEventRow]]:
        return by_parent(partial(orders.history_of, self._reads), lambda event: event.order_id)

    @cached_property
    def orders_of_purchase(self) -> DataLoader[UUID, Sequence[OrderRow]]:
        return by_parent(partial(orders.orders_of_purchases, self._reads, self._actor), lambda order: order.purchase_id)

    @cached_property
    def purchases(self) -> DataLoader[UUID, PurchaseRow | None]:
        return by_key(partial(purchases.purchases_by_id, self._reads, self._actor), lambda purchase: purchase.id)

    @cached_property
    def payments(self) -> DataLoader[UUID, PaymentRow | None]:
        """By the purchase."""
        return by_key(partial(payments.payments_of, self._reads), lambda payment: payment.purchase_id)

    # ------------------------------------------------------------ what is brought

    @cached_property
    def delivery_of_order(self) -> DataLoader[UUID, DeliveryRow | None]:
        return first_of(partial(delivery.deliveries_of_orders, self._reads, self._actor))

    @cached_property
    def deliveries_of_offer(self) -> DataLoader[UUID, Sequence[DeliveryRow]]:
        return all_of(partial(delivery.deliveries_of_offers, self._reads, self._actor))

    @cached_property
    def saved_positions(self) -> DataLoader[UUID, Position | None]:
        """By the rider."""

        async def read(ids: list[UUID]) -> Iterable[Position]:
            return (await riders.saved_positions(self._reads, ids)).values()

        return by_key(read, lambda position: position.rider_id)

    # ------------------------------------------------------------ what sources tell

    @cached_property
    def sources(self) -> DataLoader[UUID, Source | None]:
        return by_key(partial(sources.sources_by_id, self._reads, self._actor), lambda source: source.id)

    @cached_property
    def price_sources(self) -> DataLoader[UUID, UUID | None]:
        """By the listing: whose price was set last."""
        return first_of(partial(truth.price_sources, self._reads))

    @cached_property
    def stores_of_source(self) -> DataLoader[UUID, Sequence[Store]]:
        return all_of(partial(merchants.stores_of_sources, self._reads))

    @cached_property
    def source_health(self) -> DataLoader[UUID, SourceHealth | None]:
        return by_key(partial(health.healths, self._reads), lambda one: one.source_id)

    @cached_property
    def untold(self) -> DataLoader[UUID, Untold | None]:
        """By the source."""
        return by_key(partial(telling.untold, self._reads), lambda one: one.source_id)

    @cached_property
    def untold_news(self) -> DataLoader[UUID, Sequence[UntoldNews]]:
        """By the source."""
        return by_parent(partial(telling.untold_news, self._reads), lambda one: one.source_id)

    @cached_property
    def profiles_of_source(self) -> DataLoader[UUID, Sequence[SourceProfile]]:
        return by_parent(partial(profiles.profiles_of_sources, self._reads, self._actor), lambda profile: profile.source_id)

    @cached_property
    def traffic(self) -> DataLoader[UUID, Traffic | None]:
        """By the source."""
        return by_key(partial(sources.traffic, self._reads), lambda traffic: traffic.source_id)

    @cached_property
    def intake_payloads(self) -> DataLoader[UUID, Payload | None]:
        return by_key(partial(failures.payloads_by_id, self._reads, self._actor), lambda payload: payload.id)

    @cached_property
    def batch_sizes(self) -> DataLoader[UUID, int | None]:
        return first_of(partial(batches.sizes, self._reads))

    @cached_property
    def instructions(self) -> DataLoader[UUID, Instruction | None]:
        return by_key(partial(failures.instructions_by_id, self._reads, self._actor), lambda instruction: instruction.id)

    @cached_property
    def failure_of_instruction(self) -> DataLoader[UUID, Failure | None]:
        async def read(ids: list[UUID]) -> Iterable[tuple[UUID, Failure]]:
            found = await failures.failures_of(self._reads, self._actor, ids)
            return [(failure.instruction_id, failure) for failure in found if failure.instruction_id]

        return first_of(read)

    @cached_property
    def suggested(self) -> DataLoader[Key, Suggested | None]:
        """By what a source calls it."""

        async def load(keys: list[Key]) -> list[Suggested | None]:
            found = {one.key: one for one in await mappings.suggested(self._reads, self._actor, keys)}
            return [found.get(key) for key in keys]

        return DataLoader(load, max_batch_size=BATCH)

    def forget(self) -> None:
        for loader in vars(self).values():
            if isinstance(loader, DataLoader):
                loader.clear_all()
