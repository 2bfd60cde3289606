"""Batched reads: what fields of one operation ask for one by one goes to the database as one statement."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from aiodataloader import DataLoader

from db import catalog, delivery, failures, merchants, orders, payments, purchases, riders, sources, stock
from db.catalog import CategoryRow, ListingRow, ModifierGroupRow, ModifierRow
from db.delivery import DeliveryRow
from db.failures import Instruction, Payload
from db.orders import OrderEventRow, OrderLineRow, OrderRow
from db.payments import PaymentRow
from db.purchases import PurchaseRow
from db.reads import Reads
from db.sources import Source, Traffic
from domain.failures import Failure
from domain.identity import ANYBODY, Actor
from domain.merchants import Merchant, Store
from domain.positions import Position
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
    """What one operation has loaded, or one event of a subscription. Nothing is remembered longer."""

    def __init__(self, reads: Reads, actor: Actor = ANYBODY) -> None:
        async def levels(ids: list[UUID]) -> Iterable[StockLevel]:
            return await stock.levels(reads, ids)

        async def deliveries_of_orders(ids: list[UUID]) -> Iterable[tuple[UUID, DeliveryRow]]:
            return await delivery.deliveries_of_orders(reads, actor, ids)

        async def deliveries_of_offers(ids: list[UUID]) -> Iterable[tuple[UUID, DeliveryRow]]:
            return await delivery.deliveries_of_offers(reads, actor, ids)

        async def stores(ids: list[UUID]) -> Iterable[Store]:
            return await merchants.stores_by_id(reads, ids)

        async def merchants_(ids: list[UUID]) -> Iterable[Merchant]:
            return await merchants.merchants_by_id(reads, ids)

        async def categories(ids: list[UUID]) -> Iterable[CategoryRow]:
            return await catalog.categories_by_id(reads, ids)

        async def categories_of_stores(ids: list[UUID]) -> Iterable[tuple[UUID, CategoryRow]]:
            return await catalog.categories_of_stores(reads, ids)

        async def listings(ids: list[UUID]) -> Iterable[ListingRow]:
            return await catalog.listings_by_id(reads, ids)

        async def siblings(ids: list[UUID]) -> Iterable[tuple[UUID, ListingRow]]:
            return await catalog.siblings(reads, ids)

        async def modifiers(ids: list[UUID]) -> Iterable[ModifierRow]:
            return await catalog.modifiers_by_id(reads, ids)

        async def modifier_groups(ids: list[UUID]) -> Iterable[tuple[UUID, ModifierGroupRow]]:
            return [(group.listing_id, group) for group in await catalog.modifier_groups(reads, ids)]

        async def order_lines(ids: list[UUID]) -> Iterable[tuple[UUID, OrderLineRow]]:
            return [(line.order_id, line) for line in await orders.lines_of(reads, ids)]

        async def order_history(ids: list[UUID]) -> Iterable[tuple[UUID, OrderEventRow]]:
            return [(event.order_id, event) for event in await orders.history_of(reads, ids)]

        async def orders_of_purchases(ids: list[UUID]) -> Iterable[tuple[UUID, OrderRow]]:
            return [(order.purchase_id, order) for order in await orders.orders_of_purchases(reads, actor, ids)]

        async def purchases_(ids: list[UUID]) -> Iterable[PurchaseRow]:
            return await purchases.purchases_by_id(reads, actor, ids)

        async def payments_(ids: list[UUID]) -> Iterable[PaymentRow]:
            return await payments.payments_of(reads, ids)

        async def orders_(ids: list[UUID]) -> Iterable[OrderRow]:
            return await orders.orders_by_id(reads, actor, ids)

        async def saved_positions(ids: list[UUID]) -> Iterable[Position]:
            return (await riders.saved_positions(reads, ids)).values()

        self.orders = by_key(orders_, lambda order: order.id)
        self.saved_positions = by_key(saved_positions, lambda position: position.rider_id)

        async def sources_(ids: list[UUID]) -> Iterable[Source]:
            return await sources.sources_by_id(reads, actor, ids)

        async def traffic(ids: list[UUID]) -> Iterable[Traffic]:
            return await sources.traffic(reads, ids)

        async def intake_payloads(ids: list[UUID]) -> Iterable[Payload]:
            return await failures.payloads_by_id(reads, actor, ids)

        async def instructions(ids: list[UUID]) -> Iterable[Instruction]:
            return await failures.instructions_by_id(reads, actor, ids)

        async def failures_of(ids: list[UUID]) -> Iterable[tuple[UUID, Failure]]:
            found = await failures.failures_of(reads, actor, ids)
            return [(failure.instruction_id, failure) for failure in found if failure.instruction_id]

        self.sources = by_key(sources_, lambda source: source.id)
        self.traffic = by_key(traffic, lambda traffic: traffic.source_id)
        self.intake_payloads = by_key(intake_payloads, lambda payload: payload.id)
        self.instructions = by_key(instructions, lambda instruction: instruction.id)
        self.failure_of_instruction = first_of(failures_of)
        self.stores = by_key(stores, lambda store: store.id)
        self.merchants = by_key(merchants_, lambda merchant: merchant.id)
        self.categories = by_key(categories, lambda category: category.id)
        self.categories_of_store = all_of(categories_of_stores)
        self.listings = by_key(listings, lambda listing: listing.id)
        self.siblings = all_of(siblings)
        self.modifiers = by_key(modifiers, lambda modifier: modifier.id)
        self.modifier_groups = all_of(modifier_groups)
        self.levels = by_key(levels, lambda level: level.listing_id)
        self.delivery_of_order = first_of(deliveries_of_orders)
        self.deliveries_of_offer = all_of(deliveries_of_offers)
        self.order_lines = all_of(order_lines)
        self.order_history = all_of(order_history)
        self.orders_of_purchase = all_of(orders_of_purchases)
        self.purchases = by_key(purchases_, lambda purchase: purchase.id)
        self.payments = by_key(payments_, lambda payment: payment.purchase_id)

    def forget(self) -> None:
        loaders: Iterable[DataLoader[Any, Any]] = vars(self).values()
        for loader in loaders:
            loader.clear_all()
