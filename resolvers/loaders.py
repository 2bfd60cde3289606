"""Batched reads: what fields of one operation ask for one by one goes to the database as one statement."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from aiodataloader import DataLoader

from db import delivery, stock
from db.delivery import DeliveryRow
from db.reads import Reads
from domain.identity import ANYBODY, Actor
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

        self.levels = by_key(levels, lambda level: level.listing_id)
        self.delivery_of_order = first_of(deliveries_of_orders)
        self.deliveries_of_offer = all_of(deliveries_of_offers)

    def forget(self) -> None:
        loaders: Iterable[DataLoader[Any, Any]] = vars(self).values()
        for loader in loaders:
            loader.clear_all()
