"""Instructions carried out: the source's ids become ours, old news loses, and the catalogue and the stock are told.

A group is of one kind and one source, and is done as a set: what cannot be done is said for each, and stops nobody.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from domain import trace
from domain.canonical import (
    AcceptOrder,
    Command,
    DeactivateMissing,
    OrderStatus,
    RejectOrder,
    UpdatePrice,
    UpdateStockLevel,
    UpdateStoreStatus,
    UpsertCatalogItem,
    UpsertMenuItem,
    UpsertVariant,
)
from domain.catalog_instructions import (
    carry_out_choices,
    carry_out_missing,
    carry_out_prices,
    carry_out_products,
    carry_out_variants,
)
from domain.conflicts import Claim
from domain.identity import Actor, ActorKind
from domain.merchants import SetStoreStatus, StoreStatus, set_store_status
from domain.order_instructions import carry_out_orders
from domain.overruling import heed, record
from domain.queue import Group, Outcome
from domain.stock_instructions import carry_out_stock
from domain.truth import Field
from domain.work import Placed, Work, apart, store_of

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


async def carry_out(group: Group, uow: "UnitOfWork") -> Mapping[UUID, Outcome]:
    """What became of each. One that is not in the answer could not be done beside its neighbours, and waits on.

    Raises what a single one of them may be the reason of: then nothing of the group is done.
    """
    trace.correlations.set({one.cause: one.correlation_id for one in group.instructions})
    work = Work(group.origin, uow, {})
    placed = await work.placed(group.instructions)
    apply = _APPLY[type(group.instructions[0].command)]
    if placed:
        await apply(work, placed)
        await record(work)
    return work.outcomes


async def _status(work: Work, some: list[Placed]) -> None:
    now = await work.uow.now()
    some = apart([(one, [store_of(one)]) for one in some])
    said_by = Actor(ActorKind.SOURCE, work.origin.source_id)
    if work.origin.rules:  # all of them: conflicts are locked behind what they are about, of those too that are not carried out
        await work.uow.merchants.lock_stores({store_of(one) for one in some}, said_by)
    meant = {one.id: _meant(one, now) for one in some}
    some = heed(work, Field.STATUS, [(one, [store_of(one)], _claim(meant[one.id])) for one in some])
    won = await work.newer("STATUS", [(one, store_of(one)) for one in some])
    for one in sorted(won, key=store_of):  # every writer locks stores in this order
        trace.cause.set(one.cause)
        await set_store_status(meant[one.id], said_by, work.uow)
    work.done(won)


def _meant(one: Placed, now: datetime) -> SetStoreStatus:
    told: UpdateStoreStatus = one.command
    over = told.reopen_at is not None and told.reopen_at <= now
    if told.status is StoreStatus.OPEN or over:  # closed until a time that is over by now
        return SetStoreStatus(store_of(one), StoreStatus.OPEN)
    return SetStoreStatus(store_of(one), told.status, told.reopen_at, told.reason)


def _claim(meant: SetStoreStatus) -> Claim:
    until = meant.until.astimezone(UTC) if meant.until else None
    return Claim(status=meant.status.value, until=until, reason=meant.reason)


_APPLY: Mapping[type[Command], Callable[[Work, list[Placed]], Awaitable[None]]] = {
    UpsertCatalogItem: carry_out_products,
    UpsertVariant: carry_out_variants,
    UpdatePrice: carry_out_prices,
    UpsertMenuItem: carry_out_choices,
    UpdateStockLevel: carry_out_stock,
    UpdateStoreStatus: _status,
    AcceptOrder: carry_out_orders,
    RejectOrder: carry_out_orders,
    OrderStatus: carry_out_orders,
    DeactivateMissing: carry_out_missing,
}
