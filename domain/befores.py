"""What was before an instruction changed it: kept with the instruction, so that a batch can be undone.

Gathered while a transaction works, and written by the statement that settles its instructions: nobody waits for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

INSTRUCTED = "instruction:"  # how a cause begins that is one


class Family(Enum):
    """What the fields are of, and are put back together with."""

    STORE = "STORE"
    PRODUCT = "PRODUCT"
    VARIANT = "VARIANT"
    LISTING = "LISTING"
    COUNT = "COUNT"
    SWITCH = "SWITCH"
    KEPT = "KEPT"  # what is never put back


class Part(Enum):
    """What is put back, or is not, as a whole."""

    STATUS = "STATUS"
    NAME = "NAME"
    KIND = "KIND"
    DESCRIPTION = "DESCRIPTION"
    BRAND = "BRAND"
    CATEGORY = "CATEGORY"
    DIET = "DIET"
    IMAGES = "IMAGES"
    ATTRIBUTES = "ATTRIBUTES"
    VARIANT_PRODUCT = "VARIANT_PRODUCT"
    VARIANT_NAME = "VARIANT_NAME"
    SKU = "SKU"
    BARCODE = "BARCODE"
    UNIT = "UNIT"
    RANK = "RANK"
    PRICE = "PRICE"  # with the MRP, which it must not exceed
    PACKAGING = "PACKAGING"
    TAXES = "TAXES"
    SHOWN = "SHOWN"
    STOCK = "STOCK"
    AVAILABILITY = "AVAILABILITY"
    CHOICES = "CHOICES"
    ORDER = "ORDER"


OF: dict[Part, tuple[Family, tuple[str, ...]]] = {
    Part.STATUS: (Family.STORE, ("said", "until", "reason")),
    Part.NAME: (Family.PRODUCT, ("name",)),
    Part.KIND: (Family.PRODUCT, ("kind",)),
    Part.DESCRIPTION: (Family.PRODUCT, ("description",)),
    Part.BRAND: (Family.PRODUCT, ("brand",)),
    Part.CATEGORY: (Family.PRODUCT, ("category_id",)),
    Part.DIET: (Family.PRODUCT, ("diet",)),
    Part.IMAGES: (Family.PRODUCT, ("images",)),
    Part.ATTRIBUTES: (Family.PRODUCT, ("attributes",)),
    Part.VARIANT_PRODUCT: (Family.VARIANT, ("product_id",)),
    Part.VARIANT_NAME: (Family.VARIANT, ("name",)),
    Part.SKU: (Family.VARIANT, ("sku",)),
    Part.BARCODE: (Family.VARIANT, ("barcode",)),
    Part.UNIT: (Family.VARIANT, ("unit",)),
    Part.RANK: (Family.VARIANT, ("rank",)),
    Part.PRICE: (Family.LISTING, ("price_minor", "mrp_minor")),
    Part.PACKAGING: (Family.LISTING, ("packaging_minor",)),
    Part.TAXES: (Family.LISTING, ("taxes",)),
    Part.SHOWN: (Family.LISTING, ("active",)),
    Part.STOCK: (Family.COUNT, ("on_hand", "tracked", "counted_at", "source")),
    Part.AVAILABILITY: (Family.SWITCH, ("off", "back_at")),
    Part.CHOICES: (Family.KEPT, ()),
    Part.ORDER: (Family.KEPT, ()),
}
"""Of each field its family, and the attributes of the family's row that are its value."""

FIELDS = {family: tuple(field for field, (of, _) in OF.items() if of is family) for family in Family}


@dataclass(frozen=True, slots=True)
class Was:
    """One field of one thing, before and after. `version` is the thing's after it."""

    field: Part
    entity_id: UUID
    version: int
    before: Sequence[Any]
    after: Sequence[Any]


def value(field: Part, row: object) -> tuple[Any, ...]:
    """Comparable, however the row came to hold its lists."""
    parts = (getattr(row, name) for name in OF[field][1])
    return tuple(tuple(part) if isinstance(part, list) else part for part in parts)


def differences(family: Family, id: UUID, version: int, before: object, after: object) -> list[Was]:
    values = ((field, value(field, before), value(field, after)) for field in FIELDS[family])
    return [Was(field, id, version, was, now) for field, was, now in values if was != now]


def instructed(cause: str | None) -> bool:
    """Whether anybody will want to undo it as a part of a batch."""
    return cause is not None and cause.startswith(INSTRUCTED)


def remember(uow: "UnitOfWork", cause: str | None, was: Iterable[Was]) -> None:
    """Until the transaction settles the instruction that caused it. What no instruction caused is in nobody's batch."""
    if cause is not None and instructed(cause):
        uow.instructions.remember(UUID(cause.removeprefix(INSTRUCTED)), was)
