"""Levels, holds, allocations and the ledger of movements."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Integer,
    Row,
    Select,
    Subquery,
    Text,
    Uuid,
    and_,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import given_rows, in_ids, rows
from db.columns import TIME
from db.ids import new_id
from db.ledger import visible_to
from db.reads import Reads
from db.tables import orders, source, stock_allocation, stock_hold, stock_level, stock_movement, told
from domain.counting import Count, Recount
from domain.identity import Actor
from domain.stock import Allocated, CountDrops, Counters, Held, HoldUnits, Move, Sale, Shortage, StockLevel, StockMovementKind

level, hold, allocation, movement = stock_level.c, stock_hold.c, stock_allocation.c, stock_movement.c
AVAILABLE = level.on_hand - level.held - level.allocated - level.buffer
COUNTERS = tuple(level[field.name] for field in fields(Counters))  # in the order in which Counters takes them
KIND = StockMovementKind


# As they stand in the partial indexes: of bound values no plan could know that they fit.
SOLD_OR_RETURNED = movement.kind.in_([literal_column("'SOLD'"), literal_column("'RETURNED'")])
COUNTED, SWITCHED = "STOCK", "AVAILABILITY"  # as `told` has what a source has said of a listing


def _counters(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[Counters]:
    return [Counters(*row) for row in rows]


# Made once: they are the most frequent writes there are, and to make one takes longer than to run it.
_LOCK = select(*COUNTERS).where(in_ids(level.listing_id)).order_by(level.listing_id).with_for_update()
_BY = given_rows("by", listing_id=Uuid(), on_hand=Integer(), held=Integer(), allocated=Integer())
_MOVE = (
    update(stock_level)
    .where(level.listing_id == _BY.c.listing_id)
    .values(
        on_hand=level.on_hand + _BY.c.on_hand,
        held=level.held + _BY.c.held,
        allocated=level.allocated + _BY.c.allocated,
        version=level.version + 1,
        as_of=func.clock_timestamp(),
    )
    .returning(*COUNTERS)
)
_ASKED = given_rows("asked", listing_id=Uuid(), units=Integer())
_HOLD = (
    update(stock_level)
    .where(level.listing_id == _ASKED.c.listing_id, _ASKED.c.units <= AVAILABLE, ~level.off)
    .values(held=level.held + _ASKED.c.units, version=level.version + 1, as_of=func.clock_timestamp())
    .returning(*COUNTERS)
)


def _unknown(drops: CountDrops) -> Select[Any]:
    dropped = {CountDrops.AT_ACCEPT: orders.c.accepted_at, CountDrops.AT_PICKUP: orders.c.picked_up_at, CountDrops.NEVER: None}[
        drops
    ]
    said = given_rows("said", listing_id=Uuid(), at=TIME, source_id=Uuid())
    unknown = true() if dropped is None else or_(dropped.is_(None), dropped > said.c.at)
    since = select(source.c.created_at).where(source.c.id == said.c.source_id).scalar_subquery()
    recent = movement.at > since if dropped is None else true()
    sold = (
        select(said.c.listing_id, movement.on_hand_delta.label("units"))
        .select_from(
            said.join(stock_movement, movement.listing_id == said.c.listing_id).outerjoin(orders, orders.c.id == movement.order_id)
        )
        .where(SOLD_OR_RETURNED, movement.order_id.is_not(None), unknown, recent)
    )
    told = (
        select(said.c.listing_id, func.coalesce(movement.told, movement.on_hand_delta))
        .select_from(
            said.join(stock_movement, and_(movement.source_id == said.c.source_id, movement.listing_id == said.c.listing_id))
        )
        .where(movement.source_at > said.c.at, movement.kind != KIND.COUNTED)
    )
    parts = [sold, told]
    if dropped is not None:
        parts.append(
            select(said.c.listing_id, allocation.units)
            .select_from(
                said.join(stock_allocation, allocation.listing_id == said.c.listing_id).join(
                    orders, orders.c.id == allocation.order_id
                )
            )
            .where(dropped <= said.c.at)
        )
    every = parts[0].union_all(*parts[1:]).subquery()
    return select(every.c.listing_id, func.sum(every.c.units)).group_by(every.c.listing_id)


_UNKNOWN = {drops: _unknown(drops) for drops in CountDrops}
_SAID = given_rows("by", listing_id=Uuid(), at=TIME, said_by=Text())
_COUNTED = (
    update(stock_level)
    .where(level.listing_id == _SAID.c.listing_id)
    .values(tracked=True, stale=False, counted_at=func.greatest(level.counted_at, _SAID.c.at), source=_SAID.c.said_by)
)


class SqlStock:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, listing_ids: Iterable[UUID]) -> dict[UUID, Counters]:
        # In id order, so that no two transactions wait for each other. Nothing is decided by what is read here
        # that an UPDATE below does not decide again.
        found = await self._connection.execute(_LOCK, {"ids": list(set(listing_ids))})
        return {row.listing_id: row for row in _counters(found)}

    async def move(self, moves: Sequence[Move]) -> list[StockLevel]:
        """Of levels already locked. One new version a listing, however many moves it has."""
        if not moves:
            return []
        sums: dict[UUID, list[int]] = {}
        for one in moves:
            total = sums.setdefault(one.listing_id, [0, 0, 0])
            for index, delta in enumerate((one.on_hand, one.held, one.allocated)):
                total[index] += delta
        by: dict[str, list[Any]] = {
            "by_listing_id": list(sums),
            "by_on_hand": [total[0] for total in sums.values()],
            "by_held": [total[1] for total in sums.values()],
            "by_allocated": [total[2] for total in sums.values()],
        }
        done = await self._connection.execute(_MOVE, by)
        return await self._write(moves, _counters(done))

    async def _write(self, moves: Sequence[Move], changed: Sequence[Counters]) -> list[StockLevel]:
        """The ledger's lines of what has just changed."""
        merchants = {now.listing_id: now.merchant_id for now in changed}
        await self._connection.execute(
            insert(stock_movement),
            [
                {
                    "id": new_id(),
                    "listing_id": one.listing_id,
                    "merchant_id": merchants[one.listing_id],
                    "kind": one.kind,
                    "cause": one.cause,
                    "on_hand_delta": one.on_hand,
                    "held_delta": one.held,
                    "allocated_delta": one.allocated,
                    "order_id": one.order_id,
                    "source_id": one.source_id,
                    "source_at": one.source_at,
                    "told": one.told,
                    "once": one.once,
                }
                for one in moves
            ],
        )
        return [now.level for now in changed]

    # ------------------------------------------------------------ holds

    async def hold_units(self, command: HoldUnits) -> Held:
        locked = await self.lock(command.units)
        uncounted = {id for id, now in locked.items() if not now.tracked and not now.off}
        asked = {id: units for id, units in command.units.items() if id in locked and id not in uncounted}
        if not asked:
            return Held((), {}, frozenset(command.units) - uncounted)
        by: dict[str, list[Any]] = {"asked_listing_id": list(asked), "asked_units": list(asked.values())}
        done = await self._connection.execute(_HOLD, by)
        changed = _counters(done)
        taken = {now.listing_id: asked[now.listing_id] for now in changed}
        if taken:
            await self._write(
                [Move(id, KIND.HELD, f"quote:{command.quote_id}", held=units) for id, units in taken.items()], changed
            )
            await self._connection.execute(
                insert(stock_hold),
                [
                    {"quote_id": command.quote_id, "listing_id": id, "units": units, "expires_at": command.expires_at}
                    for id, units in taken.items()
                ],
            )
        return Held([now.level for now in changed], taken, frozenset(command.units) - taken.keys() - uncounted)

    async def held_by(self, quote_id: UUID) -> dict[UUID, int]:
        found = await self._connection.execute(select(hold.listing_id, hold.units).where(hold.quote_id == quote_id))
        return {row.listing_id: row.units for row in found}

    async def release_quote(self, quote_id: UUID) -> list[StockLevel]:
        return await self._release(await self.held_by(quote_id), hold.quote_id == quote_id)

    async def release_expired(self, listing_ids: Iterable[UUID]) -> list[StockLevel]:
        ids = set(listing_ids)
        return await self._release(ids, and_(hold.listing_id.in_(ids), hold.expires_at <= func.clock_timestamp()))

    async def _release(self, listing_ids: Iterable[UUID], which: ColumnElement[bool]) -> list[StockLevel]:
        await self.lock(listing_ids)  # levels before holds, always
        gone = await self._connection.execute(delete(stock_hold).where(which).returning(hold.quote_id, hold.listing_id, hold.units))
        return await self.move([Move(row.listing_id, KIND.RELEASED, f"quote:{row.quote_id}", held=-row.units) for row in gone])

    async def shortages(self, command: HoldUnits, listing_ids: Iterable[UUID]) -> list[Shortage]:
        left = {id: now.available for id, now in (await self.lock(listing_ids)).items()}
        return [Shortage(id, command.units[id], left.get(id, 0)) for id in sorted(listing_ids)]

    # ------------------------------------------------------------ allocations

    async def allocate(self, quote_id: UUID, orders: Mapping[UUID, UUID]) -> Allocated:
        await self.lock(orders)
        gone = (
            await self._connection.execute(
                delete(stock_hold)
                .where(hold.quote_id == quote_id, hold.expires_at > func.clock_timestamp())
                .returning(hold.listing_id, hold.units)
            )
        ).all()
        if not gone:
            return Allocated((), {})
        await self._connection.execute(
            insert(stock_allocation),
            [{"order_id": orders[row.listing_id], "listing_id": row.listing_id, "units": row.units} for row in gone],
        )
        changed = await self.move(
            [
                Move(
                    row.listing_id,
                    KIND.ALLOCATED,
                    f"order:{(order_id := orders[row.listing_id])}",
                    held=-row.units,
                    allocated=row.units,
                    order_id=order_id,
                )
                for row in gone
            ]
        )
        return Allocated(changed, {row.listing_id: row.units for row in gone})

    async def _take_allocations(
        self, order_ids: Sequence[UUID], besides: Collection[UUID] = ()
    ) -> tuple[dict[UUID, Counters], Sequence[Row[*tuple[Any, ...]]]]:
        ids = (await self._connection.execute(select(allocation.listing_id).where(allocation.order_id.in_(order_ids)))).scalars()
        locked = await self.lock({*ids, *besides})
        gone = await self._connection.execute(
            delete(stock_allocation)
            .where(allocation.order_id.in_(order_ids))
            .returning(allocation.order_id, allocation.listing_id, allocation.units)
        )
        return locked, gone.all()

    async def deallocate(self, order_ids: Sequence[UUID]) -> list[StockLevel]:
        sold = await self._sold(order_ids)
        _, gone = await self._take_allocations(order_ids, besides={row.listing_id for row in sold})
        moves = [
            Move(row.listing_id, KIND.DEALLOCATED, f"order:{row.order_id}", allocated=-row.units, order_id=row.order_id)
            for row in gone
        ]
        moves += [
            Move(row.listing_id, KIND.RETURNED, f"order:{row.order_id}", on_hand=row.units, order_id=row.order_id) for row in sold
        ]
        return await self.move(moves)

    async def _sold(self, order_ids: Sequence[UUID]) -> Sequence[Row[*tuple[Any, ...]]]:
        """What a till had in its books as sold at once, and these orders have not given back."""
        units = -func.sum(movement.on_hand_delta)
        found = await self._connection.execute(
            select(movement.order_id, movement.listing_id, units.label("units"))
            .where(movement.order_id.in_(order_ids), SOLD_OR_RETURNED)
            .group_by(movement.order_id, movement.listing_id)
            .having(units > 0)
        )
        return found.all()

    async def sell(self, order_id: UUID) -> tuple[list[StockLevel], list[Sale]]:
        locked, gone = await self._take_allocations([order_id])
        sales = [Sale(row.listing_id, row.units, max(0, row.units - locked[row.listing_id].on_hand)) for row in gone]
        changed = await self.move(
            [
                Move(
                    sale.listing_id,
                    KIND.SOLD,
                    f"order:{order_id}",
                    on_hand=-(sale.units - sale.missing),
                    allocated=-sale.units,
                    order_id=order_id,
                )
                for sale in sales
            ]
        )
        return changed, sales

    # ------------------------------------------------------------ what others tell

    async def count_due(self, counts: Sequence[Count]) -> dict[UUID, int]:
        due = {count.listing_id: count.units for count in counts}
        for drops, group in _by_drops(counts).items():
            for listing_id, units in await self._unknown_to(drops, group):
                due[listing_id] += units
        return {listing_id: max(0, units) for listing_id, units in due.items()}

    async def _unknown_to(self, drops: CountDrops, counts: Sequence[Count]) -> list[tuple[UUID, int]]:
        """Signed units by which on_hand differs from each count: what happened that the count cannot know.

        An order leaves a source's own count at `dropped`. One that it knows of and we have not yet sold is still on
        our shelf; one that we sold and it does not know of is not. Of a source that never learns of our orders,
        all sales since it was connected are unknown.
        """
        given = {
            "said_listing_id": [count.listing_id for count in counts],
            "said_at": [count.at for count in counts],
            "said_source_id": [count.source_id for count in counts],
        }
        found = await self._connection.execute(_UNKNOWN[drops], given)
        return [(row[0], int(row[1])) for row in found]

    async def counted(self, counts: Sequence[Count]) -> None:
        by = {
            "by_listing_id": [count.listing_id for count in counts],
            "by_at": [count.at for count in counts],
            "by_said_by": [count.said_by for count in counts],
        }
        await self._connection.execute(_COUNTED, by)

    async def recounted(self, counts: Sequence[Recount]) -> None:
        by = rows(
            "by",
            listing_id=(Uuid(), [count.listing_id for count in counts]),
            tracked=(Boolean(), [count.tracked for count in counts]),
            counted_at=(TIME, [count.counted_at for count in counts]),
            source=(Text(), [count.source for count in counts]),
        )
        await self._connection.execute(
            update(stock_level)
            .where(level.listing_id == by.c.listing_id)
            .values(tracked=by.c.tracked, counted_at=by.c.counted_at, source=by.c.source)
        )

    async def at_risk(self, order_id: UUID) -> bool:
        mine = select(allocation.listing_id).where(allocation.order_id == order_id)
        await self.lock((await self._connection.execute(mine)).scalars())
        pairs = _does_not_fit(mine).c
        found = await self._connection.execute(select(func.bool_or(pairs.risk)).where(pairs.order_id == order_id))
        return bool(found.scalar_one())

    async def told_once(self, source_id: UUID, ids: Collection[str]) -> set[tuple[UUID, str]]:
        of = (movement.source_id == source_id, movement.once.in_(ids))
        return {
            (row.listing_id, row.once)
            for row in await self._connection.execute(select(movement.listing_id, movement.once).where(*of))
        }

    async def may_change(self, listing_id: UUID, actor: Actor) -> bool:
        found = await self._connection.execute(
            select(level.listing_id).where(level.listing_id == listing_id).where(visible_to(actor))
        )
        return found.one_or_none() is not None

    async def return_due(self, listing_ids: Iterable[UUID]) -> list[StockLevel]:
        await self.lock(listing_ids)
        done = await self._connection.execute(
            update(stock_level)
            .where(level.listing_id.in_(set(listing_ids)), level.off, level.back_at <= func.clock_timestamp())
            .values(off=False, back_at=None, version=level.version + 1, as_of=func.clock_timestamp())
            .returning(*COUNTERS)
        )
        return [now.level for now in _counters(done)]

    async def switch(self, listing_ids: Iterable[UUID], *, off: bool, back_at: datetime | None) -> list[StockLevel]:
        done = await self._connection.execute(
            update(stock_level)
            .where(
                level.listing_id.in_(set(listing_ids)), or_(level.off != off, level.back_at.is_distinct_from(back_at), level.stale)
            )
            .values(off=off, back_at=back_at, stale=False, version=level.version + 1, as_of=func.clock_timestamp())
            .returning(*COUNTERS)
        )
        return [now.level for now in _counters(done)]

    async def doubt(self, listing_ids: Iterable[UUID], source_id: UUID) -> list[StockLevel]:
        ids = set(listing_ids)
        await self.lock(ids)
        # It is as of then what it was: nothing new is known of it.
        done = await self._connection.execute(
            update(stock_level)
            .where(level.listing_id.in_(ids), ~level.stale, _rests_on(source_id))
            .values(stale=True, version=level.version + 1)
            .returning(*COUNTERS)
        )
        return [now.level for now in _counters(done)]

    async def trust(self, listing_ids: Iterable[UUID]) -> None:
        await self._connection.execute(update(stock_level).where(level.listing_id.in_(set(listing_ids))).values(stale=False))


