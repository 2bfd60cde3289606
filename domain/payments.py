"""One payment by one customer for a purchase: captured once, given back in frozen shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.money import Money
from domain.refusals import Conflict, Kind, Refusal, Refused

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

PAY_WITHIN = timedelta(minutes=15)


class PaymentMethod(Enum):
    CASH_ON_DELIVERY = "CASH_ON_DELIVERY"
    CARD = "CARD"
    UPI = "UPI"


class PaymentStatus(Enum):
    PENDING = "PENDING"
    AUTHORIZED = "AUTHORIZED"
    CAPTURED = "CAPTURED"
    PARTLY_REFUNDED = "PARTLY_REFUNDED"
    REFUNDED = "REFUNDED"
    VOIDED = "VOIDED"
    FAILED = "FAILED"
    CASH_DUE = "CASH_DUE"
    CASH_COLLECTED = "CASH_COLLECTED"


_P = PaymentStatus
MOVES = frozenset(
    {
        (_P.PENDING, _P.AUTHORIZED),
        (_P.AUTHORIZED, _P.CAPTURED),
        (_P.CAPTURED, _P.PARTLY_REFUNDED),
        (_P.CAPTURED, _P.REFUNDED),
        (_P.PARTLY_REFUNDED, _P.PARTLY_REFUNDED),
        (_P.PARTLY_REFUNDED, _P.REFUNDED),
        (_P.PENDING, _P.FAILED),
        (_P.PENDING, _P.VOIDED),
        (_P.AUTHORIZED, _P.VOIDED),
        (_P.CASH_DUE, _P.CASH_DUE),  # of several orders one has ended: so much less is due
        (_P.CASH_DUE, _P.CASH_COLLECTED),
        (_P.CASH_DUE, _P.VOIDED),
    }
)
HOLDS_MONEY = (_P.CAPTURED, _P.PARTLY_REFUNDED)


@dataclass(frozen=True)
class LockedPayment:
    id: UUID
    purchase_id: UUID
    method: PaymentMethod
    status: PaymentStatus
    version: int
    amount: Money  # of cash: what is to be collected, or has been; nothing is given back
    refunded: Money
    gateway_ref: str | None


@dataclass(frozen=True)
class OrderNow:
    """Where an order of the payment (or of a delivery) stood when it happened."""

    order_id: UUID
    status: str
    version: int


@dataclass(frozen=True)
class PaymentMoved(Event):
    payment_id: UUID
    version: int
    status: PaymentStatus
    at: datetime
    purchase_id: UUID
    customer_id: UUID
    orders: Sequence[OrderNow]

    topic, stream = Topic.PAYMENTS, "payment"

    @property
    def entity(self) -> UUID:
        return self.payment_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.customer_id, *(order.order_id for order in self.orders))


@dataclass(frozen=True)
class PaymentDeclined(Refusal):
    """An immediate no of the gateway."""

    code, kind = "PAYMENT_DECLINED", Kind.CONFLICT


@dataclass(frozen=True)
class CashNotAllowed(Refusal):
    code, kind = "CASH_NOT_ALLOWED", Kind.CONFLICT


@dataclass(frozen=True)
class Begun:
    """What a gateway answers to a payment begun. `client_secret` is the payer's alone."""

    client_secret: str
    ref: str


@dataclass(frozen=True)
class SettlePayment:
    """What a gateway says became of a payment. It speaks for the whole amount, or we do not believe it."""

    payment_id: UUID
    captured: bool
    amount: Money
    gateway_ref: str | None  # null where the gateway said no before it gave one


class GatewayWords(Protocol):
    """What a gateway tells us by webhook. Pure."""

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Over the raw bytes. Refuses Unauthenticated."""

    def event_id(self, headers: Mapping[str, str]) -> str:
        """Its own id of what it tells, of a call that has been verified: the same one is the same news, for seven days."""

    def read(self, body: bytes) -> SettlePayment | None:
        """None for news that does not settle a payment. ValueError for what it never sends."""


class Gateway(Protocol):
    """A payment provider. Each call may be repeated with the same id: it is done once."""

    @property
    def name(self) -> str: ...

    async def begin(self, payment_id: UUID, amount: Money, method: PaymentMethod) -> Begun:
        """Refuses PaymentDeclined, Unavailable."""

    async def refund(self, refund_id: UUID, ref: str, amount: Money) -> str:
        """Returns the gateway's own reference. Refuses Unavailable."""


class PaymentStore(Protocol):
    async def add(self, payment: LockedPayment, gateway: str | None, pay_by: datetime | None) -> None: ...

    async def lock(self, purchase_id: UUID) -> LockedPayment: ...

    async def method_of(self, purchase_id: UUID) -> PaymentMethod: ...

    async def purchase_of(self, payment_id: UUID) -> UUID | None: ...

    async def begun(self, payment_id: UUID, begun: Begun) -> None:
        """Remembered once: a second answer for the same payment is the same answer."""

    async def declined(self, payment_id: UUID, message: str) -> None:
        """The gateway's immediate no, for whoever asks again."""

    async def move(
        self, payment: LockedPayment, end: PaymentStatus, refunded: Money | None = None, amount: Money | None = None
    ) -> LockedPayment:
        """The next version. `refunded` is the new sum given back, `amount` what is due from now on."""

    async def owe(self, refund_id: UUID, payment_id: UUID, order_id: UUID | None, amount: Money, reason: str) -> bool:
        """To be given back by the gateway. False where it is owed already."""

    async def given_back(self, refund_id: UUID, gateway_ref: str) -> None: ...

    async def try_later(self, refund_id: UUID, after: timedelta) -> None: ...


def check_move(start: PaymentStatus, end: PaymentStatus) -> None:
    """Refuses Conflict."""
    if (start, end) not in MOVES:
        raise Refused(Conflict(f"a payment that is {start.value} cannot become {end.value}"))


async def move(
    payment: LockedPayment, end: PaymentStatus, customer_id: UUID, orders: Sequence[OrderNow], uow: "UnitOfWork",
    refunded: Money | None = None, amount: Money | None = None,
) -> LockedPayment:  # fmt: skip
    """One step, with its event. Refuses Conflict."""
    check_move(payment.status, end)
    moved = await uow.payments.move(payment, end, refunded, amount)
    at = await uow.now()
    await uow.events.add(PaymentMoved(payment.id, moved.version, end, at, payment.purchase_id, customer_id, orders))
    return moved
