"""What tills and warehouses tell of orders, carried out: by the moves that a source may make, and by no other way.

Whose order it is decides alone: it must be of a store that the source is mapped to. What has been done already is done; what
comes after something later is old news; what an order can become no more is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from domain import at_risk, fulfilment, orders, trace
from domain.canonical import AcceptOrder, OrderItem, OrderStatus, OrderWord, RejectOrder
from domain.fulfilment import CancelOrder, MarkOrderReady
from domain.identity import Actor, ActorKind
from domain.orders import CANCELLED, LIVE, PREP_LIMIT_MINUTES, Fulfilment, LockedOrder, OrderedLine, ReasonCode, is_number
from domain.queue import APPLIED, STALE, Outcome, failed
from domain.work import Placed, Work, apart

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

AT_ONCE = 20  # orders of one transaction: their stock is held until its end
NOTE_LIMIT = 500
_S = orders.OrderStatus


class Step(Enum):
    ACCEPT = "ACCEPT"
    BOOK = "BOOK"  # accepted before, by a person: the till has it in its books now
    READY = "READY"
    PICK_UP = "PICK_UP"
    DELIVER = "DELIVER"
    REJECT = "REJECT"
    CANCEL = "CANCEL"
    SHORT = "SHORT"
    NOTE = "NOTE"


Steps = tuple[Step, ...]
Told = AcceptOrder | RejectOrder | OrderStatus
ALONG = (_S.PAYMENT_PENDING, _S.PLACED, _S.ACCEPTED, _S.READY, _S.PICKED_UP, _S.UNDELIVERED, _S.DELIVERED, _S.RETURNED)
_READY = {_S.PLACED: (Step.ACCEPT, Step.READY), _S.ACCEPTED: (Step.READY,)}
_NOTED = {_S.PLACED: (Step.ACCEPT, Step.NOTE), _S.ACCEPTED: (Step.NOTE,), _S.READY: (Step.NOTE,)}
_GONE = {_S.PLACED: (Step.ACCEPT, Step.PICK_UP), _S.ACCEPTED: (Step.PICK_UP,), _S.READY: (Step.PICK_UP,)}
_BROUGHT = {status: (*steps[:-1], Step.DELIVER) for status, steps in _GONE.items()} | {_S.PICKED_UP: (Step.DELIVER,)}


def steps_of(told: Told, order: LockedOrder) -> Steps | Outcome:
    """What is to be done to the order as it stands, or why nothing is.

    What cannot be true of an order that was not accepted says that it was: its own word of that was lost on the way.
    """
    if isinstance(told, AcceptOrder):
        accepted: dict[orders.OrderStatus, Steps] = {
            _S.PLACED: (Step.ACCEPT,), _S.ACCEPTED: (Step.BOOK,), _S.READY: (Step.BOOK,),
        }  # fmt: skip
        return _forward(order, _S.ACCEPTED, accepted)
    if isinstance(told, RejectOrder):
        return _ended(order)
    match told.status, order.fulfilment:
        case OrderWord.CANCELLED, _:
            return _ended(order)
        case OrderWord.ITEM_SHORT | OrderWord.ITEM_CANCELLED, _:
            return (Step.SHORT,) if order.status in LIVE and not order.ended else STALE
        case OrderWord.READY, _:
            return _forward(order, _S.READY, _READY)
        case OrderWord.DISPATCHED, Fulfilment.STORE_DELIVERY:
            return _forward(order, _S.PICKED_UP, _GONE)
        case OrderWord.DISPATCHED, Fulfilment.DELIVERY:  # our rider's own pick-up is the truth
            return _forward(order, _S.PICKED_UP, _NOTED)
        case OrderWord.DELIVERED, Fulfilment.STORE_DELIVERY:
            return _forward(order, _S.DELIVERED, _BROUGHT)
        case OrderWord.DELIVERED, Fulfilment.DELIVERY:
            return _forward(order, _S.DELIVERED, {**_NOTED, _S.PICKED_UP: (Step.NOTE,), _S.UNDELIVERED: (Step.NOTE,)})
    if order.status is _S.DELIVERED:
        return APPLIED if told.status is OrderWord.DELIVERED else STALE
    return failed("the customer collects this order, and it is handed over against the code")


def _forward(order: LockedOrder, end: orders.OrderStatus, steps: dict[orders.OrderStatus, Steps]) -> Steps | Outcome:
    if order.status in steps:
        return steps[order.status]
    if order.status is end:
        return APPLIED
    if order.status in ALONG and ALONG.index(order.status) > ALONG.index(end):
        return STALE
    return _cannot(order, end)


def _ended(order: LockedOrder) -> Steps | Outcome:
    """An order nobody has accepted yet is rejected, another cancelled."""
    if order.status in CANCELLED:
        return APPLIED
    if order.status is _S.PLACED:
        return (Step.REJECT,)
    return (Step.CANCEL,) if order.status in (_S.ACCEPTED, _S.READY) else _cannot(order, _S.CANCELLED)


def _cannot(order: LockedOrder, end: orders.OrderStatus) -> Outcome:
    return failed(f"an order that is {order.status.value} cannot become {end.value}")


# ---------------------------------------------------------------- carried out


async def carry_out_orders(work: Work, some: list[Placed]) -> None:
    """Some of them at once: the rest waits for the next time."""
    numbers = await _numbers(work, some)
    some = apart([(one, [numbers[one.command.number]]) for one in some])[:AT_ONCE]
    source = Actor(ActorKind.SOURCE, work.origin.source_id)
    locked = await work.uow.orders.lock_numbered([numbers[one.command.number] for one in some], source)
    todo = []
    for one in some:
        order = locked.get(numbers[one.command.number])
        if order is None or one.store_id not in (None, order.store_id):
            work.outcomes[one.id] = failed(f"there is no order {one.command.number} in a store that this source is mapped to")
            continue
        steps = steps_of(one.command, order)
        if isinstance(steps, Outcome):
            work.outcomes[one.id] = steps
        else:
            todo.append(_Doing(order, one.command, steps, one))
    if not todo:
        return
    if len(todo) > 1 or len(todo[0].steps) > 1:
        await _lock([doing.order for doing in todo], work.uow)
    items = [id for doing in todo for id in _items(doing.told)]
    variants = await work.variants(items) if items else {}
    lines = await work.uow.orders.lines([doing.order.id for doing in todo]) if items else ()
    for doing in todo:
        names = {line.sku: line.name for line in lines if line.order_id == doing.order.id}
        names |= {id: name for id in items if (name := _name(variants.get(id), doing.order, lines)) is not None}
        trace.cause.set(doing.placed.cause)
        await _do(doing, names, source, work.uow)
    work.done([doing.placed for doing in todo])


async def _numbers(work: Work, some: Sequence[Placed]) -> dict[str, str]:
    """By what the source calls each order: our number, or its own where it has answered with one as it was told of the order."""
    said = [one.command.number for one in some]
    theirs = [one.command.order.strip() for one in some if not is_number(one.command.number)]
    ours = await work.uow.tellings.numbers(work.origin.source_id, theirs) if theirs else {}
    known = {reference.upper(): number for reference, number in ours.items()}
    return {number: known.get(number, number) for number in said}


@dataclass(frozen=True)
class _Doing:
    order: LockedOrder
    told: Told
    steps: Steps
    placed: Placed


async def _lock(some: Sequence[LockedOrder], uow: "UnitOfWork") -> None:
    """All that several orders may change, before any of it is changed: kind by kind, as everybody locks them."""
    for order in sorted(some, key=lambda one: one.id):
        await uow.deliveries.lock(order.id)
    for purchase_id in sorted({order.purchase_id for order in some}):
        await uow.payments.lock(purchase_id)
    await uow.stock.lock({line.listing_id for line in await uow.orders.lines([order.id for order in some])})


def _name(variant_id: Any, order: LockedOrder, lines: Sequence[OrderedLine]) -> str | None:
    return next((line.name for line in lines if line.order_id == order.id and line.variant_id == variant_id), None)


async def _do(doing: _Doing, names: dict[str, str], source: Actor, uow: "UnitOfWork") -> None:
    order = doing.order
    for index, step in enumerate(doing.steps):
        if index:
            order = await orders.lock(order.id, source, uow)
        await _step(step, order, doing.told, names, source, uow)


async def _step(step: Step, order: LockedOrder, told: Told, names: dict[str, str], source: Actor, uow: "UnitOfWork") -> None:
    match step:
        case Step.ACCEPT:
            prep = told.prep_minutes if isinstance(told, AcceptOrder) else None
            # A kitchen that wants longer than we can promise has still accepted.
            prep = None if prep is None else max(0, min(prep, PREP_LIMIT_MINUTES))
            called = await _called(order, told, source, uow)
            await fulfilment.accept_order(fulfilment.AcceptOrder(order.id, prep, called), source, uow)
        case Step.BOOK:
            called = await _called(order, told, source, uow)
            if called is not None and not await uow.orders.said(order.id, called):
                order = await uow.orders.noted(order, at_risk=order.at_risk)
                await uow.events.add(await orders.step(order, source, uow, note=called))
            await fulfilment.leave(order, source, uow)
        case Step.READY:
            await fulfilment.mark_order_ready(MarkOrderReady(order.id), source, uow)
        case Step.PICK_UP:
            await fulfilment.leave(await fulfilment.pick_up(order, source, uow, _rider(told)), source, uow)
        case Step.DELIVER:
            await fulfilment.leave(await fulfilment.bring(order, source, uow, _rider(told)), source, uow)
        case Step.REJECT:
            await fulfilment.reject_order(fulfilment.RejectOrder(order.id, _reason(told), _message(told, names)), source, uow)
        case Step.CANCEL:
            await fulfilment.cancel_order(CancelOrder(order.id, _reason(told), _message(told, names)), source, uow)
        case Step.SHORT:
            assert isinstance(told, OrderStatus)
            await at_risk.fall_short(order, shortage(told, names), source, uow)
        case Step.NOTE:
            assert isinstance(told, OrderStatus)
            await _note(order, told, source, uow)


async def _called(order: LockedOrder, told: Told, source: Actor, uow: "UnitOfWork") -> str | None:
    """By which number the store's people find it: as they are told now, or as it answered when it was told of the order."""
    reference = told.reference if isinstance(told, AcceptOrder) else None
    if reference is None and source.id is not None:
        reference = await uow.tellings.reference(source.id, order.id)
    return f"the store calls it {reference}"[:NOTE_LIMIT] if reference else None


