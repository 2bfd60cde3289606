"""One payment by one customer for a purchase."""

from enum import Enum


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
        (_P.CASH_DUE, _P.CASH_COLLECTED),
        (_P.CASH_DUE, _P.VOIDED),
    }
)
