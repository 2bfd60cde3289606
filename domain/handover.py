"""The customer's code, asked for wherever an order changes hands: a few tries in all, whoever types it."""

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from domain import orders
from domain.identity import Actor
from domain.orders import CODE_TRIES, LIVE, LockedOrder, WrongState
from domain.refusals import Kind, Refusal, Refused

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class WrongCode(Refusal):
    """With no tries left only support can go on."""

    code, kind = "WRONG_CODE", Kind.CONFLICT
    tries_left: int


async def check_code(code: str | None, order: LockedOrder, uow: "UnitOfWork") -> WrongCode | None:
    """A wrong code is counted, and that must be kept although the answer is a no, so it is returned. Without a code
    nothing is counted."""
    left = order.code_tries_left
    if left <= 0:
        return WrongCode("too many wrong codes: ask support", 0)
    if not code:
        return WrongCode("ask the customer for the code", left)
    if hmac.compare_digest(order.handover_code.encode(), code.strip().encode()):
        return None
    await uow.orders.set_tries(order.id, left - 1)
    return WrongCode("not this order's code", left - 1)


async def renew_order_code_tries(order_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """By support, where none are left. Refuses NotFound, WrongState."""
    order = await orders.lock(order_id, actor, uow)
    if order.status not in LIVE:
        raise Refused(WrongState("this order has ended", order.status))
    await renew_tries(order, actor, uow)


async def renew_tries(order: LockedOrder, actor: Actor, uow: "UnitOfWork") -> None:
    await uow.orders.set_tries(order.id, CODE_TRIES)
    await uow.audit.write(actor, "renew code tries", order.id, order.merchant_id, f"had {order.code_tries_left} left")