async def _note(order: LockedOrder, told: OrderStatus, source: Actor, uow: "UnitOfWork") -> None:
    gone = "has been delivered" if told.status is OrderWord.DELIVERED else "has left"
    note = f"the store says that it {gone}{f' {rider}' if (rider := _rider(told)) else ''}"
    if not await uow.orders.said(order.id, note):
        noted = await uow.orders.noted(order, at_risk=order.at_risk)
        await uow.events.add(await orders.step(noted, source, uow, note=note))


def _rider(told: Told) -> str | None:
    """Whom the store has sent with it: the customer may have to call."""
    named = [told.rider_name, told.rider_phone] if isinstance(told, OrderStatus) else []
    who = ", ".join(part for part in named if part)
    return f"with {who}"[:NOTE_LIMIT] if who else None


def _reason(told: Told) -> ReasonCode:
    return ReasonCode.OTHER if isinstance(told, AcceptOrder) else told.reason


def _message(told: Told, names: dict[str, str]) -> str | None:
    if isinstance(told, AcceptOrder):
        return None
    out = ", ".join(names.get(id, id) for id in _items(told))
    said = [f"not available: {out}"] if out else []
    return "; ".join([*([told.message] if told.message else []), *said])[:NOTE_LIMIT] or None


def _items(told: Told) -> list[str]:
    """In the source's own ids."""
    match told:
        case RejectOrder():
            return list(told.items)
        case OrderStatus():
            return [item.id for item in told.items]
        case _:
            return []


def shortage(told: OrderStatus, names: dict[str, str]) -> str:
    """For the parties of the order: its bill's names, or the store's own where the bill has none."""
    said = "; ".join(_short(item, names.get(item.id, item.id)) for item in told.items)
    gone = "will not come" if told.status is OrderWord.ITEM_CANCELLED else "the store is short"
    return f"{gone}{f': {said}' if said else ''}{f' ({told.message})' if told.message else ''}"[:NOTE_LIMIT]


def _short(item: OrderItem, name: str) -> str:
    if item.ordered is None or item.found is None:
        return name
    return f"{item.found} of {item.ordered} {name}"
