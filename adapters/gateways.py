"""Payment gateways. One so far, for trying out: it takes no money, and keeps its word the way a real one does.

What the sandbox answers is derived from the payment's id, so a call repeated is the same call. Its webhooks are Standard Webhooks
1.0.0: `{"type": "payment.captured" | "payment.failed", "data": {"payment", "ref", "amount", "currency"}}`. Its pay page is
in webhooks/sandbox.py. It refuses to exist in production: wiring sees to that.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import signatures
from domain.money import Money, minor_units
from domain.payments import Begun, PaymentDeclined, PaymentMethod, SettlePayment
from domain.refusals import Refused, Unavailable

CAPTURED, FAILED = "payment.captured", "payment.failed"


@dataclass(frozen=True)
class SandboxGateway:
    key: bytes  # 32 bytes: signs its webhooks, and makes its references
    name: str = "sandbox"

    async def begin(self, payment_id: UUID, amount: Money, method: PaymentMethod) -> Begun:
        return Begun(f"sbx_{self._derived('secret', payment_id)}", self._ref(payment_id))

    async def refund(self, refund_id: UUID, ref: str, amount: Money) -> str:
        return f"re_{self._derived('refund', refund_id)[:24]}"

    def _ref(self, payment_id: UUID) -> str:
        return f"pay_{self._derived('ref', payment_id)[:24]}"

    def _derived(self, what: str, id: UUID) -> str:
        return hmac.new(self.key, f"{what}:{id}".encode(), hashlib.sha256).hexdigest()[:40]

    # ------------------------------------------------------------ what it tells us

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        signatures.verify([self.key], headers, body, now)

    def event_id(self, headers: Mapping[str, str]) -> str:
        return headers["webhook-id"]

    def read(self, body: bytes) -> SettlePayment | None:
        told = json.loads(body)
        if told["type"] not in (CAPTURED, FAILED):
            return None
        data = told["data"]
        amount = Money(minor_units(data["amount"]), data["currency"])
        return SettlePayment(UUID(data["payment"]), told["type"] == CAPTURED, amount, data["ref"])

    # ------------------------------------------------------------ as the gateway sends it

    def webhook(self, payment_id: UUID, amount: Money, *, captured: bool, now: datetime) -> tuple[bytes, dict[str, str]]:
        """Body and headers. One id for one outcome of one payment: sent again, it is the same news."""
        data = {"payment": str(payment_id), "ref": self._ref(payment_id), "amount": str(amount.amount), "currency": amount.currency}
        body = json.dumps({"type": CAPTURED if captured else FAILED, "data": data}).encode()
        message_id, sent_at = f"evt_{self._derived(CAPTURED if captured else FAILED, payment_id)}", int(now.timestamp())
        signature = signatures.sign(self.key, message_id, sent_at, body)
        return body, {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": signature,
        }


@dataclass(frozen=True)
class NoGateway:
    """Where none is configured: what is not paid in cash cannot be paid."""

    name: str = "none"

    async def begin(self, payment_id: UUID, amount: Money, method: PaymentMethod) -> Begun:
        # Final, so that the order ends and its units go back: nobody could ever pay it.
        raise Refused(PaymentDeclined("only cash is taken at present"))

    async def refund(self, refund_id: UUID, ref: str, amount: Money) -> str:
        raise Refused(Unavailable("no payment gateway is configured"))