def _rests_on(source_id: UUID) -> ColumnElement[bool]:
    """Whether what the row's level shows is this source's word: its last count, a change since the last one, or its switch."""
    switched = exists().where(told.c.source_id == source_id, told.c.field == SWITCHED, told.c.entity_id == level.listing_id)
    changed = exists().where(
        movement.source_id == source_id,
        movement.listing_id == level.listing_id,
        or_(level.counted_at.is_(None), movement.source_at > level.counted_at),
    )
    return or_(level.source == f"source:{source_id}", switched, changed)


def _by_drops(counts: Sequence[Count]) -> dict[CountDrops, list[Count]]:
    groups: dict[CountDrops, list[Count]] = {}
    for count in counts:
        groups.setdefault(count.drops, []).append(count)
    return groups


_LEVELS = select(*COUNTERS).where(in_ids(level.listing_id))


async def levels(reads: Reads, listing_ids: Sequence[UUID]) -> list[StockLevel]:
    """In no order. Public: what a customer may take never depends on who asks."""
    return [now.level for now in _counters(await reads.rows(_LEVELS, {"ids": listing_ids}))]


async def expired(reads: Reads, limit: int) -> list[UUID]:
    """Listings that have a hold past its time, oldest first."""
    # By the time of the statement: an index cannot be searched for what another moment of it would tell otherwise.
    late = select(hold.listing_id).where(hold.expires_at <= func.statement_timestamp()).order_by(hold.expires_at).limit(limit)
    return sorted({row.listing_id for row in await reads.rows(late)})


