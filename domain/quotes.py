"""A price promise with holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.money import Money
from domain.orders import Fulfilment
from domain.places import PostalAddress
from domain.pricing import Charge


@dataclass(frozen=True)
class QuoteLine:
    listing_id: UUID
    variant_id: UUID
    name: str
    sku: str
    quantity: int
    unit_price: Money  # with its modifiers
    packaging: Money  # a unit
    modifiers: Sequence[str]
    modifier_ids: Sequence[UUID]
    note: str | None

    @property
    def total(self) -> Money:
        return self.unit_price * self.quantity


@dataclass(frozen=True)
class QuotePart:
    """One store's part: what becomes one order."""

    store_id: UUID
    merchant_id: UUID
    lines: Sequence[QuoteLine]
    charges: Sequence[Charge]
    total: Money
    eta_minutes: int | None


@dataclass(frozen=True)
class Quote:
    """Frozen: these units, at these prices, until `expires_at`."""

    id: UUID
    customer_id: UUID
    parts: Sequence[QuotePart]
    charges: Sequence[Charge]
    total: Money
    fulfilment: Fulfilment
    address: PostalAddress | None
    held: Mapping[UUID, int]  # listing id -> units held: the tracked ones
    expires_at: datetime