async def due_back(reads: Reads, limit: int) -> list[UUID]:
    """Listings that are off and whose time to return has come, oldest first."""
    due = select(level.listing_id).where(level.off, level.back_at <= func.statement_timestamp())
    return [row.listing_id for row in await reads.rows(due.order_by(level.back_at).limit(limit))]


def _does_not_fit(listing_ids: Select[Any]) -> Subquery:
    """Each allocation of these listings, and whether the units counted reach down to it: the oldest promise is kept first."""
    reached = func.sum(allocation.units).over(
        partition_by=allocation.listing_id, order_by=(allocation.created_at, allocation.order_id)
    )
    return (
        select(allocation.order_id, (reached > level.on_hand).label("risk"))
        .join(stock_level, level.listing_id == allocation.listing_id)
        .where(allocation.listing_id.in_(listing_ids))
        .subquery()
    )


async def in_doubt(reads: Reads, limit: int) -> list[UUID]:
    """Orders not yet on the side they belong to: at risk, or not."""
    short = select(level.listing_id).where(level.on_hand < level.allocated + level.held)
    marked = select(allocation.listing_id).join(orders, orders.c.id == allocation.order_id).where(orders.c.at_risk)
    pairs = _does_not_fit(select(short.union(marked).subquery().c.listing_id)).c
    found = await reads.rows(
        select(pairs.order_id)
        .join(orders, orders.c.id == pairs.order_id)
        .group_by(pairs.order_id, orders.c.at_risk, orders.c.short)
        .having(or_(func.bool_or(pairs.risk), orders.c.short) != orders.c.at_risk)
        .limit(limit)
    )
    return [row.order_id for row in found]
